package scheduler

import "github.com/tarishi/tarishi/shaping"

// Slots are concurrent connections: permits that last as long as the lease of the
// session that holds them.
//
// What the log says is, for each session and counter, how many it may hold at most
// (its share); a share is written before a slot is given from it. So a failover breaks
// no connection: a session that comes back says what it holds, and of one that is not
// heard of as much is taken as its shares allow, until its lease is over.

// slotCounter is one limit of concurrent connections.
type slotCounter struct {
	name    string
	id      uint64 // in the log; 0: not there yet
	max     int    // -1: no rule bounds it any more
	held    []*slot
	resting int // closed a moment ago
	unheard int // what sessions not heard of since the term began may hold
	ending  int // of held: asked to end
	waiting []*slotWant
	shares  int // sessions with a share
	lanes   int // bound by it
	dirty   bool
	queued  bool // in slotDesk.full
	from    shaping.RuleRef
}

// slotLane is a lane of which slots are wanted or held.
type slotLane struct {
	Lane
	version  uint64
	counters []*slotCounter
	held     int
	ending   int
	soon     int // slots that its wants are the next to get; during rotateOne
	wants    []*slotWant
	shut     string
}

// slot is one connection.
type slot struct {
	id     SlotID
	s      *session
	ln     *slotLane
	want   *slotWant
	bound  []*slotCounter // where it counts
	since  Time
	ending bool
}

// slotWant is what one session wants of one lane.
type slotWant struct {
	s      *session
	ln     *slotLane
	n      int // wanted in all
	held   int
	ending int
	on     *slotCounter // it waits for this one
	from   Time         // since then
	told   bool         // why it waits
}

// slotShare is how many slots of a counter a session may hold, by the log.
type slotShare struct {
	c         *slotCounter
	s         *session
	committed int
	asked     int // in an entry under way; -1: none
	held      int
	resting   int  // closed a moment ago: a leader that comes now has to count them
	want      int  // to be written next
	marked    bool // in slotDesk.write
	free      Time // when one was last closed, or the share was made: it may be wanted still
}

// slotDesk is all of it.
type slotDesk struct {
	lanes    map[Lane]*slotLane
	counters map[string]*slotCounter
	changed  []*slotCounter
	full     []*slotCounter // with lanes waiting
	write    []*slotShare
	resting  []resting // closed slots, by when they are free again
	shares   []*slotShare
	checked  Time
}

// resting is a closed slot that is not free yet: the receiver may not have noticed.
type resting struct {
	at    Time
	share *slotShare
}

func (d *slotDesk) init() {
	d.lanes, d.counters = map[Lane]*slotLane{}, map[string]*slotCounter{}
}

// dirty tells whether the log is to hear of shares.
func (d *slotDesk) dirty() bool { return len(d.write) > 0 }

// uses tells whether a counter of that name is a limit of connections in use.
func (d *slotDesk) uses(name string) bool { return d.counters[name] != nil }

// taken is how many connections may be open under the limit, or were a moment ago.
func (c *slotCounter) taken() int { return len(c.held) + c.resting + c.unheard }

// fits tells whether n more fit.
func (c *slotCounter) fits(n int) bool { return c.max < 0 || c.taken()+n <= c.max }

// room tells whether one more fits.
func (c *slotCounter) room() bool { return c.fits(1) }

// turnSlots hands out free slots, and asks for others to be ended.
func (l *Leader) turnSlots(now Time) {
	d := &l.slots
	for len(d.resting) > 0 && d.resting[0].at <= now {
		h := d.resting[0].share
		h.resting--
		h.c.resting--
		l.look(h.c)
		d.resting = d.resting[1:]
	}
	// After a failover a slot may have been closed a moment ago under the old leader.
	if now < l.start+l.p.SlotRest && l.term > 1 {
		return
	}
	for i := 0; i < len(d.changed); i++ {
		c := d.changed[i]
		c.dirty = false
		l.giveSlots(c, now)
	}
	d.changed = d.changed[:0]
	l.rotate(now)
}

