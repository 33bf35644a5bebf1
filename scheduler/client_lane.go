package scheduler

import (
	"container/heap"
	"time"
)

// LaneHandle is how a deliverer speaks of one lane. It may be kept; a lane that is
// idle for long is forgotten and comes back by itself.
type LaneHandle struct {
	c  *Client
	ln *clientLane // under c.mu
}

// clientLane is what the client knows of one lane. Everything is under Client.mu.
type clientLane struct {
	Lane
	n, recipients, head int // wanted: transactions that wait, permits in hand included

	told          Want // what the leader believes we want
	slots         int  // wanted in all
	toldSlots     int
	held          int         // slots, free ones included
	free          []*HeldSlot // nobody uses them
	why           string      // of the hold
	hold          int64       // local clock: nothing comes before; 0: no hold; forever: it is not known when
	wakeAt        int64       // when a permit in hand can be used, if News is due then
	active, noted bool
	waits         bool  // counted in Client.waiting
	used          int64 // local clock when last spoken of
	forgotten     bool
}

const (
	forever  = int64(1) << 62
	idleLane = int64(time.Minute)
)

// Verdict says why nothing may start now, and when to ask again. A zero NotBefore
// means that it is not known: News tells.
type Verdict struct {
	NotBefore time.Time
	Why       string
}

// Lane returns the handle of a lane.
func (c *Client) Lane(l Lane) *LaneHandle {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &LaneHandle{c, c.lane(l)}
}

// lane finds or makes a lane's state. The caller holds mu.
func (c *Client) lane(l Lane) *clientLane {
	ln := c.lanes[l]
	if ln == nil {
		ln = &clientLane{Lane: l, used: c.o.Clock()}
		c.lanes[l] = ln
	}
	return ln
}

// state is the lane, found anew if it was forgotten. The caller holds c.mu.
func (h *LaneHandle) state() *clientLane {
	if h.ln.forgotten {
		h.ln = h.c.lane(h.ln.Lane)
	}
	return h.ln
}

// activate makes the next beats look at the lane. The caller holds mu.
func (c *Client) activate(ln *clientLane) {
	if !ln.active {
		ln.active = true
		c.active = append(c.active, ln)
	}
}

// Want says that n transactions wait to start on the lane, with so many recipients
// in all, of which the first one has head. It replaces what was said before; Take
// counts down by itself. Permits in hand that nobody wants any more go back.
func (h *LaneHandle) Want(n, recipients, head int) {
	c := h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	ln := h.state()
	gone := n == 0 && ln.n > 0
	ln.n, ln.recipients, ln.head = n, recipients, head
	c.activate(ln)
	if gone || c.dry(ln, c.o.Clock()) {
		c.hurry()
	}
}

// dry tells whether mail waits that the leader does not know of, and nothing is in
// hand for it: it should know now. The caller holds mu.
func (c *Client) dry(ln *clientLane, x int64) bool {
	if ln.n == 0 || ln.told.N > 0 || c.h == nil {
		return false
	}
	n, _ := c.h.InHand(ln.Lane, x)
	return n == 0
}

// Take takes a permit that can be used now for a transaction with so many
// recipients. Without one, it says when to ask again.
func (h *LaneHandle) Take(recipients int) (*Permit, Verdict) {
	c := h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	ln := h.state()
	x := c.o.Clock()
	if v, ok := c.ready(x); !ok {
		return nil, v
	}
	t, wait := c.h.Take(ln.Lane, recipients, x)
	if t == nil {
		return nil, c.none(ln, wait, x)
	}
	ln.n, ln.recipients = max(0, ln.n-1), max(0, ln.recipients-recipients)
	c.activate(ln)
	c.owing = true
	if c.dry(ln, x) {
		c.hurry()
	}
	return &Permit{c: c, h: c.h, t: t}, Verdict{}
}

