package scheduler

import (
	"cmp"
	"slices"
)

// How often the log is written: records at leisure, sooner where somebody waits.
const (
	tickEvery  = 100 * Millisecond
	tickSoon   = 25 * Millisecond
	mostRecs   = 20_000      // in one entry
	mostFlight = 8           // entries under way
	idleAfter  = 2 * Second  // what was not drawn from for so long is given back
	dropAfter  = 10 * Second // and the lane, or counter, is forgotten

	sweepMost = 512 // looked at with each entry
)

// flight is an entry under way, and the counters it speaks of.
type flight struct {
	command *Command
	at      Time
	records []flightRec
	slots   []*slotShare
}

// flightRec is what an entry says of a counter: so many reserved, so many known.
type flightRec struct {
	c             *counter
	added, closed int64
}

// Tick returns the next entry for the log, or nil when there is nothing to write. It
// is called after every Turn. When the entry can not be committed (any error), this
// Leader is of no use any more: begin a new term, or step down.
func (l *Leader) Tick(now Time) *Command {
	l.expire(now)
	if len(l.flights) >= mostFlight {
		return nil
	}
	l.restIdle(now)
	if !l.due(now) {
		return nil
	}
	l.seq++
	c := &Command{Type: Tick, Clock: down(now, Microsecond), Term: l.term, Seq: l.seq}
	f := flight{command: c, at: now}
	if now-l.demand < Second {
		l.horizonSent = down(now+l.p.Horizon, Microsecond)
	}
	c.Horizon = max(l.horizonSent, l.horizon)
	if len(l.sessions) > 0 && (l.back || l.leaseSent-now < l.p.Lease-Second) {
		l.back = false
		l.leaseSent = max(l.leaseSent, down(now+l.p.Lease, Microsecond))
		c.Absent = l.absent(now)
	}
	c.Lease = l.leaseSent
	l.sweep(c, now)
	l.records(c, &f, now)
	f.slots = l.slotRecords(c)
	c.Leaves, l.leavers = l.leavers, nil
	slices.SortStableFunc(c.Recs, func(a, b Rec) int { return cmp.Compare(a.ID, b.ID) })
	l.flights = append(l.flights, f)
	l.written, l.hungry = now, false
	return c
}

// due tells whether there is something to write now.
func (l *Leader) due(now Time) bool {
	switch since := now - l.written; {
	case since < tickSoon && l.written > 0:
		return false
	case l.hungry || len(l.leavers) > 0:
		return true
	case len(l.noHorizon) > 0 || now-l.demand < Second && l.demand > 0:
		// A grant lives as long as the horizon allows: renew it before that cuts into it.
		if max(l.horizonSent, l.horizon)-now < l.p.Horizon*6/10 {
			return true
		}
	}
	if len(l.sessions) > 0 && l.leaseSent-now < l.p.Lease-5*Second {
		return true
	}
	return now-l.written >= tickEvery && (len(l.dirty) > 0 || l.slots.dirty())
}

// restIdle has reservations written back that nobody has drawn from for a while, so
// that they cost a later leader nothing.
func (l *Leader) restIdle(now Time) {
	if now-l.checked < Second && l.checked > 0 && !l.drained {
		return
	}
	l.checked = now
	kept := l.pool[:0]
	for _, c := range l.pool {
		if c.open == 0 && c.asked == 0 && len(c.pending) == 0 && !c.dirty {
			c.pooled = false
			continue
		}
		kept = append(kept, c)
		if l.idle(c, now) && (c.open > c.inUse || len(c.pending) > 0) {
			l.mark(c)
		}
	}
	clear(l.pool[len(kept):])
	l.pool = kept
	l.restSlots(now)
}

// idle: nothing was granted lately.
func (l *Leader) idle(c *counter, now Time) bool { return c.last+idleAfter < now || l.drained }

