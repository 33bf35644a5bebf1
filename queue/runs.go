package queue

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/proto"
)

// A run is one life of one node of a cluster. It has a journal of its own, under
// event.journal.<node>.<run>, and a mark under event.run.<node>.<run>: one record, said
// anew every few seconds, which tells from where its journal and the tails of WAIT and
// READY matter. A run that ends cleanly takes its mark away; that of a dead one stays
// until everything it had in hand has been taken over (see bury).

const subjectRun = "event.run"

type run struct {
	subject string // of its mark
	node    string
	seq     uint64    // of its mark
	at      time.Time // when it was set
	marks   marks
	ready   uint64 // highest READY sequence it had taken
}

// beat sets this run's mark anew and returns its sequence.
func (q *Queue) beat(ctx context.Context) (uint64, error) {
	j := q.journal
	j.mu.Lock()
	rec := j.headLocked()
	j.mu.Unlock()
	frame, err := proto.AppendFrame(nil, proto.KindJournal, rec, nil)
	if err != nil {
		return 0, err
	}
	seq, err := q.publish(ctx, q.team.mark, nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}, frame)
	if err != nil {
		return 0, fmt.Errorf("set this node's mark in the journal: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last = max(j.last, seq)
	j.marked, j.markedAt = max(j.marked, seq), time.Now()
	return seq, nil
}

// endRun takes this run's mark away: nothing of it is unsettled.
func (q *Queue) endRun(ctx context.Context) error {
	q.journal.mu.Lock()
	seq := q.journal.marked
	q.journal.mu.Unlock()
	return q.deleteRecord(ctx, streamEvent, seq)
}

// runs lists the runs that have not ended, as EVENT stood at sequence upTo or later.
func (q *Queue) runs(ctx context.Context, upTo uint64) ([]run, error) {
	for {
		ms, at, err := q.lastOf(ctx, streamEvent, subjectRun+".>")
		if err == nil && at >= upTo {
			return readRuns(ms)
		}
		select { // the replica that answered lags behind
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: reading the nodes' marks: %w", ErrUnavailable, cmp.Or(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func readRuns(ms []stored) ([]run, error) {
	rs := make([]run, 0, len(ms))
	for _, m := range ms {
		var rec proto.Journal
		if _, err := proto.ReadFrame(m.data, proto.KindJournal, &rec); err != nil {
			return nil, fmt.Errorf("journal record %d: %w", m.seq, err)
		}
		rs = append(rs, run{subject: m.subject, node: rec.Node, seq: m.seq, at: m.at,
			marks: marks{rec.From, rec.WaitFrom, rec.ReadyFrom}, ready: rec.ReadySeq})
	}
	return rs, nil
}

// horizon finds from where the journals and the tails must be read so that whatever any
// node may have left unsettled before the call is found.
func (q *Queue) horizon(ctx context.Context) (from marks, err error) {
	end, err := q.beat(ctx)
	if err != nil {
		return from, err
	}
	rs, err := q.runs(ctx, end)
	if err != nil {
		return from, err
	}
	from = marks{end, q.known.wait.Load(), q.known.ready.Load()}
	for _, r := range rs {
		from = from.lower(r.marks)
	}
	return from, nil
}
