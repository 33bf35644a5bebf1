package scheduler

import (
	"slices"
	"time"
)

// maxWants bounds the lanes of one beat; the rest goes with the next.
const maxWants = 4096

// compose makes the next beat: what is wanted, what became of the permits, what is
// given back.
func (c *Client) compose(x int64) *nodeFrame {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.urgent, c.owing = false, false
	b := &Beat{Parts: c.o.Parts && !c.draining, Draining: c.draining}
	f := &nodeFrame{beat: b}
	if c.h == nil {
		return f
	}
	b.Version = c.version(x)
	f.sightings = c.sightings.take()
	inHand := 0
	keep := c.active[:0]
	for i, ln := range c.active {
		if len(b.Wants)+len(b.Slots) >= maxWants {
			keep = append(keep, c.active[i:]...)
			c.urgent = true
			break
		}
		// A lane with permits is looked at again: they expire unseen. One without is not,
		// until something happens to it: thousands may wait for their windows.
		if ln.active = c.ask(b, ln, x); ln.active {
			keep = append(keep, ln)
			inHand++
		}
	}
	clear(c.active[len(keep):])
	c.active = keep
	f.busy = inHand > 0 || c.waiting > 0
	c.h.Report(b, x)
	c.forget(x)
	return f
}

// ask puts into a beat what the lane wants of the leader and what it gives back. It
// tells whether permits are in hand. The caller holds mu.
func (c *Client) ask(b *Beat, ln *clientLane, x int64) bool {
	n, recipients := c.h.InHand(ln.Lane, x)
	if n > ln.n { // the mail they were for is gone
		c.h.Release(ln.Lane, ln.n)
		n, recipients = c.h.InHand(ln.Lane, x)
	}
	want := Want{Lane: ln.Lane, N: max(0, ln.n-n)}
	slots, spare := ln.slots, ln.slots
	switch {
	case c.draining:
		want.N, slots, spare = 0, 0, 0
	case c.acked != c.ackNext:
		want.N, slots = 0, 0
	}
	if want.N > 0 && ln.Kind == Transaction {
		want.Head = ln.head
		want.Recipients = max(ln.recipients-recipients, ln.head)
	}
	if want.N != ln.told.N || want.Recipients != ln.told.Recipients || want.Head != ln.told.Head {
		b.Wants = append(b.Wants, want)
		ln.told = want
	}
	for ln.held > spare && len(ln.free) > 0 {
		s := ln.free[0]
		ln.free = ln.free[1:]
		c.closeSlot(s)
	}
	if slots != ln.toldSlots {
		b.Slots = append(b.Slots, SlotWant{Lane: ln.Lane, N: slots})
		ln.toldSlots = slots
	}
	ln.used = x
	c.wait(ln, (want.N > 0 || slots > ln.held) && ln.hold <= x+int64(time.Second))
	return n > 0
}

// wait counts the lanes for which an answer may come any moment. The caller holds mu.
func (c *Client) wait(ln *clientLane, yes bool) {
	if ln.waits != yes {
		ln.waits = yes
		if yes {
			c.waiting++
		} else {
			c.waiting--
		}
	}
}

// forget drops lanes that nobody has spoken of for long. The caller holds mu.
func (c *Client) forget(x int64) {
	if x-c.touched < idleLane/4 {
		return
	}
	c.touched = x
	for l, ln := range c.lanes {
		if x-ln.used > idleLane && ln.idle() {
			ln.forgotten = true
			delete(c.lanes, l)
		}
	}
	if len(c.lanes) == 0 { // a map keeps the room it once needed
		c.lanes = map[Lane]*clientLane{}
	}
	c.active = slices.Clip(c.active)
}

// idle tells whether nobody wants, holds or waits for anything on the lane.
func (ln *clientLane) idle() bool {
	return !ln.active && !ln.noted && !ln.waits && ln.wakeAt == 0 && ln.n == 0 && ln.slots == 0 && ln.held == 0
}
