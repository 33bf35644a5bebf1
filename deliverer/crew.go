package deliverer

import "sync"

// crew is the goroutines that wait for plugins. Unlike a WaitGroup it may be waited
// for while others begin.
type crew struct {
	mu   sync.Mutex
	n    int
	idle *sync.Cond
}

func (c *crew) start(f func()) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	go func() {
		defer func() {
			c.mu.Lock()
			if c.n--; c.n == 0 && c.idle != nil {
				c.idle.Broadcast()
			}
			c.mu.Unlock()
		}()
		f()
	}()
}

// wait returns when none is under way.
func (c *crew) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle == nil {
		c.idle = sync.NewCond(&c.mu)
	}
	for c.n > 0 {
		c.idle.Wait()
	}
}
