package scheduler

import (
	"slices"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// LaneQuery asks what holds the mail of one destination, tenant and class.
type LaneQuery struct {
	Dest   shaping.Destination `json:"dest"`
	Source string              `json:"source,omitempty"` // empty: any, that for which most is wanted
	Tenant string              `json:"tenant,omitempty"`
	Class  mail.Class          `json:"class,omitempty"`
}

// LaneAnswer is what the leader knows of it. Where nothing holds it and nothing is
// wanted, the deliverer has not asked: the reason is elsewhere.
type LaneAnswer struct {
	Now     Time   `json:"now"`            // that Live.Next counts from
	Version uint64 `json:"version"`        // of the limits
	Source  string `json:"source"`         // that this is about
	Wanted  int    `json:"wanted"`         // starts that sessions ask for
	Shut    string `json:"shut,omitempty"` // nothing may be sent, and why

	// Holds is the position in Live of what holds it: the window in whose queue it
	// waits, or else the one with room last; -1: nothing does.
	Holds int `json:"holds"`
	// Live is all that bounds it: windows, with Next for this class, and connections.
	Live []Live `json:"live"`
	// Before is how many starts others want that go before it in that queue, by class,
	// and Beside those that take turns with it. Of what the queue lets through once
	// Before have gone, Part is this mail's while the same lanes wait.
	Before int     `json:"before"`
	Beside int     `json:"beside"`
	Part   float64 `json:"part"`
}

// Why tells what holds a lane.
func (l *Leader) Why(now Time, q LaneQuery) LaneAnswer {
	ln := l.askedFor(&q)
	key := Lane{Dest: q.Dest, Source: q.Source, Tenant: q.Tenant, Class: q.Class}
	a := LaneAnswer{Now: now, Version: l.version, Holds: -1, Live: []Live{}, Part: 1}
	if ln != nil {
		key = ln.Lane
		a.Wanted = int(ln.wanted())
	}
	a.Source = key.Source
	b := l.table.Bounds(key.Dest, key.Source, key.Tenant)
	if b.Suspended != nil {
		a.Shut = "suspended"
		if r := b.Suspended.Reason; r != "" {
			a.Shut += ": " + r
		}
	}
	last := now
	for i := range b.Counters {
		c := l.counterFor(&b.Counters[i], now)
		c.from = l.origin(b.Counters[i].From, b.Counters[i].Lowered)
		c.advance(now, c.keep)
		for k := range c.windows {
			x := l.stands(c, k, key.Class, now)
			if x.Waiting = c.wanted(); c.waiting() > 0 && ln != nil && ln.on == c {
				x.Next = max(x.Next, c.wake)
			}
			if x.Next > last {
				last, a.Holds = x.Next, len(a.Live)
			}
			a.Live = append(a.Live, x)
		}
		if ln != nil && ln.on == c {
			l.turnsBefore(&a, c, ln)
		}
	}
	for _, s := range b.Slots {
		x := Live{Counter: s.Counter, Unit: shaping.Connections, Max: s.Max, From: s.From}
		if c := l.slots.counters[s.Counter]; c != nil {
			x = c.live()
			x.From = s.From
		}
		if x.Next == never && a.Holds < 0 {
			a.Holds = len(a.Live)
		}
		a.Live = append(a.Live, x)
	}
	return a
}

// askedFor finds the lane that a query is about, among those that somebody wants
// something of; nil: nobody does. Where tenants are not told apart, it is that of all.
func (l *Leader) askedFor(q *LaneQuery) (best *lane) {
	rank := func(ln *lane) int64 {
		r := int64(ln.wanted())
		if ln.Tenant == q.Tenant {
			r += 1 << 40
		}
		return r
	}
	for _, ln := range l.laneList {
		switch {
		case ln.Dest.Key != q.Dest.Key, ln.Kind != Transaction, ln.Class != q.Class, ln.Tenant != q.Tenant && ln.Tenant != "",
			q.Source != "" && ln.Source != q.Source, ln.wanted() == 0:
		case best == nil || rank(ln) > rank(best):
			best = ln
		}
	}
	return best
}

// wanted is how many starts sessions want of the lane.
func (ln *lane) wanted() (n int64) {
	for _, w := range ln.wants {
		n += int64(w.n)
	}
	return n
}

// wanted is how many starts the lanes want that wait for the counter.
func (c *counter) wanted() (n int) {
	if c.queue != nil {
		c.queue.each(func(ln *lane) { n += int(ln.wanted()) })
	}
	return n
}

// turnsBefore counts who else waits in the queue of a lane.
func (l *Leader) turnsBefore(a *LaneAnswer, c *counter, ln *lane) {
	weights := map[string]int32{}
	own := 0
	normal := false
	c.queue.each(func(o *lane) {
		first, second := slices.Index(mail.Classes[:], o.Class), slices.Index(mail.Classes[:], ln.Class)
		switch n := int(o.wanted()); {
		case n == 0:
		case first < second:
			a.Before += n
			normal = normal || o.Class == mail.Normal
		case first > second:
		default:
			weights[o.Tenant] = int32(o.weight)
			if o.Tenant == ln.Tenant {
				own++
			}
			if o != ln {
				a.Beside += n
			}
		}
	})
	sum := int32(0)
	for _, w := range weights {
		sum += w
	}
	if own > 0 {
		a.Part = float64(ln.weight) / float64(sum) / float64(own)
	}
	if ln.Class == mail.Bulk && normal {
		a.Part /= bulkTurn + 1
		a.Before = 0 // it need not wait for all of these
	}
}

// each calls fn with every lane in the queue, in no order.
func (q *turns) each(fn func(*lane)) {
	for _, t := range q.classes {
		if t == nil {
			continue
		}
		for _, x := range t.waiting {
			for _, ln := range x.lanes.lanes[x.lanes.from:] {
				fn(ln)
			}
		}
	}
}

// stands is how one window stands for a class.
func (l *Leader) stands(c *counter, i int, class mail.Class, now Time) Live {
	unit, _, _, _ := shaping.SplitCounter(c.name)
	w := &c.windows[i]
	x := Live{
		Counter: c.name, Unit: unit, Max: int(w.max), Kept: int(w.kept), Length: w.length, From: c.from.rule,
		Used: int(max(0, w.count-c.out)), InFlight: int(c.out),
	}
	for _, y := range c.from.lowered {
		if Time(y.Window.Length) == w.length && int64(y.Window.Max) == w.max {
			x.From = y.From
		}
	}
	one := counter{ledger: ledger{cells: c.cells, windows: c.windows[i : i+1]}}
	if c.others != nil {
		one.others = &others{ledger: ledger{cells: c.others.cells, windows: c.others.windows[i : i+1]}}
	}
	if t := l.earliest(&one, class, now, 1); t > now {
		x.Next = t
	}
	return x
}

// live is how a limit of connections stands.
func (c *slotCounter) live() Live {
	x := Live{Counter: c.name, Unit: shaping.Connections, Max: c.max, Used: len(c.held), InFlight: c.resting + c.unheard, From: c.from}
	for _, w := range c.waiting {
		x.Waiting += w.n - w.held
	}
	if !c.room() {
		x.Next = never
	}
	return x
}
