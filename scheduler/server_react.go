package scheduler

import (
	"errors"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// How often reactions change. Every change of the book is sent to all nodes, and
// stops what is limited for a moment.
const (
	reactEvery   = time.Second      // the first goes at once
	recoverEvery = 10 * time.Second // steps of recovery, and ends
	maxTriggers  = 256              // in one change
	quietTime    = time.Minute      // between two lines of log that say the same
)

// reactor makes reactions of what nodes notice, and lets them recover. It counts in
// memory: what a leader has counted goes with it, and the next one begins anew.
type reactor struct {
	tally    shaping.Tally
	due      map[shaping.Place]shaping.Trigger
	busy     bool // a change is under way
	done     chan error
	reactAt  int64 // not before
	recover  int64 // the same, for recovery
	quiet    int64 // no warning before
	overflow int   // triggers that were dropped since
}

// sighted counts what a node has seen. The caller holds State.mu.
func (r *reign) sighted(ns []shaping.Sighting) {
	if len(ns) == 0 {
		return
	}
	a, table, now := &r.reactor, r.s.state.f.Table(), time.Now()
	for i := range ns {
		n := &ns[i]
		if n.Remedy.Action.Local() || table.Settling(n, now) || !a.tally.Add(n, now) {
			continue
		}
		t := n.Trigger()
		if len(a.due) >= maxTriggers || t.Check() != nil { // one that is refused would take the others along
			a.overflow++
			continue
		}
		if a.due == nil {
			a.due = map[shaping.Place]shaping.Trigger{}
		}
		a.due[n.Place()] = t
	}
}

// react proposes what has come due.
func (r *reign) react() {
	a, x := &r.reactor, r.s.o.Clock()
	select {
	case err := <-a.done:
		a.busy = false
		r.complain(err, x)
	default:
	}
	if a.busy || r.rules == nil {
		return
	}
	c := shaping.Change{Op: shaping.OpReact, Author: "tarishi"}
	switch {
	case len(a.due) > 0 && x >= a.reactAt:
		for _, t := range a.due {
			c.Triggers = append(c.Triggers, t)
		}
		clear(a.due)
		a.reactAt = x + int64(reactEvery)
	case x >= a.recover:
		a.recover = x + int64(time.Second)
		next := r.rules.book.NextReaction()
		if next.IsZero() || next.After(time.Now()) {
			return
		}
		a.recover = x + int64(recoverEvery)
		c.Op = shaping.OpRecover
	default:
		return
	}
	c.At = time.Now().UTC()
	a.busy = true
	r.tail.Go(func() {
		_, err := r.change(r.ctx, &c)
		a.done <- err // room for one, and one is under way
		select {
		case r.poke <- struct{}{}:
		default:
		}
	})
}

// complain says that reactions could not be made, now and then.
func (r *reign) complain(err error, x int64) {
	a := &r.reactor
	if err == nil && a.overflow == 0 || x < a.quiet || r.ctx.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("too many at a time")
	}
	r.s.o.Log.Warn("not all that replies ask for is done", "err", err, "left_out", a.overflow)
	a.quiet, a.overflow = x+int64(quietTime), 0
}
