package queue

import (
	"context"
	"fmt"
	"sync"
)

// underway counts what is being settled, in waves: a Flush closes the wave of the
// moment and waits for it and for those before. Were there one count, a Flush would
// wait for a moment at which nothing at all moves, and under load none comes.
type underway struct {
	mu     sync.Mutex
	wave   *wave   // what begins now belongs to it
	closed []*wave // and those before that have not ended
}

type wave struct {
	open   int
	closed bool
	done   chan struct{} // closed when the wave is and all of it has ended
}

func newUnderway() *underway { return &underway{wave: &wave{done: make(chan struct{})}} }

// begin counts one more; its wave ends it.
func (u *underway) begin() *wave {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wave.open++
	return u.wave
}

func (u *underway) finish(w *wave) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if w.open--; w.open == 0 && w.closed {
		close(w.done)
	}
}

// closeWave returns all that began before the call and has not ended.
func (u *underway) closeWave() []*wave {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wave.closed = true
	if u.wave.open == 0 {
		close(u.wave.done)
	}
	var left []*wave
	for _, w := range append(u.closed, u.wave) {
		if w.open > 0 {
			left = append(left, w)
		}
	}
	u.closed = left
	u.wave = &wave{done: make(chan struct{})}
	return append([]*wave(nil), left...)
}

// An end begins another one at most twice: the last of a message's deliveries sends
// those that were given back to WAIT, and these remove the record.
const wavesOfAnEnd = 3

// Flush waits until everything settled before the call has been removed or moved.
func (q *Queue) Flush(ctx context.Context) error {
	for range wavesOfAnEnd {
		for _, w := range q.settler.underway.closeWave() {
			select {
			case <-w.done:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return q.confirmAcks(ctx)
}

// confirmAcks waits until the server has done every acknowledgement sent so far:
// it does them in order, so one that asks for an answer speaks for all before it.
// Without it a clean stop could leave jobs in READY that have been done.
func (q *Queue) confirmAcks(ctx context.Context) error {
	reply := q.lastAck.Load()
	if reply == nil {
		return nil
	}
	if _, err := q.get.RequestWithContext(ctx, *reply, []byte("+ACK")); err != nil {
		return fmt.Errorf("%w: confirming acknowledgements: %w", ErrUnavailable, err)
	}
	return nil
}
