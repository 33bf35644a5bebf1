package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

var (
	// ErrNotLeader is what a NotLeaderError is: nothing was proposed, ask the leader.
	ErrNotLeader = errors.New("this node does not lead")
	// ErrUnknownOutcome means that the entry may have been committed, or may still be.
	// Whoever proposed it must not act as if it were, nor propose it again blindly.
	ErrUnknownOutcome = errors.New("the outcome is unknown")
)

// NotLeaderError names the leader, as far as it is known.
type NotLeaderError struct{ Node, Addr string }

func (e *NotLeaderError) Error() string {
	if e.Node == "" {
		return "this node does not lead, and knows of no leader"
	}
	return fmt.Sprintf("this node does not lead: %s at %s does", e.Node, e.Addr)
}

// Is makes it an ErrNotLeader.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// maxEntry bounds an entry: it must reach a follower within raftTimeout.
const maxEntry = 16 << 20

// Propose commits an entry and returns what the FSM made of it on this node. When ctx
// ends first the outcome is unknown.
func (r *Raft) Propose(ctx context.Context, data []byte) (any, error) {
	if len(data) > maxEntry {
		return nil, fmt.Errorf("an entry of %d octets is too large (at most %d)", len(data), maxEntry)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !r.running.Load() || r.raft.State() != raft.Leader {
		return nil, r.notLeader()
	}
	wait := 5 * time.Second // to be taken by raft's main loop, which a stalled disk blocks
	if d, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(d))
	}
	if wait <= 0 {
		return nil, context.DeadlineExceeded
	}
	type outcome struct {
		result any
		err    error
	}
	done := make(chan outcome, 1)
	r.asked.begin()
	go func() { // raft's future knows no context; it ends with the leadership at the latest
		f := r.raft.Apply(data, wait)
		err := f.Error()
		r.asked.end(err == nil)
		if err != nil {
			done <- outcome{nil, err}
			return
		}
		done <- outcome{f.Response(), nil}
	}()
	select {
	case o := <-done:
		switch {
		case o.err == nil:
			return o.result, nil
		case errors.Is(o.err, raft.ErrNotLeader), errors.Is(o.err, raft.ErrLeadershipTransferInProgress):
			return nil, r.notLeader()
		}
		// Timed out, leadership lost, shut down, or not written: all of these may leave
		// the entry in somebody's log.
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, o.err)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

func (r *Raft) notLeader() error {
	node, addr := r.Leader()
	if node == r.o.Node {
		node, addr = "", "" // about to hand over, or just won: not for this proposal
	}
	return &NotLeaderError{node, addr}
}

// Barrier waits until all that was committed before is applied here; for the leader.
func (r *Raft) Barrier(ctx context.Context) error {
	if !r.running.Load() || r.raft.State() != raft.Leader {
		return r.notLeader()
	}
	done := make(chan error, 1)
	go func() { done <- r.raft.Barrier(5 * time.Second).Error() }()
	select {
	case err := <-done:
		if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) {
			return r.notLeader()
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// asked counts proposals for the watchdog.
type asked struct {
	mu      sync.Mutex
	waiting int
	commits uint64
}

func (a *asked) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting++
}

func (a *asked) end(committed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting--
	if committed {
		a.commits++
	}
}

func (a *asked) look() (waiting int, commits uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting, a.commits
}
