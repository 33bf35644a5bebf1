package deliverer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// news is what the scheduler has told and nobody has looked at yet. It has a lock of
// its own, so that it can be told anything with any lock held.
type news struct {
	mu    sync.Mutex
	of    map[newsKey]struct{}
	rules bool
	bell  chan struct{} // cap 1
}

type newsKey struct {
	to shaping.Destination
	party
}

// News is called when permits, slots or a hold have come for a destination, and for
// whose mail, where it is one party's. It returns at once.
func (d *Deliverer) News(to shaping.Destination, tenant string, class mail.Class) {
	d.told.mu.Lock()
	d.told.of[newsKey{to, party{tenant, class}}] = struct{}{}
	d.told.mu.Unlock()
	d.told.ring()
}

// RulesChanged is called when other rules are in force, or the session has ended or
// come back. It returns at once; what the version of the rules forbids does not
// start any more from the moment Scheduler.Version says so.
func (d *Deliverer) RulesChanged() {
	d.told.mu.Lock()
	d.told.rules = true
	d.told.mu.Unlock()
	d.told.ring()
}

func (n *news) ring() {
	select {
	case n.bell <- struct{}{}:
	default:
	}
}

// newsLoop acts on what the scheduler has told.
func (d *Deliverer) newsLoop() {
	for {
		select {
		case <-d.soft.Done():
			return
		case <-d.told.bell:
		}
		d.told.mu.Lock()
		of, rules := d.told.of, d.told.rules
		d.told.of, d.told.rules = make(map[newsKey]struct{}, len(of)), false
		d.told.mu.Unlock()

		now := time.Now()
		kick := false
		d.mu.Lock()
		d.keepUp(now)
		for k := range of {
			if a := d.accounts[k.to]; a != nil {
				kick = d.look(a, k.party, now) || kick
			}
		}
		d.mu.Unlock()
		if kick {
			d.c.Queue.Kick()
		}
		if rules {
			d.rouse()
		}
	}
}

// look puts what has come for a to use, and tells whether the queue is to be asked
// for more. With mu held.
func (d *Deliverer) look(a *account, of party, now time.Time) (kick bool) {
	if a.news != nil {
		close(a.news)
		a.news = nil
	}
	if a.slots != nil {
		d.dismissEnding(a)
	}
	if p := a.purses[of]; p.limited() {
		if n, h := p.permits.Ready(); n > 0 {
			p.reopen()
		} else {
			p.dry = time.Time{}
			d.dried(p, h, now)
		}
		kick = d.serve(p, now)
	}
	ready := 0
	if a.slots != nil {
		ready = a.slots.Ready()
	}
	if a.dials != nil {
		n, _ := a.dials.Ready()
		ready = max(ready, n)
		for _, p := range a.purses {
			if n > 0 && p.undialled {
				p.reopen()
			}
		}
	}
	if ready == 0 {
		return kick
	}
	for p := range a.paths {
		for _, l := range slices.Clone(p.waiting) {
			d.wake(l, now, true)
		}
	}
	for _, p := range a.purses {
		kick = d.serve(p, now) || kick
	}
	a.relax()
	return kick
}

// await waits for news of a, until then or ctx ends. Without mu.
func (d *Deliverer) await(ctx context.Context, a *account, until time.Time) {
	d.mu.Lock()
	if a.news == nil {
		a.news = make(chan struct{})
	}
	news := a.news
	d.mu.Unlock()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-news:
	case <-timer.C:
	}
}

// outagePatience is how long what is in the hand waits for the scheduler to come
// back before it is given back untouched, for a node that has one.
const outagePatience = 15 * time.Second

// live tells whether anything may start now. With mu held.
func (d *Deliverer) live(now time.Time) bool {
	s := d.c.Scheduler
	if s == nil {
		return true
	}
	if !s.Live() {
		if d.downSince.IsZero() {
			d.downSince = now
			d.rouse()
		}
		return false
	}
	if s.Version() != d.version {
		d.rouse() // keepUp comes before anything starts by the old rules
		return false
	}
	return true
}

func (d *Deliverer) down() bool { return !d.downSince.IsZero() }

// keepUp takes over what has changed: the rules, and whether the scheduler is
// there, and tells whether anything may start (see live). It is called first by
// whatever then makes something start. With mu held.
func (d *Deliverer) keepUp(now time.Time) bool {
	s := d.c.Scheduler
	if s == nil {
		return true
	}
	if v := s.Version(); v != d.version {
		d.version = v
		d.applyRules(now)
	}
	if d.down() && s.Live() {
		d.recover(now)
	}
	return d.live(now)
}

// applyRules has every lane, account and connection follow the rules in force. With mu held.
func (d *Deliverer) applyRules(now time.Time) {
	for _, a := range d.accounts {
		d.refresh(a, now)
	}
	for _, l := range d.lanes {
		p := l.path
		if p == nil {
			continue
		}
		if l.destination(d, p.mx) == p.to {
			d.settleLane(l, now)
			continue
		}
		to := d.join(l, p.site, p.mx)
		to.gate, to.bad = p.gate, p.bad // the hosts are the same
	}
	for _, a := range d.accounts {
		d.dismissEnding(a)
	}
	d.stir()
}

// stir has everything looked at again that may have waited. With mu held.
func (d *Deliverer) stir() {
	if d.starving {
		d.starving = false
		d.feed()
	}
	d.kickDue = true
	d.rouse()
}

// recover lets everything go on after an outage. What waited meanwhile has lost none
// of its patience. With mu held.
func (d *Deliverer) recover(now time.Time) {
	d.downSince = time.Time{}
	for _, l := range d.lanes {
		l.since = now // what it has lately shown it can start says nothing
		for _, q := range l.lines {
			for i := range q.q[q.at:] {
				h := &q.q[q.at+i]
				if until := now.Add(d.c.Patience); h.until.Before(until) {
					h.until = until
				}
			}
		}
	}
	for a := range d.limited {
		for _, p := range a.purses {
			p.dry = time.Time{}
		}
	}
	d.stir()
}

// overdueDown is overdue while the scheduler is away: nothing is stored anew for
// that, but what another node could send is let go of after a while.
func (d *Deliverer) overdueDown(l *lane, now time.Time, back []parked) []parked {
	if now.Sub(d.downSince) < outagePatience {
		return back
	}
	for _, h := range l.takeAll(nil) {
		back = append(back, parked{held: h, release: true})
	}
	return back
}

// change returns what is to be said, without the lock, of the scheduler's coming
// and going. With mu held.
func (d *Deliverer) change(now time.Time) func() {
	log := d.c.Log
	switch was := d.saidDown; {
	case d.down() && was.IsZero():
		d.saidDown = d.downSince
		return func() { log.Warn("no live session with the scheduler; nothing new is started") }
	case !d.down() && !was.IsZero():
		d.saidDown = time.Time{}
		return func() { log.Info("the scheduler's session lives; mail goes on", "after", now.Sub(was)) }
	}
	return func() {}
}
