package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// takeOver runs as long as ctx lasts and takes over the partitions that Hold has
// named, several at once when they come together.
func (t *team) takeOver(ctx context.Context) {
	pause := 100 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.take:
		}
		hs := t.waiting()
		if len(hs) == 0 {
			continue
		}
		began := time.Now()
		err := t.takeAll(ctx, hs)
		if err == nil {
			pause = 100 * time.Millisecond
			t.q.log.Info("partitions of the waiting mail taken over", "count", len(hs), "took", time.Since(began).Round(time.Millisecond))
			continue
		}
		if ctx.Err() != nil {
			return
		}
		t.q.log.Warn("taking over partitions of the waiting mail failed, trying again", "count", len(hs), "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 5*time.Second)
		t.takeNow()
	}
}

// waiting returns the holds that have yet to be taken over.
func (t *team) waiting() (hs []*hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.holds {
		if !h.working.Load() && !h.isClosed() {
			hs = append(hs, h)
		}
	}
	return hs
}

func (h *hold) isClosed() bool {
	h.q.claims.mu.Lock()
	defer h.q.claims.mu.Unlock()
	return h.closed
}

// takeAll takes over partitions. The order is the promise: first the fences, so that
// nothing of a former holder counts that we shall not find; then what the former
// holders left; and only then is anything read to be sent.
func (t *team) takeAll(ctx context.Context, hs []*hold) error {
	q := t.q
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	ps := make([]uint32, len(hs))
	for i, h := range hs {
		ps[i] = h.part
	}
	upTo, err := t.fenceAll(ctx, hs, ps)
	if err != nil || upTo == 0 {
		return err
	}
	from, err := q.horizon(ctx)
	if err != nil {
		return err
	}
	fs, err := q.loadFences(ctx, ps, upTo)
	if err != nil {
		return err
	}
	theirs := map[uint32]bool{}
	var subjects []string
	for _, p := range ps {
		theirs[p] = true
		subjects = append(subjects, partPrefix(p)+">")
	}
	past := newPast(fs, func(d mail.Domain, delivery string, e *proto.Event) bool {
		return theirs[PartitionOf(d, delivery)] && (e == nil || e.WaitSeq != 0) // READY's are sorted out when they are offered again
	})
	if err := past.read(ctx, q, from, subjects, upTo); err != nil {
		return err
	}
	mine, err := q.removeLeft(ctx, past)
	if err != nil {
		return err
	}
	var doubts []*proto.Event
	for _, e := range past.doubts() {
		if !q.claims.has(streamWait, e.WaitSeq) { // one of ours, from before a lapse: it has not ended yet
			doubts = append(doubts, e)
		}
	}
	if err := q.journal.noteDoubts(ctx, doubts); err != nil {
		return err
	}
	for _, h := range hs {
		h.superseded, h.decided = mine, past.decided
		if err := t.begin(ctx, h, fs, from, upTo); err != nil {
			return err
		}
	}
	t.changed()
	q.Kick()
	q.removeFences(ctx, fs)
	return nil
}

// fenceAll stores a fence for each partition and returns the highest one's sequence.
func (t *team) fenceAll(ctx context.Context, hs []*hold, ps []uint32) (upTo uint64, err error) {
	q := t.q
	// The fences that there are: to see whether epochs have begun anew.
	st, err := q.streamState(ctx, streamWait, "wait.*."+fenceToken+".part")
	if err != nil {
		return 0, err
	}
	last := map[uint32]fence{}
	if len(st.Subjects) > 0 {
		ms, err := q.fencesByLeader(ctx, ps, st)
		if err != nil {
			return 0, err
		}
		last = ms
	}
	var g errgroup.Group
	g.SetLimit(16)
	for _, h := range hs {
		g.Go(func() error {
			h.fence = fence{era: last[h.part].era, epoch: h.epoch}
			if h.fence.compare(last[h.part]) < 0 {
				if h.standing() != ours { // it has been given to another node meanwhile
					h.end()
					t.forget(h)
					return nil
				}
				// The lease is ours and its number is lower than the last holder's: a scheduler
				// that has lost its memory counts anew.
				h.fence.era++
				q.log.Warn("the scheduler's epochs have begun anew", "partition", h.part, "epoch", h.epoch, "before", last[h.part].epoch)
			}
			var err error
			h.fenceSeq, err = q.storeFence(ctx, partFence(h.part), h.fence.String())
			return err
		})
	}
	err = g.Wait()
	for _, h := range hs {
		upTo = max(upTo, h.fenceSeq)
	}
	return upTo, err
}

