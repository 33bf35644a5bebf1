package scheduler

import (
	"fmt"
	"math"
)

// AnyRecipients is the budget of a grant where no rule counts recipients.
const AnyRecipients = math.MaxInt32

// serve gives one grant to the session whose turn it is in the lane. turn is the
// counter in whose queue the lane was first; nil: it has not waited.
func (l *Leader) serve(ln *lane, turn *counter, now Time) {
	w := ln.peek()
	if w == nil {
		return
	}
	if ln.bind.shut() != "" {
		l.shut(ln)
		return
	}
	g, full := l.admit(ln, w, turn, now)
	switch {
	case full != nil:
		l.block(ln, w, full, now)
	case g.N == 0:
		ln.state = laneLater
		l.noHorizon = append(l.noHorizon, ln)
		l.demand, l.hungry = now, true
	default:
		w.n -= int32(g.N)
		w.recipients = max(w.recipients-int32(g.Recipients), w.n)
		w.held = 0
		ln.next++ // the next session's turn
		l.granted += int64(g.N)
		l.batches++
		l.demand = now
		l.emit(w.s.id, Order{Grant: g})
		switch {
		case ln.peek() == nil:
		case turn != nil && turn.waiting() > 0:
			ln.state, ln.on = laneWaiting, turn
			turn.enqueue(ln)
		default:
			l.push(ln) // to the back: lanes that share a window take turns
		}
	}
}

// admit takes room for a grant in every window that bounds the lane, or in none. It
// returns the counter that has no room, or the grant; neither where the horizon ends
// too soon.
func (l *Leader) admit(ln *lane, w *want, turn *counter, now Time) (*Grant, *counter) {
	from, full := now, (*counter)(nil)
	for _, c := range ln.bind.counters {
		if c != turn && c.behind(ln.Class) {
			return nil, c
		}
		c.advance(now, c.keep)
		if t := l.earliest(c, ln.Class, now, c.need(w)); t > from {
			from, full = t, c
		}
	}
	if from > now+l.p.Lookahead {
		return nil, full
	}
	n := min(int64(w.n), int64(ln.quantum))
	room := int64(AnyRecipients)
	for _, c := range ln.bind.counters {
		free := c.free(l.p)
		if free <= c.target(l.p)/2 {
			l.mark(c)
		}
		if free < c.need(w) {
			return nil, c
		}
		free = min(free, l.room(c, ln.Class, from))
		if c.queue != nil {
			free = min(free, max(c.need(w), c.queue.most(ln.Class)))
		}
		if c.weighs {
			room = min(room, free)
		} else {
			n = min(n, free)
		}
	}
	end := min(from+l.p.Life, l.horizon)
	if l.p.broken == openForever {
		end = from + l.p.Life
	}
	if end < from+l.p.Margin+100*Millisecond {
		return &Grant{}, nil
	}
	recipients := int64(AnyRecipients)
	if room < AnyRecipients {
		n, recipients = share(n, room, w)
	}
	l.nextGrant++
	g := &Grant{ID: l.nextGrant, Term: l.term, Lane: ln.Lane, N: int(n), Recipients: int(recipients), NotBefore: from, NotAfter: end}
	l.charge(ln, g, now)
	return g, nil
}

// share cuts a grant of n transactions to the recipients there is room for: as many
// as n of the wanted transactions have in the mean, and enough for the first one.
func share(n, room int64, w *want) (int64, int64) {
	r := (int64(w.recipients)*n + int64(w.n) - 1) / int64(w.n)
	r = max(r, int64(w.head), n)
	if r <= room {
		return n, r
	}
	return max(1, n*room/r), room
}

// charge counts a grant in every window: until we hear otherwise, all of it is used at
// its last instant.
func (l *Leader) charge(ln *lane, g *Grant, now Time) {
	b := ln.bind
	for _, c := range b.counters {
		n := int64(g.N)
		if c.weighs {
			n = int64(g.Recipients)
		}
		at := g.NotAfter
		if l.p.broken == releaseAtGrant {
			at = now
		}
		c.start(ln.Class, at, n)
		if c.queue != nil {
			c.queue.served(ln, n)
		}
		c.inUse += n
		c.out += n
		c.count += n
		c.last = now
	}
	l.grants.push(given{bind: b, from: g.NotBefore, end: g.NotAfter, n: int32(g.N), recipients: int32(g.Recipients)})
}

// block has the lane wait for a counter, last of those who take turns with it.
func (l *Leader) block(ln *lane, w *want, c *counter, now Time) {
	at := c.wake
	if !c.behind(ln.Class) { // it is the first, from now on
		need := c.need(w)
		c.advance(now, c.keep)
		at = l.earliest(c, ln.Class, now, need)
		c.starved = false
		switch {
		case at == never:
			l.refuse(w, c, now)
			return
		case at <= now+l.p.Lookahead && c.free(l.p) < need:
			l.starve(c, w, now)
		default:
			l.doze(c, at)
		}
	}
	ln.state, ln.on = laneWaiting, c
	c.enqueue(ln)
	for _, w := range ln.wants {
		l.hold(w, c, at, now)
	}
}

// refuse drops a demand whose first transaction no window will ever have room for,
// and goes on with the lane's next.
func (l *Leader) refuse(w *want, c *counter, now Time) {
	l.emit(w.s.id, Order{Hold: &Hold{Lane: w.ln.Lane, Why: fmt.Sprintf("%s never has room for %d at once", c.name, c.need(w))}})
	w.refused, w.n = w.head, 0
	if w.ln.peek() != nil {
		l.push(w.ln)
	}
}

// hold tells a session why its lane waits, if it is long or not known how long.
func (l *Leader) hold(w *want, c *counter, at Time, now Time) {
	if w.n == 0 || c.starved || at <= now+Second {
		return
	}
	if d := at - w.held; w.held > now && d > -Second && d < Second {
		return
	}
	w.held = at
	l.emit(w.s.id, Order{Hold: &Hold{w.ln.Lane, at, c.name + " is full"}})
}

// shut tells all sessions of a lane that nothing may be sent.
func (l *Leader) shut(ln *lane) {
	ln.state = laneShut
	for _, w := range ln.wants {
		if w.n > 0 && w.held != never {
			w.held = never
			l.emit(w.s.id, Order{Hold: &Hold{Lane: ln.Lane, Why: ln.bind.shut()}})
		}
	}
}
