package scheduler

import (
	"slices"

	"github.com/tarishi/tarishi/mail"
)

// A part of every window may be kept for class high: the other classes together never
// start more than the rest. So a counter with such windows counts their starts apart,
// as soon as there are others; what the log knows of the past is taken to be theirs.

// others is the starts of other classes than high.
type others struct {
	ledger
	high Time // when one of class high was last counted
}

// all tells whether mail of a class may use what is kept.
func (l *Leader) all(c mail.Class) bool { return c == mail.High || l.p.broken == noReserve }

// room is how many more starts of a class may begin at t.
func (l *Leader) room(c *counter, class mail.Class, t Time) int64 {
	switch {
	case l.all(class):
		return c.ledger.room(t, true)
	case c.others != nil:
		return min(c.ledger.room(t, true), c.others.room(t, false))
	}
	return c.ledger.room(t, false)
}

// earliest is the first instant, from now on, at which need more of a class may begin.
func (l *Leader) earliest(c *counter, class mail.Class, now Time, need int64) Time {
	switch {
	case l.all(class):
		return c.ledger.earliest(now, need, true)
	case c.others != nil:
		return max(c.ledger.earliest(now, need, true), c.others.earliest(now, need, false))
	}
	return c.ledger.earliest(now, need, false)
}

// keeps tells whether anything of the counter is kept for class high.
func (c *counter) keeps() bool {
	return slices.ContainsFunc(c.windows, func(w window) bool { return w.kept > 0 })
}

// start counts n starts at or before at.
func (c *counter) start(class mail.Class, at Time, n int64) {
	switch {
	case class == mail.High && c.others == nil && c.keeps():
		c.others = &others{ledger: ledger{cells: slices.Clone(c.cells), windows: slices.Clone(c.windows), left: c.left}}
		fallthrough
	case class == mail.High && c.others != nil:
		c.others.high = max(c.others.high, at)
	case c.others != nil:
		c.others.add(at, n)
	}
	c.ledger.add(at, n)
}

// unstart takes back n starts that were counted at at.
func (c *counter) unstart(class mail.Class, at Time, n int64) {
	if class != mail.High && c.others != nil {
		c.others.remove(at, n)
	}
	c.ledger.remove(at, n)
}

// advance lets go of what the windows need no more.
func (c *counter) advance(now, keep Time) {
	c.ledger.advance(now, keep)
	if c.others == nil {
		return
	}
	c.others.advance(now, keep)
	if n := len(c.windows); n == 0 || c.others.high+c.windows[n-1].wide+settleAfter < now {
		c.others = nil // nothing in the windows is of class high any more
	}
}