// ready tells whether anything may be used at all. The caller holds mu.
func (c *Client) ready(x int64) (Verdict, bool) {
	switch u := c.until.Load(); {
	case c.h == nil || u == 0 || x >= u:
		return Verdict{Why: "no session with the scheduler"}, false
	case x >= u-int64(c.o.Params.Quit):
		return Verdict{Why: "the scheduler does not answer"}, false
	case !c.fresh(x):
		return Verdict{NotBefore: c.local(x+int64(5*time.Millisecond), x), Why: "the scheduler's clock is being asked for"}, false
	}
	return Verdict{}, true
}

// none says why a lane has no permit that can be used. The caller holds mu.
func (c *Client) none(ln *clientLane, wait, x int64) Verdict {
	if wait > 0 {
		return Verdict{NotBefore: c.local(wait, x), Why: "the permit begins later"}
	}
	if n, _ := c.h.InHand(ln.Lane, x); n > 0 {
		// What is in hand has too few recipients for the mail that is next: as long
		// as we keep it, its room is lost to everybody.
		c.h.Release(ln.Lane, 0)
		c.activate(ln)
		c.hurry()
	}
	if ln.hold > x {
		v := Verdict{Why: ln.why}
		if ln.hold < forever {
			v.NotBefore = c.local(ln.hold, x)
		}
		return v
	}
	return Verdict{Why: "no permit yet"}
}

// Permit is the right to start one transaction, or connection. Exactly one of
// Began and Return ends it, unless Begin refused.
type Permit struct {
	c *Client
	h *Holdings // of the session it came from
	t *Ticket
}

// Begin is called right before the first octet leaves: nil says go. An error says
// that it is too late; the permit is gone, and the mail is wanted again.
func (p *Permit) Begin() error {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.o.Clock() // under the lock: waiting for it must not count as progress
	if p.h != c.h {
		return c.expired() // of a session that has lapsed
	}
	if _, ok := c.ready(x); !ok {
		p.giveBack()
		return c.expired()
	}
	if err := p.h.Begin(p.t, x); err != nil {
		c.expired()
		return err
	}
	return nil
}

// expired counts a permit that could not be used. The caller holds mu.
func (c *Client) expired() error {
	c.stats.Expired++
	return ErrExpired
}

// Began is called right after the write, whether it succeeded or not: it reports
// the start, at the latest instant at which it can have been. late: that was after
// the permit's end, by a stall longer than Params.Margin.
func (p *Permit) Began() (late bool) {
	c := p.c
	x := c.o.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	late = p.h.Began(p.t, x)
	c.owing = true
	c.stats.Started++
	if late {
		c.stats.Late++
		c.o.Log.Error("a start came after its permit's end; the limit may have been exceeded by it",
			"destination", p.t.Lane.Dest.String(), "late_starts", c.stats.Late)
	}
	return late
}

// Return gives the permit back unused.
func (p *Permit) Return() {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if p.h == p.c.h {
		p.giveBack()
	}
}

// giveBack puts the permit in hand again. The caller holds mu.
func (p *Permit) giveBack() {
	p.h.Return(p.t)
	p.c.owing = true
	p.c.activate(p.c.lane(p.t.Lane))
}

// wakeHeap holds lanes whose permits begin later, by when.
type wakeHeap []wakeUp

type wakeUp struct {
	at int64
	ln *clientLane
}

func (h wakeHeap) Len() int           { return len(h) }
func (h wakeHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h wakeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *wakeHeap) Push(x any)        { *h = append(*h, x.(wakeUp)) }
func (h *wakeHeap) Pop() any {
	o := *h
	x := o[len(o)-1]
	*h = o[:len(o)-1]
	return x
}

// wake tells of permits that have begun.
func (c *Client) wake(x int64) {
	c.mu.Lock()
	some := false
	for len(c.wakes) > 0 && c.wakes[0].at <= x {
		w := heap.Pop(&c.wakes).(wakeUp)
		if w.ln.wakeAt == w.at {
			w.ln.wakeAt = 0
			c.note(w.ln)
			some = true
		}
	}
	c.mu.Unlock()
	if some {
		c.tell()
	}
}
