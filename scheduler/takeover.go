package scheduler

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tarishi/tarishi/shaping"
)

// importCall hands in the state of a node that was alone.
type importCall struct {
	Snapshot []byte `json:"snapshot"` // what FSM.Snapshot wrote, compressed
}

// mostSnapshot bounds what a compressed snapshot may unfold to, in octets.
const mostSnapshot = 1 << 30

// Import makes the limits set at run time on a node that was alone, and the history
// of its windows, those of this cluster, which must have neither. snapshot is what its
// FSM wrote. It may be called again when its outcome was not known: the same state
// once more is no fault.
func (o *Operator) Import(ctx context.Context, snapshot []byte) error {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(snapshot); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if b.Len() > maxFrame/2 {
		return fmt.Errorf("the limits and the history of the windows are %d octets, compressed; a cluster takes over %d at most: wait an hour after the node has stopped, and the history is short", b.Len(), maxFrame/2)
	}
	for {
		_, err := one[struct{}](ctx, o, callImport, importCall{b.Bytes()})
		if !errors.Is(err, ErrUnknownOutcome) || ctx.Err() != nil {
			return err
		}
	}
}

// takeOver commits the state of a node that was alone.
func (r *reign) takeOver(ctx context.Context, q importCall) error {
	z, err := gzip.NewReader(bytes.NewReader(q.Snapshot))
	if err != nil {
		return malformed("a state: %v", err)
	}
	b, err := io.ReadAll(io.LimitReader(z, mostSnapshot))
	if err != nil {
		return malformed("a state: %v", err)
	}
	old, err := Restore(r.s.o.Params, b)
	if err != nil {
		return fmt.Errorf("the one-node state: %w", err)
	}
	if tookOver(r.s.state.Book(), old.Book()) {
		return nil
	}
	st := r.s.state
	st.mu.Lock()
	now := r.now()
	st.mu.Unlock()
	_, err = r.s.propose(ctx, &Command{Type: Import, Snapshot: b, Clock: now})
	return err
}

// tookOver tells whether a book holds another's limits and its past already: an
// import whose answer was lost is asked for again.
func tookOver(book, old *shaping.Book) bool {
	if len(old.History) == 0 {
		return false
	}
	last := old.History[len(old.History)-1]
	return slices.ContainsFunc(book.History, func(e shaping.Entry) bool {
		return e.Version == last.Version && e.At.Equal(last.At) && e.Author == last.Author && e.What == last.What
	})
}