// giveSlots gives out what is free under one limit, to those who have least.
func (l *Leader) giveSlots(c *slotCounter, now Time) {
	l.trim(c)
	logged := 0 // places kept for those who wait for the log: nobody passes them by
	for blocked := 0; c.fits(1+logged) && blocked < len(c.waiting); {
		w := c.poorest(blocked)
		switch other := l.obstacle(w); {
		case !l.lasts(w.s, now):
			blocked++
			continue
		case w.ln.shut != "":
			l.leaveQueue(w)
			l.tellSlot(w, w.ln.shut)
			w.n = w.held
			continue
		case other != nil:
			l.leaveQueue(w)
			w.on = other
			other.waiting = append(other.waiting, w)
			l.enqueue(other)
			continue
		}
		if !l.share(w) {
			blocked++
			logged++
			continue
		}
		l.giveSlot(w, now)
		if w.n <= w.held {
			l.leaveQueue(w)
		}
	}
	if len(c.waiting) > 0 {
		l.enqueue(c)
	}
}

// poorest moves the demand that is to be served next to position i of the queue: of
// the lane with the fewest slots, then of the session with the fewest in that lane,
// then the one that waits longest.
func (c *slotCounter) poorest(i int) *slotWant {
	best := i
	for k := i + 1; k < len(c.waiting); k++ {
		if c.waiting[k].before(c.waiting[best]) {
			best = k
		}
	}
	w := c.waiting[best]
	copy(c.waiting[i+1:best+1], c.waiting[i:best])
	c.waiting[i] = w
	return w
}

func (w *slotWant) before(o *slotWant) bool {
	switch {
	case w.ln != o.ln && w.ln.held != o.ln.held:
		return w.ln.held < o.ln.held
	case w.held != o.held:
		return w.held < o.held
	}
	return w.from < o.from
}

// giveSlot hands out one slot.
func (l *Leader) giveSlot(w *slotWant, now Time) {
	l.nextSlot++
	x := &slot{id: l.nextSlot, s: w.s, ln: w.ln, want: w, since: now}
	w.s.slots[x.id] = x
	w.held++
	w.ln.held++
	w.from, w.told = now, false
	l.bindSlot(x)
	l.emit(w.s.id, Order{Slot: &Slot{x.id, w.ln.Lane}})
}

// bindSlot counts a slot under every limit of its lane.
func (l *Leader) bindSlot(x *slot) {
	x.bound = x.ln.counters
	for _, c := range x.bound {
		c.held = append(c.held, x)
		if x.ending {
			c.ending++
		}
		h := l.shareOf(x.s, c)
		h.held++
		l.cover(h)
		l.look(c)
	}
}

// unbindSlot takes it out again.
func (l *Leader) unbindSlot(x *slot) {
	for _, c := range x.bound {
		for i, o := range c.held {
			if o == x {
				c.held = append(c.held[:i], c.held[i+1:]...)
				break
			}
		}
		if x.ending {
			c.ending--
		}
		l.shareOf(x.s, c).held--
		l.look(c)
	}
	x.bound = nil
}

// rest keeps one connection counted a moment longer.
func (l *Leader) rest(now Time, s *session, c *slotCounter) {
	h := l.shareOf(s, c)
	h.resting++
	c.resting++
	l.slots.resting = append(l.slots.resting, resting{now + l.p.SlotRest, h})
}

// closeSlot frees a slot whose connection is closed: a moment later, so that the
// receiver has noticed.
func (l *Leader) closeSlot(x *slot, now Time) {
	bound := x.bound
	l.unbindSlot(x)
	for _, c := range bound {
		l.shareOf(x.s, c).free = now
		l.rest(now, x.s, c)
	}
	delete(x.s.slots, x.id)
	x.ln.held--
	x.want.held--
	if x.ending {
		x.ln.ending--
		x.want.ending--
	}
	x.want.from = now
	if x.want.n > x.want.held {
		l.seek(x.want, now)
	}
}
