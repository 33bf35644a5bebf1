package deliverer

import (
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// held is a delivery in the hand.
type held struct {
	job   Job
	env   *mail.Delivery
	bytes int64
	since time.Time // claimed
	until time.Time // not started by then: given back
	aged  bool      // it has waited in the queue before
}

// lane is the line of one destination domain: what waits in memory for a
// connection. Guarded by Deliverer.mu.
type lane struct {
	dest  mail.Domain
	limit shaping.Limit

	q    []held // q[at:] waits, in order
	at   int
	aged int  // of these, how many have waited in the queue before
	ring bool // in its path's line of lanes

	path    *path // nil: its hosts have not been looked up yet
	opening int   // carriers on their way to a connection for it
	busy    int   // transactions under way
	gate    gate  // shut by lookups that failed, or until a permit

	lively time.Time // something waited or moved last
	since  time.Time // and has done so from

	backlog bool      // more of it waits in the queue
	asked   time.Time // the queue asked for room last: it has some that is due
	low     int       // at this length the queue is told that there is room; -1: it knows
	rate    rate
}

func (l *lane) len() int { return len(l.q) - l.at }

func (l *lane) push(h held) {
	if l.at > 64 && l.at*2 > len(l.q) {
		n := copy(l.q, l.q[l.at:])
		clear(l.q[n:])
		l.q, l.at = l.q[:n], 0
	}
	l.q = append(l.q, h)
	if h.aged {
		l.aged++
	}
}

func (l *lane) pop() held {
	h := l.q[l.at]
	l.q[l.at] = held{}
	l.at++
	if h.aged {
		l.aged--
	}
	if l.at == len(l.q) {
		l.q, l.at = l.q[:0], 0
	}
	return h
}

func (l *lane) takeAll(to []held) []held {
	for l.len() > 0 {
		to = append(to, l.pop())
	}
	return to
}

// rate counts starts in the running second and the one before.
type rate struct {
	second    int64
	cur, prev int
}

func (r *rate) at(now time.Time) {
	switch s := now.Unix(); s - r.second {
	case 0:
	case 1:
		r.second, r.prev, r.cur = s, r.cur, 0
	default:
		r.second, r.prev, r.cur = s, 0, 0
	}
}

func (r *rate) add(now time.Time) { r.at(now); r.cur++ }

// recent is about what the last second brought.
func (r *rate) recent(now time.Time) int { r.at(now); return max(r.cur, r.prev) }

// lane returns the lane of a domain, made when needed. With mu held.
func (d *Deliverer) lane(dest mail.Domain) *lane {
	l := d.lanes[dest]
	if l == nil {
		l = &lane{dest: dest, limit: d.c.Rules.For(dest)}
		d.lanes[dest] = l
	}
	return l
}

// take puts claimed deliveries into the hand and on their way.
func (d *Deliverer) take(jobs []Job, waited bool) {
	now := time.Now()
	patience := d.c.Patience
	if waited {
		// It was read because there was room; storing it again costs more than holding it a little.
		patience *= 10
	}
	var back []parked
	d.mu.Lock()
	for _, j := range jobs {
		env := j.Envelope()
		h := held{job: j, env: env, since: now, until: now.Add(patience), aged: waited, bytes: int64(len(j.Bytes()))}
		if h.bytes == 0 {
			h.bytes = 4 << 10 // its envelope and the chunk being read
		}
		d.hand++
		d.bytes += h.bytes
		l := d.lane(env.Destination)
		if d.stopping {
			back = append(back, parked{held: h, release: true})
			continue
		}
		if until, shut := l.shut(now); shut {
			back = append(back, parked{held: h, due: until})
			continue
		}
		if !waited && l.len()-l.aged >= d.share(l, now) {
			back = append(back, parked{held: h})
			continue
		}
		if l.len() == 0 && l.busy == 0 && now.Sub(l.lively) > d.c.Patience {
			l.since = now
		}
		l.lively = now
		l.push(h)
		d.wake(l, now, false)
	}
	rouse := d.resting
	d.resting = false
	d.mu.Unlock()
	if rouse {
		d.rouse()
	}
	d.park(back)
}

// shut tells whether nothing may start now, and until when.
func (l *lane) shut(now time.Time) (time.Time, bool) {
	until := l.gate.until
	if l.path != nil && l.path.gate.until.After(until) {
		until = l.path.gate.until
	}
	return until, now.Before(until)
}

// probing tells whether the next connection is to find out if the destination is back.
func (l *lane) probing() bool {
	return l.gate.failures > 0 || l.path != nil && l.path.gate.failures > 0
}

// share is how many deliveries may wait in memory for l: what it has lately shown
// it can start within its patience. One that has just begun gets the benefit of
// the doubt for that time: a burst for a fast destination would otherwise be
// stored twice before its first connection stands. The price is that a burst for
// a slow one may fill the hand, and hold up others, for a second, once.
func (d *Deliverer) share(l *lane, now time.Time) int {
	if now.Sub(l.since) < d.c.Patience {
		return d.c.HandJobs
	}
	if now.Sub(l.asked) < time.Second {
		// What waits in the queue is older: new mail gets no more than it does.
		return max(l.depth(now), 1)
	}
	// Not more: a dozen slow destinations with a share they cannot use would fill the hand.
	worth := float64(l.rate.recent(now)) * d.c.Patience.Seconds()
	return min(max(l.depth(now), int(worth), 1), d.c.HandJobs)
}

// depth is how many that waited are kept in memory so that no connection runs dry:
// what a quarter of a second takes.
func (l *lane) depth(now time.Time) int {
	return 2*(l.limit.Connections-l.busy) + l.rate.recent(now)/4
}

// room says how many deliveries that waited may be read for a destination now.
func (d *Deliverer) room(dest mail.Domain) int {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping || d.hand >= d.c.HandJobs || d.bytes >= d.c.HandBytes {
		d.refused = true
		return 0
	}
	l := d.lanes[dest]
	if l == nil {
		return min(2*d.c.Rules.For(dest).Connections, d.c.HandJobs-d.hand)
	}
	if _, shut := l.shut(now); shut {
		return 0
	}
	want := max(l.depth(now), 1) // all connections are busy, however slowly: one ready for the first that is free
	l.backlog, l.low, l.asked = true, want/2, now
	return max(min(want-l.aged, d.c.HandJobs-d.hand), 0)
}

// wake gets waiting deliveries of l onto connections: idle ones first, new ones
// as its limit allows. impatient asks for a connection for each that waits. With mu held.
func (d *Deliverer) wake(l *lane, now time.Time, impatient bool) {
	if l.path != nil {
		for l.len() > 0 && len(l.path.idle) > 0 && l.busy < l.limit.Connections {
			c := l.path.idle[len(l.path.idle)-1]
			l.path.idle = l.path.idle[:len(l.path.idle)-1]
			c.wake <- d.start(l, now) // cap 1, and only an idle carrier is sent one: never blocks
		}
		if l.len() > 0 {
			l.path.enlist(l)
		}
	}
	for d.mayOpen(l, now, impatient) {
		l.opening++
		if l.path != nil {
			l.path.open++
		}
		c := &carrier{d: d, lane: l, path: l.path, wake: make(chan start, 1)}
		d.carriers.Go(c.run)
	}
}

// mayOpen tells whether a further connection for l is wanted and allowed. With mu held.
func (d *Deliverer) mayOpen(l *lane, now time.Time, impatient bool) bool {
	waiting := l.len()
	if waiting == 0 || d.stopping {
		return false
	}
	if _, shut := l.shut(now); shut {
		return false
	}
	if l.path == nil || l.probing() {
		// One finds the hosts, or whether they are back; the others follow it.
		return l.opening == 0 && (l.path == nil || l.path.open == 0)
	}
	if l.opening >= waiting || l.path.open >= l.limit.Connections || now.Before(l.path.full) {
		return false
	}
	// A quarter of what waits: the first connections will be back for the rest before
	// a further one stands. The ticker asks impatiently when they were not, and more
	// are made when what waits is more than half a second's work.
	return impatient && waiting > l.rate.recent(now)/2 || l.path.open < (waiting+3)/4
}

// start is a delivery on its way to a connection.
type start struct {
	held
	lane *lane
}

// start takes the first delivery of l. With mu held.
func (d *Deliverer) start(l *lane, now time.Time) start {
	h := l.pop()
	l.busy++
	l.lively = now
	l.rate.add(now)
	return start{held: h, lane: l}
}

// tickLoop gives back what has waited too long, opens connections where patience
// runs out, and forgets lanes that have gone quiet. It rests while nothing waits.
func (d *Deliverer) tickLoop() {
	t := time.NewTimer(tick)
	defer t.Stop()
	for {
		select {
		case <-d.soft.Done():
			return
		case <-d.roused:
		case <-t.C:
		}
		t.Reset(d.sweep(time.Now()))
	}
}

// rouse has the ticker look at once. With or without mu.
func (d *Deliverer) rouse() {
	select {
	case d.roused <- struct{}{}:
	default:
	}
}

// sweep returns when to look again.
func (d *Deliverer) sweep(now time.Time) time.Duration {
	var back []parked
	kick, next := false, quiet
	look := func(g *gate) {
		kick = g.reopened(now) || kick
		if now.Before(g.until) {
			next = min(next, g.until.Sub(now))
		}
	}
	d.mu.Lock()
	for dest, l := range d.lanes {
		if l.len() > 0 {
			back = l.overdue(now, back)
			d.wake(l, now, true)
		}
		if l.len() > 0 {
			next = min(next, tick)
		}
		look(&l.gate)
		if l.len() == 0 && l.busy == 0 && l.opening == 0 && now.Sub(l.lively) >= quiet && !l.probing() {
			l.leave()
			delete(d.lanes, dest)
		}
	}
	for site, p := range d.paths {
		look(&p.gate)
		if p.open == 0 && p.lanes == 0 {
			delete(d.paths, site)
		}
	}
	d.resting = next > tick
	d.mu.Unlock()
	d.park(back)
	if kick {
		d.c.Queue.Kick()
	}
	return next
}

// overdue takes out what has waited for longer than its patience.
func (l *lane) overdue(now time.Time, back []parked) []parked {
	var due time.Time
	if l.probing() {
		// The probe may take minutes; what is given back meanwhile must not come again at once.
		due = now.Add(probePause)
	}
	keep := l.q[l.at:l.at]
	for _, h := range l.q[l.at:] {
		if now.Before(h.until) {
			keep = append(keep, h)
		} else {
			if h.aged {
				l.aged--
			}
			back = append(back, parked{held: h, due: due})
		}
	}
	clear(l.q[l.at+len(keep):])
	l.q = l.q[:l.at+len(keep)]
	return back
}
