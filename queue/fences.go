package queue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A fence is a record of WAIT that says: what is stored after it by an older right is
// void. Whoever takes over a partition, or a job of READY that another had, stores one
// before it looks what the other has left. What the other stored before the fence is
// found and counts; what it stores afterwards, because it was frozen or cut off and
// does not know yet, counts nowhere: it finds out before it removes anything (see
// settler.round), and the partition's holder removes the void record.
//
//	wait.<p>.FENCE.part   Tarishi-Fence: <era>.<epoch>
//	wait.<p>.FENCE.ready  Tarishi-Fence: <READY sequence>.<n>.<since> ...
const (
	headerFence = "Tarishi-Fence"
	fenceToken  = "FENCE"
)

// fencesKept is for how long a fence is kept: longer than any process is frozen.
const fencesKept = 48 * time.Hour

// markFence is a fence that fences nothing: a record whose place in WAIT is known.
var markFence = partPrefix(0) + fenceToken + ".mark"

func partFence(p uint32) string  { return partPrefix(p) + fenceToken + ".part" }
func readyFence(p uint32) string { return partPrefix(p) + fenceToken + ".ready" }

// fenceOf tells whether a subject of WAIT is a fence's, and of which partition.
func fenceOf(subject string) (p uint32, ok bool) {
	parts := strings.Split(subject, ".")
	if len(parts) != 4 || parts[2] != fenceToken {
		return 0, false
	}
	n, err := strconv.ParseUint(parts[1], 10, 32)
	return uint32(n), err == nil
}

// fences are the fences of some partitions, by their place in WAIT.
type fences struct {
	parts map[uint32][]partFenced
	ready map[uint64][]readyFenced // by READY sequence
	old   []uint64                 // sequences of those that are no longer needed
}

type partFenced struct {
	seq uint64
	fence
}

type readyFenced struct {
	seq uint64
	at  time.Time
	offer
}

func newFences() *fences {
	return &fences{parts: map[uint32][]partFenced{}, ready: map[uint64][]readyFenced{}}
}

// note takes in a fence. Those of a stream come in its order.
func (f *fences) note(m stored) {
	p, ok := fenceOf(m.subject)
	if !ok {
		return
	}
	if !m.at.IsZero() && time.Since(m.at) > fencesKept {
		f.old = append(f.old, m.seq) // a partition's last fence is new: it is ours
	}
	text := m.header.Get(headerFence)
	if strings.HasSuffix(m.subject, ".part") {
		if x, ok := parseFence(text); ok {
			f.parts[p] = append(f.parts[p], partFenced{m.seq, x})
		}
		return
	}
	for _, s := range strings.Fields(text) {
		if seq, o, ok := parseOffered(s); ok {
			f.ready[seq] = append(f.ready[seq], readyFenced{m.seq, m.at, o})
		}
	}
}

// prune forgets the fences of READY's records that nobody needs any more, and returns
// where they lie.
func (f *fences) prune(now time.Time) (old []uint64) {
	for seq, xs := range f.ready {
		f.ready[seq] = slices.DeleteFunc(xs, func(x readyFenced) bool {
			gone := now.Sub(x.at) > fencesKept
			if gone && !slices.Contains(old, x.seq) {
				old = append(old, x.seq)
			}
			return gone
		})
		if len(f.ready[seq]) == 0 {
			delete(f.ready, seq)
		}
	}
	return old
}

// last returns the highest fence of a partition.
func (f *fences) last(p uint32) (last fence) {
	for _, x := range f.parts[p] {
		if x.compare(last) > 0 {
			last = x.fence
		}
	}
	return last
}

// of returns what concerns one partition, to be added to. Of READY's records it keeps all.
func (f *fences) of(p uint32) *fences {
	g := newFences()
	g.parts[p] = slices.Clone(f.parts[p])
	for seq, xs := range f.ready {
		g.ready[seq] = slices.Clone(xs)
	}
	return g
}

// void tells whether the record of partition p that lies at seq was stored behind a
// fence by an older right.
func (f *fences) void(p uint32, seq uint64, c claim) bool {
	switch {
	case c.ready != 0:
		return slices.ContainsFunc(f.ready[c.ready], func(x readyFenced) bool {
			return x.seq < seq && x.offer.after(c.offer)
		})
	case c.fence != (fence{}):
		return slices.ContainsFunc(f.parts[p], func(x partFenced) bool {
			return x.seq < seq && x.compare(c.fence) > 0
		})
	}
	return false
}

// storeFence stores one fence of a partition and returns its sequence.
func (q *Queue) storeFence(ctx context.Context, subject, text string) (uint64, error) {
	seq, err := q.publish(ctx, subject, nats.Header{headerFence: {text}}, nil)
	if err != nil {
		return 0, fmt.Errorf("store a fence: %w", err)
	}
	q.known.sawWait(seq)
	return seq, nil
}

// loadFences reads the fences of some partitions up to sequence upTo, which is one of them.
func (q *Queue) loadFences(ctx context.Context, ps []uint32, upTo uint64) (*fences, error) {
	subjects := make([]string, len(ps))
	for i, p := range ps {
		subjects[i] = partPrefix(p) + fenceToken + ".*"
	}
	f := newFences()
	err := q.scanTo(ctx, streamWait, subjects, 1, upTo, func(m stored) error {
		f.note(m)
		return nil
	})
	return f, err
}