// fencesByLeader reads the last fence of each of the partitions that have one.
func (q *Queue) fencesByLeader(ctx context.Context, ps []uint32, st streamState) (map[uint32]fence, error) {
	last := map[uint32]fence{}
	for _, p := range ps {
		subject := partFence(p)
		if st.Subjects[subject] == 0 {
			continue
		}
		m, err := q.loadFromLeader(ctx, streamWait, fmt.Appendf(nil, `{"last_by_subj":%q}`, subject))
		if errors.Is(err, errNoRecord) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: reading a fence: %w", ErrUnavailable, err)
		}
		if f, ok := parseFence(m.header.Get(headerFence)); ok {
			last[p] = f
		}
	}
	return last, nil
}

// begin counts what lies in a partition and lets it work. Fences are known up to upTo.
func (t *team) begin(ctx context.Context, h *hold, fs *fences, from marks, upTo uint64) error {
	q := t.q
	counts, at, err := q.countSlots(ctx, partPrefix(h.part)+">")
	if err != nil {
		return err
	}
	h.fences, h.counted, h.marks, h.began = fs.of(h.part), at, from, time.Now()
	h.told.Store(upTo)
	q.lanes.mu.Lock()
	over := h.dropped
	q.lanes.mu.Unlock()
	if over {
		return nil
	}
	for s, n := range counts {
		q.lanes.addHeld(h, s, n)
	}
	h.working.Store(true)
	if h.isClosed() { // let go or lost meanwhile
		h.working.Store(false)
		q.lanes.drop(h)
	}
	return nil
}

// removeLeft removes from WAIT what a former holder had replaced or ended and did not
// come to remove. That may have been ourselves, before a lapse: what is in our hand
// still is returned, to be removed when it comes out of it.
func (q *Queue) removeLeft(ctx context.Context, p *past) (mine map[uint64]bool, err error) {
	seen := map[uint64]bool{}
	mine = map[uint64]bool{}
	var g errgroup.Group
	g.SetLimit(32)
	for _, old := range p.replaced {
		if seen[old.seq] {
			continue
		}
		seen[old.seq] = true
		if q.claims.has(streamWait, old.seq) {
			mine[old.seq] = true
			continue
		}
		g.Go(func() error {
			m, err := q.loadFromLeader(ctx, streamWait, bySeq(old.seq))
			if errors.Is(err, errNoRecord) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%w: tidying WAIT: %w", ErrUnavailable, err)
			}
			if !old.is(m.header.Get(jetstream.MsgIDHeader)) {
				return nil
			}
			return q.deleteRecord(ctx, streamWait, old.seq)
		})
	}
	return mine, g.Wait()
}

// deleteRecord removes one record; one that is not there is as good as removed.
func (q *Queue) deleteRecord(ctx context.Context, stream string, seq uint64) error {
	m, err := q.request(ctx, "$JS.API.STREAM.MSG.DELETE."+stream, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, seq))
	if err == nil {
		err = answer(m)
	}
	if err != nil {
		return fmt.Errorf("%w: removing record %d of %s: %w", ErrUnavailable, seq, stream, err)
	}
	return nil
}

// removeFences removes fences that nobody needs any more. It does not matter if it fails.
func (q *Queue) removeFences(ctx context.Context, f *fences) {
	for _, seq := range f.old {
		if err := q.deleteRecord(ctx, streamWait, seq); err != nil {
			return
		}
	}
}
