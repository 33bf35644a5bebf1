package deliverer

import (
	"slices"
	"time"
)

const (
	tick  = 250 * time.Millisecond
	quiet = time.Minute // a lane without mail is forgotten after that
	// With very many lanes it is forgotten sooner: a hundred thousand of them are 300 MB,
	// and what is known of a destination that gets a message a minute is soon known again.
	manyLanes, manyQuiet = 20_000, 5 * time.Second
)

// tickLoop gives back what has waited too long, opens connections where patience
// runs out, cuts those whose lease ends, and forgets what has gone quiet. It rests
// while nothing waits.
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
	next := quiet
	d.mu.Lock()
	d.keepUp(now)
	kick := d.kickDue
	d.kickDue = false
	if d.down() || len(d.slotted) > 0 {
		next = tick
	}
	d.cutLeases(now)
	if rest := d.walkFrom.Sub(now); rest > 0 {
		next = min(next, rest)
	} else {
		var soon time.Duration
		back, soon, kick = d.walk(now, kick)
		next = min(next, soon)
	}
	for a := range d.limited {
		if !now.Before(a.tendAt) {
			kick = d.tend(a, now) || kick
		}
		next = min(next, max(a.tendAt.Sub(now), 0))
	}
	d.resting = next > tick
	say := d.change(now)
	d.mu.Unlock()
	say()
	d.park(back)
	if kick {
		d.c.Queue.Kick()
	}
	return max(next, time.Millisecond)
}

// walk looks at every lane and path, and returns when to do so again. With mu held.
func (d *Deliverer) walk(now time.Time, kicked bool) (back []parked, next time.Duration, kick bool) {
	began := time.Now()
	next, kick = quiet, kicked
	many := len(d.lanes) > manyLanes
	look := func(g *gate) {
		kick = g.reopened(now) || kick
		if now.Before(g.until) {
			next = min(next, g.until.Sub(now))
		}
	}
	if len(d.doors) > 0 {
		back, next = d.sweepDoors(now, back)
	}
	for _, l := range d.lanes {
		if l.len() > 0 {
			back = d.overdue(l, now, back)
			d.wake(l, now, true)
		}
		if l.len() > 0 {
			next = min(next, tick)
		}
		look(&l.gate)
		l.prune(now)
		if l.len() == 0 && l.busy == 0 && l.opening == 0 && l.quiet(now, many) && !l.probing() && !l.waitsElsewhere(now) {
			d.forgetLane(l)
		}
	}
	back = d.makeRoom(now, back)
	d.forgetPortions(now)
	for _, p := range d.paths {
		p.tidy()
		look(&p.gate)
		if p.open == 0 && p.lanes == 0 {
			d.forget(p)
		}
	}
	// A hundred thousand lanes take a tenth of a second, in which nothing else is
	// decided: that is not to be more than a small part of all the time there is.
	took := time.Since(began)
	d.walkFrom = now.Add(20 * took)
	return back, max(next, 20*took), kick
}

// quiet tells whether the lane has had no mail for so long that it may be forgotten.
func (l *lane) quiet(now time.Time, many bool) bool {
	_, shut := l.shut(now)
	since := now.Sub(l.lively)
	return since >= quiet || many && !shut && since >= manyQuiet
}

// prune forgets the lines of tenants that have nothing in the hand, nor, as far as
// we know, in the queue.
func (l *lane) prune(now time.Time) {
	if len(l.lines) < 2 {
		return
	}
	l.lines = slices.DeleteFunc(l.lines, func(q *line) bool {
		if q.len() > 0 || q.asking || q.purse.held(now) || now.Sub(q.lively) < askingFor {
			return false
		}
		q.belong(nil)
		if l.path != nil {
			l.path.turns.remove(q)
		}
		return true
	})
}

// waitsElsewhere tells whether the queue has spoken lately of more mail that limits keep there.
func (l *lane) waitsElsewhere(now time.Time) bool {
	return slices.ContainsFunc(l.lines, func(q *line) bool {
		return now.Sub(q.asked) < askingFor && (q.asking || q.purse.held(now))
	})
}

// overdue takes out what has waited for longer than its patience.
func (d *Deliverer) overdue(l *lane, now time.Time, back []parked) []parked {
	if d.down() {
		return d.overdueDown(l, now, back)
	}
	var due time.Time
	if l.probing() {
		// The probe may take minutes; what is given back meanwhile must not come again at once.
		due = now.Add(probePause)
	}
	for _, q := range l.lines {
		if q.purse.silent(now) {
			q.bear(now, d.c.Patience)
		}
		for _, h := range q.takeIf(nil, func(h *held) bool { return !now.Before(h.until) }) {
			back = append(back, parked{held: h, due: due})
		}
	}
	return back
}

// bear gives what waits in q as long again, up to outagePatience in all.
func (q *line) bear(now time.Time, patience time.Duration) {
	for i := range q.q[q.at:] {
		h := &q.q[q.at+i]
		until := now.Add(patience)
		if most := h.since.Add(outagePatience); until.After(most) {
			until = most
		}
		if until.After(h.until) {
			h.until = until
		}
	}
}

// tend looks after what a limit keeps waiting at one destination, and says in
// a.tendAt when to do so again. It tells whether the queue is to be asked for more.
// With mu held.
func (d *Deliverer) tend(a *account, now time.Time) (kick bool) {
	next := quiet
	free := a.slots == nil && a.dials == nil && !a.limits.Suspended && !a.limits.Tenants
	for of, p := range a.purses {
		if !p.until.IsZero() && !now.Add(lead).Before(p.until) {
			if p.suspended {
				d.refreshPurse(p, now)
			} else {
				p.reopen()
			}
			if !p.held(now) {
				kick = kick || len(p.asking) > 0
				p.kicked = now
			}
		}
		p.asking = slices.DeleteFunc(p.asking, func(q *line) bool {
			old := now.Sub(q.asked) > askingFor
			if silent := q.asked.Before(p.kicked) && now.Sub(p.kicked) > answerTime; !old && !silent {
				return false
			}
			p.promised -= q.promised
			q.asking, q.promised = false, 0
			return true
		})
		p.weigh()
		switch {
		case p.held(now.Add(lead)):
			next = min(next, p.until.Add(-lead).Sub(now))
			if len(p.asking) > 0 {
				next = min(next, askingFor/2)
			}
		case p.jobs > 0 || len(p.asking) > 0:
			next = min(next, tick)
			kick = d.serve(p, now) || kick
		}
		d.tell(p, now)
		free = free && !p.limited() && p.until.IsZero()
		if p.lines == 0 && p.urgent == 0 && !p.held(now) {
			if p.limited() {
				p.permits.Want(0, 0, 0)
			}
			delete(a.purses, of)
		}
	}
	a.relax()
	a.tendAt = now.Add(next)
	switch {
	case len(a.paths) == 0 && a.held == 0:
		a.dismiss()
		delete(d.accounts, a.to)
		delete(d.limited, a)
	case free:
		delete(d.limited, a)
	}
	return kick
}

// serve spends what p has on what waits for it, and tells whether the queue is to
// be asked for more. With mu held.
func (d *Deliverer) serve(p *purse, now time.Time) (kick bool) {
	for range len(p.waiting) {
		q := p.next()
		if q == nil || !p.open(now) {
			break
		}
		d.wake(q.lane, now, false)
	}
	if len(p.asking) == 0 || p.held(now.Add(lead)) || d.spendable(p, now) <= p.jobs+p.outside+p.promised {
		return false
	}
	if now.Sub(p.kicked) < promiseTime && p.promised > 0 {
		return false
	}
	p.kicked = now
	return true
}
