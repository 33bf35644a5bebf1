package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/proto"
)

// hold is a partition of WAIT in this process's hand: it alone reads, counts and
// removes what lies there. It is taken over first (see takeover.go), then it works,
// and it ends when it is let go or lost.
type hold struct {
	q     *Queue
	part  uint32
	epoch uint64 // the scheduler's

	// Set when it has been taken over, before it works.
	fence    fence
	fenceSeq uint64 // where its fence lies in WAIT
	counted  uint64 // up to where its count went
	marks    marks  // from where the journal was read
	// What was replaced before, and in our own hand still when the partition was taken over.
	superseded map[uint64]bool
	// What former holders had decided and not ended, by delivery and generation.
	decided map[string]*proto.Event
	began   time.Time

	working atomic.Bool
	ended   atomic.Bool // lost: nothing of it may be sent or stored any more
	unsure  atomic.Int64

	// The follower has told of everything up to told, and while it covers the partition,
	// up to where it is.
	told    atomic.Uint64
	covered atomic.Bool

	mu     sync.Mutex
	fences *fences // of the partition, as far as the follower has told

	// Guarded by claims.mu.
	closed bool // nothing more is claimed
	inHand int
	empty  chan struct{} // closed when it is closed and nothing is in hand

	dropped bool // it counts no more; guarded by lanes.mu
}

// errNoCluster is for what only a cluster has.
var errNoCluster = errors.New("queue: a node alone has no partitions to hold")

// Hold takes over partition p, which the scheduler has leased to this process under
// epoch. It returns at once; Drain gives the partition's deliveries when what its
// former holder left has been sorted out. Another epoch than before means that the
// lease lapsed in between.
func (q *Queue) Hold(p uint32, epoch uint64) error {
	switch {
	case q.team == nil:
		return errNoCluster
	case p >= Partitions || epoch == 0:
		return fmt.Errorf("queue: there is no partition %d under epoch %d", p, epoch)
	}
	t := q.team
	t.mu.Lock()
	old := t.holds[p]
	if old != nil && old.epoch >= epoch && !old.ended.Load() {
		t.mu.Unlock()
		return nil // it is held, or has been given to us again since
	}
	if old != nil {
		old.end() // before the new one counts anything
	}
	t.holds[p] = &hold{q: q, part: p, epoch: epoch, empty: make(chan struct{})}
	t.mu.Unlock()
	t.takeNow()
	return nil
}

// Let stops the reading of partition p and waits until its deliveries in hand have
// been settled or given back. When it returns nil the scheduler may give the
// partition to another node; after an error it may be asked again.
func (q *Queue) Let(ctx context.Context, p uint32) error {
	if q.team == nil {
		return errNoCluster
	}
	h := q.team.holdOf(p)
	if h == nil {
		return nil
	}
	h.close()
	select {
	case <-h.empty:
	case <-ctx.Done():
		return fmt.Errorf("partition %d: deliveries are still in hand: %w", p, ctx.Err())
	}
	q.team.forget(h)
	return nil
}

// Lost ends the hold of partition p at once: its lease has lapsed. What is in hand
// will not be sent. An epoch that is held no longer is no news.
func (q *Queue) Lost(p uint32, epoch uint64) {
	if q.team == nil {
		return
	}
	if h := q.team.holdOf(p); h != nil && h.epoch <= epoch {
		h.end()
		q.team.forget(h)
	}
}

// Held lists the partitions that work.
func (q *Queue) Held() (ps []uint32) {
	if q.team == nil {
		return nil
	}
	for _, h := range q.team.working() {
		ps = append(ps, h.part)
	}
	slices.Sort(ps)
	return ps
}

// standing tells whether what is in hand is still ours. A lease that seems to have
// lapsed may be found renewed a moment later; after an ack wait it is not.
func (h *hold) standing() standing {
	if h.ended.Load() {
		return lost
	}
	if h.q.o.MayWork(h.part, h.epoch) {
		h.unsure.Store(0)
		return ours
	}
	now := time.Now().UnixNano()
	if h.unsure.CompareAndSwap(0, now) || now-h.unsure.Load() < int64(h.q.o.AckWait) {
		return unsure
	}
	return lost
}

// close lets nothing more be claimed and counts no longer.
func (h *hold) close() {
	c := h.q.claims
	c.mu.Lock()
	if !h.closed {
		h.closed = true
		if h.inHand == 0 {
			close(h.empty)
		}
	}
	c.mu.Unlock()
	h.working.Store(false)
	h.q.lanes.drop(h)
	h.q.team.changed()
}

// end is close when the lease has gone.
func (h *hold) end() {
	h.ended.Store(true)
	h.close()
}

// enterLocked counts one claim, unless the hold is closed. The caller holds claims.mu.
func (h *hold) enterLocked() bool {
	if h.closed {
		return false
	}
	h.inHand++
	return true
}

// leaveLocked counts one less. The caller holds claims.mu.
func (h *hold) leaveLocked() {
	if h.inHand--; h.closed && h.inHand == 0 {
		close(h.empty)
	}
}

// knownUpTo is up to where in WAIT everything in the partition is known.
func (h *hold) knownUpTo() uint64 {
	if h.covered.Load() {
		return max(h.told.Load(), h.q.team.followed.Load())
	}
	return h.told.Load()
}

// void tells whether a record of the partition counts for nothing; known is false
// when a fence may lie before it that we have not heard of.
func (h *hold) void(seq uint64, c claim) (void, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fences.void(h.part, seq, c) {
		return true, true
	}
	return false, c.ready == 0 || seq <= h.knownUpTo()
}
