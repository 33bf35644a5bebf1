package scheduler

// given is a grant that is not settled.
type given struct {
	bind                *binding
	from, end           Time
	n, recipients       int32
	started, startedTo  int32 // transactions, and their recipients
	returned, returnedT int32
	late                int32
}

// grantRing holds the grants by id: ids are given in order, and grants are settled
// nearly so.
type grantRing struct {
	base  GrantID // of items[from]
	items []given
	from  int
}

func (r *grantRing) push(g given) { r.items = append(r.items, g) }

// find returns an unsettled grant; nil: there is none.
func (r *grantRing) find(id GrantID) *given {
	if id < r.base || id-r.base >= GrantID(len(r.items)-r.from) {
		return nil
	}
	if g := &r.items[r.from+int(id-r.base)]; g.bind != nil {
		return g
	}
	return nil
}

// pop drops the oldest grant.
func (r *grantRing) pop() {
	r.items[r.from] = given{}
	r.from++
	r.base++
	if r.from > 1024 && r.from > len(r.items)/2 {
		n := copy(r.items, r.items[r.from:])
		clear(r.items[n:])
		r.items, r.from = r.items[:n], 0
		if cap(r.items) > 4096 && cap(r.items) > 8*n {
			r.items = append(make([]given, 0, 2*n), r.items...)
		}
	}
}

// use works in what became of a grant. Reports are totals: one that comes twice, or
// after a later one, changes nothing.
func (l *Leader) use(u *Use, now Time) {
	g := l.grants.find(u.Grant)
	// Settled, or of an older term, whose grants the history covers; or about to be
	// settled, when the ledger may not hold it any more.
	if g == nil || now > g.end+settleAfter {
		return
	}
	was := *g
	if l.p.broken == dupReturn {
		g.started += int32(u.Started)
		g.startedTo += int32(u.Recipients)
		g.returned += int32(u.Returned)
		g.returnedT += int32(u.ReturnedRecipients)
	} else {
		g.started = raise(g.started, u.Started, g.n-g.returned)
		g.startedTo = raise(g.startedTo, u.Recipients, g.recipients-g.returnedT)
		g.returned = raise(g.returned, u.Returned, g.n-g.started)
		g.returnedT = raise(g.returnedT, u.ReturnedRecipients, g.recipients-g.startedTo)
	}
	done := g.started+g.returned >= g.n
	if done { // recipients that no transaction is left for
		g.returnedT = max(g.returnedT, g.recipients-g.startedTo)
	}
	l.starts += int64(g.started - was.started)
	g.bind.tried(now, int64(g.started-was.started), int64(g.startedTo-was.startedTo))
	g.late = raise(g.late, u.Late, g.n)
	l.late += int64(g.late - was.late)
	// It began after the grant did. An instant well ahead of us is nonsense, and would
	// fill the window for as long.
	at := min(max(u.At, g.from), max(now, g.end)+Minute)
	for _, c := range g.bind.counters {
		used, back := int64(g.started-was.started), int64(g.returned-was.returned)
		if c.weighs {
			used, back = int64(g.startedTo-was.startedTo), int64(g.returnedT-was.returnedT)
		}
		l.settle(c, g.bind.lane, g.end, at, used, back)
	}
	if done && l.p.broken != dupReturn {
		g.bind = nil
	}
}

// raise is the new total, between what it was and what there can be.
func raise(was int32, to int, most int32) int32 {
	return max(was, int32(min(to, int(most))))
}

// settle moves starts from the end of their grant, where they might have been, to when
// they were; those given back leave the windows.
func (l *Leader) settle(c *counter, ln *lane, end, at Time, used, back int64) {
	if used+back == 0 {
		return
	}
	if l.p.broken != releaseAtGrant {
		c.unstart(ln.Class, end, used+back)
		if used > 0 {
			c.start(ln.Class, at, used)
		}
	}
	if back > 0 && c.queue != nil {
		c.queue.returned(ln, back)
	}
	c.inUse -= back
	c.out -= used + back
	if used > 0 {
		c.known(at, used)
	}
	l.touch(c)
}

// known remembers starts for the log.
func (c *counter) known(at Time, n int64) {
	if k := len(c.pending) - 1; k >= 0 {
		if p := &c.pending[k]; p.at>>c.logGrid == at>>c.logGrid {
			p.at = max(p.at, at)
			p.n += n
			return
		}
	}
	c.pending = append(c.pending, cell{at, n})
}

// settleAfter is how long after its end a grant is settled without a report.
const settleAfter = 2 * Second

// expire settles grants that nobody reported: they count as used at their end.
func (l *Leader) expire(now Time) {
	r := &l.grants
	for r.from < len(r.items) {
		g := &r.items[r.from]
		if g.bind != nil {
			if g.end+settleAfter > now {
				return
			}
			g.bind.tried(now, int64(g.n-g.started-g.returned), int64(g.recipients-g.startedTo-g.returnedT))
			for _, c := range g.bind.counters {
				left := int64(g.n - g.started - g.returned)
				if c.weighs {
					left = int64(g.recipients - g.startedTo - g.returnedT)
				}
				if left > 0 {
					c.known(g.end, left)
					c.out -= left
				}
			}
		}
		r.pop()
	}
}
