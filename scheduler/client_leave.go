package scheduler

import (
	"context"
	"slices"
	"time"
)

// parting is how long a client that ends looks for a leader that hears it: others wait
// for what it held until then, or for as long as its lease.
const parting = 2 * time.Second

// leave says goodbye and waits until the log has it: a leader that comes after the one
// that heard it would otherwise wait for a session that is gone. What was not used goes
// back at once. Without a word where connections are still held: they are open, and
// count until the lease is over.
func (r *runner) leave() {
	r.c.release()
	left := false
	for until := r.c.o.Clock() + int64(parting); r.c.hasSession() && r.c.o.Clock() < until; {
		x := r.c.o.Clock()
		r.step(x)
		if s := r.s; s != nil && s.state == streamReady && !s.left {
			r.beat(x)
			if !r.c.empty() {
				break
			}
			if r.s != nil && !r.c.more() {
				s.left, left = true, true
				r.send(&nodeFrame{bye: true})
			}
		}
		r.timer.Reset(min(max(r.wait(x), time.Millisecond), 50*time.Millisecond))
		select {
		case d := <-r.dialled:
			r.took(d)
		case f := <-r.in():
			if f.err == nil && f.f.gone {
				r.hangUp(errGone)
				r.c.drop("it has left")
				return
			}
			r.got(f)
		case <-r.c.kick:
		case <-r.timer.C:
		}
	}
	if r.c.hasSession() {
		r.c.o.Log.Warn("the session with the scheduler is not ended; what it held may not be used by others before its lease is over", "said", left)
	}
}

// end leaves, and ends the stream.
func (r *runner) end() {
	r.leave()
	r.timer.Stop()
	r.hangUp(context.Canceled)
	r.cancel()
	if r.dialing {
		if d := <-r.dialled; d.link != nil {
			d.link.Close()
		}
	}
	r.wg.Wait()
	r.c.drop("the client has ended")
}

// release gives up all that is wanted, and all permits in hand.
func (c *Client) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ln := range c.lanes {
		ln.n, ln.recipients, ln.slots = 0, 0, 0
		if c.h != nil {
			c.h.Release(ln.Lane, 0)
		}
		c.activate(ln)
	}
	c.urgent = true
}

// hasSession tells whether there is one to end.
func (c *Client) hasSession() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.h != nil
}

// more tells whether the last beat had no room for everything.
func (c *Client) more() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.urgent
}

// empty tells whether no connection is held that somebody may be using.
func (c *Client) empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.slots {
		if !slices.Contains(s.ln.free, s) {
			return false
		}
	}
	return true
}
