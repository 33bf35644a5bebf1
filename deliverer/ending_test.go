package deliverer

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// slowFetch is a queue that answers a fetch late, whatever became of who asked.
type slowFetch struct{ *memQueue }

func (q slowFetch) Fetch(ctx context.Context, n int) ([]Job, error) {
	js, err := q.memQueue.Fetch(ctx, n)
	if err != nil {
		time.Sleep(5 * time.Second)
	}
	return js, err
}

// From the word to stop until the queue has answered nobody connects anywhere: what
// waits would have one connection made after the other, and each called off at once.
func TestStopWhileFetching(t *testing.T) {
	tell(t, func(s *story) {
		s.c.Queue = slowFetch{s.q}
		s.c.Patience = time.Minute
		s.mx("there.test", 1)
		stopped := make(chan struct{})
		s.set(addr(1), func() (net.Conn, error) {
			if s.dials(addr(1)) > 1000 {
				s.Error("one connection after the other")
				select {}
			}
			<-stopped
			return nil, errors.New("connection reset")
		})
		s.start()
		for range 40 {
			s.send("a@there.test")
		}
		s.after(time.Second)
		before := s.dials(addr(1))
		s.stop()
		close(stopped)
		if n := s.dials(addr(1)) - before; before == 0 || n > 0 {
			s.Errorf("%d connections before the word to stop, and %d after", before, n)
		}
	})
}
