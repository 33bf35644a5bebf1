package ingress

import (
	"context"
	"errors"
	"sync"

	"github.com/tarishi/tarishi/mail"
)

var errFull = errors.New("no room")

// memory is the store's twin: it keeps what was committed.
type memory struct {
	mu      sync.Mutex
	stored  []stored
	aborted int

	room   error         // what Room says
	write  error         // what Write says
	commit error         // what Commit says
	gate   chan struct{} // not nil: Commit waits for it
}

type stored struct {
	text       string
	message    *mail.Message
	deliveries []mail.Delivery
}

func (q *memory) store() Store {
	return Store{
		NewWriter: func(id string) Writer { return &memoryWriter{q: q} },
		Room:      func() error { return q.room },
		Full:      errFull,
	}
}

func (q *memory) messages() []stored {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stored
}

type memoryWriter struct {
	q         *memory
	buf       []byte
	committed bool
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	return len(p), w.q.write
}

func (w *memoryWriter) Commit(_ context.Context, m *mail.Message, ds []mail.Delivery) error {
	if w.q.gate != nil {
		<-w.q.gate
	}
	if w.q.commit != nil {
		return w.q.commit
	}
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	w.committed = true
	m.Size = int64(len(w.buf))
	w.q.stored = append(w.q.stored, stored{string(w.buf), m, ds})
	return nil
}

func (w *memoryWriter) Abort() {
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	if !w.committed {
		w.q.aborted++
	}
}
