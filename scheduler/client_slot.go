package scheduler

import (
	"slices"
	"sync/atomic"
	"time"
)

// HeldSlot is the right to hold one connection open, as long as the session's
// lease is renewed.
type HeldSlot struct {
	c      *Client
	ln     *clientLane
	id     SlotID
	ending atomic.Bool
	dead   atomic.Bool // closed, or its session has lapsed
}

// WantSlots says how many connections the lane wants to hold open in all. It
// replaces what was said before.
func (h *LaneHandle) WantSlots(n int) {
	c := h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	ln := h.state()
	if ln.slots == n {
		return
	}
	ln.slots = n
	c.activate(ln)
	c.hurry()
}

// TakeSlot takes a slot that nobody uses. Without one, it says when to ask again.
func (h *LaneHandle) TakeSlot() (*HeldSlot, Verdict) {
	c := h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	ln := h.state()
	x := c.o.Clock()
	if u := c.until.Load(); c.h == nil || u == 0 || x >= u {
		return nil, Verdict{Why: "no session with the scheduler"}
	}
	if len(ln.free) > 0 {
		s := ln.free[0]
		ln.free = ln.free[1:]
		return s, Verdict{}
	}
	if ln.hold > x {
		v := Verdict{Why: ln.why}
		if ln.hold < forever {
			v.NotBefore = c.local(ln.hold, x)
		}
		return nil, v
	}
	return nil, Verdict{Why: "no connection is free yet"}
}

// Close says that the connection is closed, for certain: nothing of ours can reach
// the remote any more. More than once does no harm.
func (s *HeldSlot) Close() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.dead.Load() {
		c.closeSlot(s)
		c.hurry()
	}
}

// closeSlot is Close for one that is not dead. The caller holds mu.
func (c *Client) closeSlot(s *HeldSlot) {
	s.dead.Store(true)
	s.ln.held--
	delete(c.slots, s.id)
	c.h.Closed(s.id)
	c.activate(s.ln)
}

// Ending tells whether another waits for the slot: close the connection after the
// transaction under way.
func (s *HeldSlot) Ending() bool { return s.ending.Load() || s.dead.Load() }

// MayStart tells whether the lease leaves time for a transaction. Without an answer
// of the leader for Params.Quit less than a lease, it does not: the connection must
// be closed before the lease ends.
func (s *HeldSlot) MayStart() bool {
	u := s.c.until.Load()
	return u != 0 && !s.dead.Load() && s.c.o.Clock() < u-int64(s.c.o.Params.Quit)
}

// Deadline is when the connection must be closed, as things stand: it moves on with
// every answer of the leader. In the past once the session has lapsed.
func (s *HeldSlot) Deadline() time.Time {
	x := s.c.o.Clock()
	u := s.c.until.Load()
	if s.dead.Load() || u == 0 {
		u = x - int64(time.Second)
	}
	return s.c.local(u, x)
}

// gained puts a slot in hand. The caller holds mu.
func (c *Client) gained(o *Slot) {
	ln := c.lane(o.Lane)
	s := &HeldSlot{c: c, ln: ln, id: o.ID}
	c.slots[o.ID] = s
	ln.held++
	ln.free = append(ln.free, s)
	ln.hold = 0
	c.activate(ln)
	c.note(ln)
}

// end marks a slot that another waits for, and closes it at once when nobody uses
// it. The caller holds mu.
func (c *Client) end(id SlotID) {
	s := c.slots[id]
	if s == nil {
		return
	}
	s.ending.Store(true)
	if i := slices.Index(s.ln.free, s); i >= 0 {
		s.ln.free = slices.Delete(s.ln.free, i, i+1)
		c.closeSlot(s)
		c.hurry()
	}
	c.note(s.ln)
}

// Holds tells whether a partition is ours still, by its epoch: asked before every
// read and removal.
func (c *Client) Holds(p Part) bool {
	return int(p.N) < len(c.parts) && p.Epoch != 0 && c.parts[p.N].Load() == p.Epoch && c.Live()
}

// PartGone says that nothing of a partition that OnPart took away is under way any
// more.
func (c *Client) PartGone(p Part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.h == nil || int(p.N) >= len(c.parts) || !c.parts[p.N].CompareAndSwap(p.Epoch, 0) {
		return
	}
	c.h.Gone(p)
	c.hurry()
}