// records writes what has become of the counters since the last entry.
func (l *Leader) records(c *Command, f *flight, now Time) {
	n := min(len(l.dirty), mostRecs)
	for _, x := range l.dirty[:n] {
		x.dirty = false
		r := l.rec(x, now)
		c.Recs = append(c.Recs, r)
		closed := int64(0)
		for _, s := range r.Close {
			closed += s.N
		}
		f.records = append(f.records, flightRec{x, max(r.Add, 0), closed})
		if l.p.broken == grantUncommitted {
			l.fed(x, r.Add, now)
		}
		x.flights++
		if !x.pooled {
			x.pooled = true
			l.pool = append(l.pool, x)
		}
	}
	rest := copy(l.dirty, l.dirty[n:])
	clear(l.dirty[rest:])
	l.dirty = l.dirty[:rest]
}

func (l *Leader) rec(x *counter, now Time) Rec {
	if x.id == 0 {
		l.nextCounter++
		x.id, x.keepLog = l.nextCounter, l.p.Keep
		return l.fill(x, Rec{ID: x.id, Name: x.name}, now)
	}
	return l.fill(x, Rec{ID: x.id}, now)
}

func (l *Leader) fill(x *counter, r Rec, now Time) Rec {
	if x.keep != x.keepLog {
		x.keepLog, r.Keep = x.keep, x.keep
	}
	idle := l.idle(x, now) && !x.starved
	if dt := now - x.since; x.count > 0 && dt > 0 {
		x.rate = 0.5*x.rate + 0.5*float64(x.count)/float64(dt)
	} else if idle {
		x.rate = 0
	}
	x.count, x.since = 0, now
	if spare := x.open - x.inUse; idle && spare > 0 {
		// Not to be used any more from now on: the next entry may be another leader's.
		r.Add = -spare
		x.open -= spare
	} else if !idle {
		want := x.target(l.p)
		if x.starved {
			want = max(want, x.short)
		}
		r.Add = max(0, want-(x.open+x.asked-x.inUse))
		x.asked += r.Add
	}
	slices.SortFunc(x.pending, func(a, b cell) int { return cmp.Compare(a.at, b.at) })
	for _, p := range x.pending {
		at := up(p.at, Millisecond)
		if k := len(r.Close) - 1; k >= 0 && r.Close[k].At>>x.logGrid == at>>x.logGrid {
			r.Close[k] = Start{at, r.Close[k].N + p.n}
			continue
		}
		r.Close = append(r.Close, Start{at, p.n})
	}
	if x.pending = x.pending[:0]; idle {
		x.pending = nil
	}
	return r
}

// fed wakes a counter that waited for a reservation.
func (l *Leader) fed(c *counter, added int64, now Time) {
	if c.starved && added > 0 {
		c.starved = false
		if c.waiting() > 0 {
			l.doze(c, now)
		}
	}
}

// Committed says that a Tick's entry has been applied here without error.
func (l *Leader) Committed(now Time, c *Command) {
	if len(l.flights) == 0 || l.flights[0].command != c {
		return // of another leader of this node
	}
	f := l.flights[0]
	l.flights[0] = flight{}
	l.flights = l.flights[1:]
	l.led = f.at
	l.leased()
	if c.Horizon > l.horizon {
		l.horizon = c.Horizon
		for i, ln := range l.noHorizon {
			l.noHorizon[i] = nil
			l.push(ln)
		}
		l.noHorizon = l.noHorizon[:0]
	}
	for _, r := range f.records {
		r.c.flights--
		r.c.asked -= r.added
		r.c.open += r.added - r.closed
		r.c.inUse -= r.closed
		l.fed(r.c, r.added, now)
	}
	for i := range c.Recs {
		if c.Recs[i].Forget {
			delete(l.forgetting, c.Recs[i].ID)
		}
	}
	l.slotsCommitted(f.slots, now)
	for _, id := range c.Leaves {
		l.removed(id)
	}
}
