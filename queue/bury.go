package queue

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// buryAfter is for how long a run must have been silent to be a dead one's.
const buryAfter = 4 * beatEvery

// bury takes away the marks of dead runs when nobody needs their journals any more,
// as long as ctx lasts: every look at the past would have to reach back to them. The
// node that holds partition 0 does.
func (t *team) bury(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !t.q.sweeps() {
			continue
		}
		if n, err := t.buryDead(ctx, buryAfter); err != nil && ctx.Err() == nil {
			t.q.log.Debug("dead nodes' marks stay for now", "error", err)
		} else if n > 0 {
			t.q.log.Info("what dead nodes had in hand has all been taken over", "nodes", n)
		}
	}
}

// buryDead does one round. A dead run's journal is needed until each partition has been
// taken over since, and until every record of READY that it may have had is gone or
// in the hand of a node that has looked into it.
func (t *team) buryDead(ctx context.Context, after time.Duration) (buried int, err error) {
	q := t.q
	live, dead, err := q.liveAndDead(ctx, after)
	if err != nil || len(dead) == 0 {
		return 0, err
	}
	answers, missing, err := q.askAll(ctx, live, question{Op: "state"}, 2*time.Second, nil)
	if err = cmp.Or(err, missingNodes(missing)); err != nil {
		return 0, err
	}
	held, inHand := map[uint32]bool{}, map[uint64]bool{}
	for _, r := range answers {
		for _, p := range r.Parts {
			held[p] = true
		}
		for _, seq := range r.Ready {
			inHand[seq] = true
		}
	}
	if len(held) < Partitions {
		return 0, fmt.Errorf("%d partitions of %d are held", len(held), Partitions)
	}
	for _, r := range dead {
		free, err := q.uncovered(ctx, r, inHand)
		if err == nil && free > 0 {
			err = fmt.Errorf("READY has yet to offer again what %s had in hand", r.node)
		}
		if err != nil {
			return buried, err
		}
		if err := q.deleteRecord(ctx, streamEvent, r.seq); err != nil {
			return buried, err
		}
		buried++
	}
	return buried, nil
}

// uncovered counts the records of READY that a dead run may have had in hand and that
// no other node has now.
func (q *Queue) uncovered(ctx context.Context, r run, inHand map[uint64]bool) (n int, err error) {
	ms, _, err := q.lastOf(ctx, streamEvent, subjectJournal+strings.TrimPrefix(r.subject, subjectRun))
	if err != nil {
		return 0, err
	}
	upTo := r.ready
	for _, m := range ms {
		var rec proto.Journal
		if _, err := proto.ReadFrame(m.data, proto.KindJournal, &rec); err != nil {
			return 0, fmt.Errorf("journal record %d: %w", m.seq, err)
		}
		upTo = max(upTo, rec.ReadySeq)
	}
	in := &readyReader{q: q, next: 1}
	for {
		ms, _, err := in.read(ctx, 512)
		if err != nil {
			return 0, err
		}
		for _, m := range ms {
			if m.seq <= upTo && !inHand[m.seq] {
				n++
			}
		}
		if len(ms) == 0 || in.next > upTo || n > 0 {
			return n, nil
		}
	}
}

// storedBefore tells whether a notice that is about to be stored was stored already, by
// whoever had the delivery it reports on before us.
func (q *Queue) storedBefore(ctx context.Context, id, origin string) (bool, error) {
	from, ok := q.secondHand(origin)
	if !ok {
		return false, nil
	}
	found := false
	in := &readyReader{q: q, next: from.ready + 1}
	for {
		ms, hs, err := in.read(ctx, 512)
		if err != nil {
			return false, err
		}
		for _, h := range hs {
			found = found || h.Get(jetstream.MsgIDHeader) == id
		}
		if len(ms) == 0 || found {
			break
		}
	}
	if found {
		return true, nil
	}
	mark, err := q.storeFence(ctx, markFence, "")
	if err != nil {
		return false, err
	}
	err = q.passWait(ctx, []string{"wait.>"}, from.wait+1, mark, false, func(m stored) error {
		name, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader))
		message, _ := mail.SplitDeliveryID(name.delivery)
		found = found || ok && message == id
		return nil
	})
	if err == nil {
		err = q.deleteRecord(ctx, streamWait, mark)
	}
	if err != nil || found {
		return found, err
	}
	err = q.readJournals(ctx, from.event, func(_ string, e *proto.Event) { found = found || e.MessageId == id })
	return found, err
}

// secondHandFor is for how long after a partition has been taken over its deliveries
// count as second-hand.
const secondHandFor = time.Hour

// secondHand tells whether a message is in our hand that another node may have had
// before, and from where that one's traces begin.
func (q *Queue) secondHand(message string) (from marks, ok bool) {
	for _, r := range q.claims.all() {
		r.mu.Lock()
		meant, past := r.message == message, r.from
		r.mu.Unlock()
		if !meant {
			continue
		}
		switch h := r.hold; {
		case h == nil && past != (marks{}):
			return past, true
		case h != nil && r.seq < h.fenceSeq && time.Since(h.began) < secondHandFor:
			return h.marks, true
		}
	}
	return from, false
}
