package admin

import (
	"context"
	"sync"
	"time"
)

// shared lets all who ask within a second have one answer: it pages through a
// store or comes from another node, and every open dashboard polls it.
type shared[T any] struct {
	ask func(context.Context) (T, error)
	now func() time.Time

	mu      sync.Mutex
	last    T
	at      time.Time
	running chan struct{} // closed when the question under way is answered; nil: none is
	err     error         // of the last one
}

const sharedAge = time.Second

// get returns an answer no older than sharedAge and when it was given.
func (c *shared[T]) get(ctx context.Context) (v T, at time.Time, err error) {
	c.mu.Lock()
	if age := c.now().Sub(c.at); !c.at.IsZero() && age >= 0 && age < sharedAge {
		defer c.mu.Unlock()
		return c.last, c.at, nil
	}
	wait := c.running
	if wait == nil {
		wait = make(chan struct{})
		c.running = wait
		// The answer belongs to all who wait for it: the first one's leaving must not
		// end it for the others.
		go c.answer(context.WithoutCancel(ctx), wait)
	}
	c.mu.Unlock()
	select {
	case <-wait:
	case <-ctx.Done():
		return v, time.Time{}, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.at, c.err
}

// listTime bounds one listing.
const listTime = 20 * time.Second

func (c *shared[T]) answer(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	v, err := c.ask(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.err, c.running = v, err, nil
	c.at = c.now()
	if err != nil {
		c.at = time.Time{} // the next one asks again
	}
	close(done)
}
