package plugin

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Current is the Chain in force. Another takes its place when plugins are loaded
// anew, while those that are being asked go on with the one they have. Safe for
// concurrent use; the zero one has no Chain.
type Current struct {
	at      atomic.Pointer[Chain]
	closing sync.WaitGroup

	mu   sync.Mutex
	open map[*Chain]struct{} // those that are not closed yet
}

// Take returns the Chain in force for use, nil: there is none. It is not closed before
// Release is called, once for each Take.
func (c *Current) Take() *Chain {
	if c == nil {
		return nil
	}
	for {
		ch := c.at.Load()
		if ch == nil {
			return nil
		}
		if ch.take() {
			return ch
		} // else it has just been replaced, and its last user is gone
	}
}

// Has tells whether any function is called at the hook, by the Chain in force.
func (c *Current) Has(h Hook) bool { return c != nil && c.at.Load().Has(h) }

// closePatience is how long a Chain that nobody uses any more waits for functions
// that were given up.
const closePatience = time.Minute

// Swap puts ch in force; nil: no plugins. The one before is closed when its last user
// has released it.
func (c *Current) Swap(ch *Chain) {
	if ch != nil {
		c.closing.Add(1)
		ch.users.Store(1) // being in force is a use
		ch.hurry = make(chan struct{})
		c.keep(ch, true)
		ch.retired = func() {
			go func() {
				defer c.closing.Done()
				defer c.keep(ch, false)
				ctx, cancel := context.WithTimeout(context.Background(), closePatience)
				defer cancel()
				if err := ch.Close(ctx); err != nil {
					ch.log.Warn("plugins of before do not end", "error", err)
				}
			}()
		}
	}
	c.at.Swap(ch).Release()
}

func (c *Current) keep(ch *Chain, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[*Chain]struct{}{}
	}
	if yes {
		c.open[ch] = struct{}{}
	} else {
		delete(c.open, ch)
	}
}

// lastPatience is how long functions that were given up have at the very end.
const lastPatience = time.Second

// Close puts no Chain in force, and returns when all there were are closed, or ctx ends.
// It is for the end: functions that were given up are soon not waited for any more.
func (c *Current) Close(ctx context.Context) error {
	c.Swap(nil)
	closed := make(chan struct{})
	go func() { c.closing.Wait(); close(closed) }()
	hurry := time.NewTimer(lastPatience)
	defer hurry.Stop()
	for {
		select {
		case <-closed:
			return nil
		case <-hurry.C:
			c.mu.Lock()
			for ch := range c.open {
				close(ch.hurry)
			}
			c.open = nil
			c.mu.Unlock()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take counts a user, unless the last one has gone.
func (c *Chain) take() bool {
	for {
		n := c.users.Load()
		if n == 0 {
			return false
		}
		if c.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release ends a use that Current.Take began. A nil Chain has none.
func (c *Chain) Release() {
	if c != nil && c.users.Add(-1) == 0 {
		c.retired()
	}
}
