package scheduler

import (
	"container/heap"
	"fmt"
	"time"
)

// hello claims what the session holds from the leader of a term. begun is the session
// the stream was opened with, f what the leader has answered.
func (c *Client) hello(begun SessionID, f *leaderFrame, x int64) (*helloFrame, error) {
	id, term := f.session, f.term
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case begun == 0 && c.h == nil && id != 0:
		c.h = NewHoldings(c.o.Params, id)
		c.stats.Session = id
	case c.h == nil || c.h.Session() != id:
		return nil, errGone // it lapsed meanwhile
	}
	h, ok := c.h.Hello(term, c.version(x))
	if !ok {
		return nil, errOldTerm
	}
	c.h.Met(term, f.echo, f.stamp, x)
	out := &helloFrame{Hello: h}
	if r := c.rules.Load(); r != nil {
		out.sum = r.book.sum
	}
	c.retell()
	return out, nil
}

// retell makes the next beats say all that is wanted: the leader has not heard it,
// or has dropped it. The caller holds mu.
func (c *Client) retell() {
	for _, ln := range c.lanes {
		ln.told, ln.toldSlots, ln.hold = Want{}, 0, 0
		if ln.n > 0 || ln.slots > 0 {
			c.activate(ln)
		}
	}
}

// version is that of the rules which everything that starts here obeys. Rules are
// acknowledged Params.Margin after they came: who looked at the old ones right
// before has started by then. Until it hears that, the leader drops what we want.
// The caller holds mu.
func (c *Client) version(x int64) uint64 {
	if c.ackNext != c.acked && x >= c.ackAt {
		c.acked = c.ackNext
		c.retell()
	}
	return c.acked
}

// work works in a frame of the leader.
func (c *Client) work(f *leaderFrame, conn uint64, x int64) (behind Time, err error) {
	var in *rulesInForce
	if f.rules != nil {
		t, err := f.rules.book.Table()
		if err != nil {
			return 0, fmt.Errorf("version %d: %w", f.rules.version, err)
		}
		in = &rulesInForce{t, f.rules}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.h == nil || c.h.Session() != f.session {
		return 0, nil
	}
	if in != nil {
		c.ackNext, c.ackAt = f.rules.version, x+int64(c.o.Params.Margin)
		if c.rules.Swap(in) == nil {
			c.ackAt = x // nobody can have looked at older ones
		}
	}
	behind = c.h.Answer(f.term, conn, f.echo, f.stamp, x, f.lease, f.ack, f.led)
	c.answered = max(c.answered, f.echo)
	if f.again {
		c.retell()
		c.hurry()
	}
	for i := range f.orders {
		c.order(f, conn, &f.orders[i], x)
	}
	ok, until := c.h.Live(x)
	if !ok || c.rules.Load() == nil {
		until = 0
	}
	if c.until.Swap(until) == 0 && until != 0 || in != nil {
		c.rulesNew = true
	}
	return behind, nil
}

// order works in one order. The caller holds mu.
func (c *Client) order(f *leaderFrame, conn uint64, o *Order, x int64) {
	if o.Part != nil && int(o.Part.N) >= len(c.parts) || !c.h.Order(f.term, conn, *o) {
		return
	}
	switch {
	case o.Grant != nil:
		ln := c.lane(o.Grant.Lane)
		ln.told.N = max(0, ln.told.N-o.Grant.N)
		ln.told.Recipients = max(0, ln.told.Recipients-o.Grant.Recipients)
		ln.hold = 0
		c.activate(ln)
		if ln.n == 0 {
			c.hurry() // the mail is gone meanwhile: it goes back
		}
		c.begins(ln, localAt(f.stamp, o.Grant.NotBefore, c.o.Params, x), x)
	case o.Slot != nil:
		c.gained(o.Slot)
	case o.EndSlot != 0:
		c.end(o.EndSlot)
	case o.Part != nil:
		if old := c.parts[o.Part.N].Swap(o.Part.Epoch); old != 0 && old != o.Part.Epoch {
			c.partNews = append(c.partNews, partNews{false, Part{o.Part.N, old}})
		}
		c.partNews = append(c.partNews, partNews{true, *o.Part})
	case o.EndPart != nil:
		if p := *o.EndPart; int(p.N) >= len(c.parts) || c.parts[p.N].Load() != p.Epoch {
			c.h.Gone(p) // it never came here
			c.hurry()
			return
		}
		c.partNews = append(c.partNews, partNews{false, *o.EndPart})
	case o.Hold != nil:
		ln := c.lane(o.Hold.Lane)
		c.activate(ln)
		ln.why, ln.hold = o.Hold.Why, forever
		if o.Hold.NotBefore != 0 {
			ln.hold = localAt(f.stamp, o.Hold.NotBefore, c.o.Params, x)
		}
		c.note(ln)
	}
}

// localAt is when, by the local clock, cluster time has certainly come to t: it had come
// to stamp at x, and goes on at least so fast.
func localAt(stamp, t Time, p Params, x int64) int64 {
	if t <= stamp {
		return x
	}
	return x + int64(float64(t-stamp)/(1-2*p.Rho)) + 1
}

// begins tells of a permit now, or when it begins. The caller holds mu.
func (c *Client) begins(ln *clientLane, at, x int64) {
	if at-x < int64(200*time.Microsecond) {
		c.note(ln)
		return
	}
	if ln.wakeAt == 0 || at < ln.wakeAt {
		ln.wakeAt = at
		heap.Push(&c.wakes, wakeUp{at, ln})
	}
}

// note makes News due for a lane. The caller holds mu.
func (c *Client) note(ln *clientLane) {
	if !ln.noted {
		ln.noted = true
		c.noted = append(c.noted, ln)
	}
}

// tell calls the deliverer with what has come.
func (c *Client) tell() {
	c.mu.Lock()
	lanes, parts, rules := c.noted, c.partNews, c.rulesNew
	c.noted, c.partNews, c.rulesNew = nil, nil, false
	for _, ln := range lanes {
		ln.noted = false
	}
	c.mu.Unlock()
	if rules {
		c.o.OnRules()
	}
	for _, p := range parts {
		c.o.OnPart(p.gained, p.part)
	}
	for _, ln := range lanes {
		c.o.News(ln.Lane)
	}
}

// drop ends the session: nothing that came of it may be used any more.
func (c *Client) drop(why string) {
	c.mu.Lock()
	c.until.Store(0)
	if c.h == nil {
		c.mu.Unlock()
		return
	}
	c.h = nil
	c.stats.Session = 0
	c.stats.Lost++
	for _, s := range c.slots {
		s.dead.Store(true)
		s.ln.free, s.ln.held = nil, 0
		c.note(s.ln)
	}
	clear(c.slots)
	c.wakes = nil
	for _, ln := range c.lanes {
		ln.hold, ln.wakeAt = 0, 0
	}
	for i := range c.parts {
		if e := c.parts[i].Swap(0); e != 0 {
			c.partNews = append(c.partNews, partNews{false, Part{uint32(i), e}})
		}
	}
	c.mu.Unlock()
	c.o.Log.Debug("the session is over", "why", why)
	c.tell()
}

// connected notes who leads, for Stats.
func (c *Client) connected(where string, term uint64, yes bool) {
	c.mu.Lock()
	c.stats.Leader, c.stats.Connected = where, yes
	if term != 0 {
		c.stats.Term = term
	}
	c.mu.Unlock()
}
