package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Fetch claims up to max jobs of READY, in order, and waits until there is at
// least one. A message to several destinations comes as several jobs at once, so
// that a few more than max may come. One goroutine calls it.
func (q *Queue) Fetch(ctx context.Context, max int) ([]*Job, error) {
	if q.team != nil {
		return q.fetchShared(ctx, max)
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		jobs, err := q.fetchNow(max)
		if err == nil && len(jobs) == 0 {
			q.unpin(ctx)
			// Ask for one only: what is asked for and not taken would lie in our
			// buffer while its claim runs out.
			wait, cancel := context.WithTimeout(ctx, 25*time.Second) // a server that forgot the request is asked again
			jobs, err = q.fetchBatch(func() (jetstream.MessageBatch, error) {
				return q.ready.Fetch(1, jetstream.FetchContext(wait))
			})
			cancel()
		}
		if jobs = q.obey(jobs); len(jobs) > 0 {
			return jobs, nil
		}
		if err != nil && ctx.Err() == nil {
			q.log.Warn("fetching from READY failed, trying again", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// unpin lets the journal forget what the last run left once READY has offered all
// of it again. An empty fetch alone does not say so: the server may be slow.
func (q *Queue) unpin(ctx context.Context) {
	if !q.journal.isPinned() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info, err := q.ready.Info(ctx)
	if err == nil && info.NumPending == 0 && info.NumAckPending <= len(q.claims.allReady()) {
		q.journal.unpin()
	}
}

func (q *Queue) fetchNow(max int) ([]*Job, error) {
	return q.fetchBatch(func() (jetstream.MessageBatch, error) { return q.ready.FetchNoWait(max) })
}

func (q *Queue) fetchBatch(pull func() (jetstream.MessageBatch, error)) ([]*Job, error) {
	b, err := pull()
	if err != nil {
		return nil, err
	}
	var jobs []*Job
	for m := range b.Messages() {
		js, err := q.claimReady(m)
		if err != nil {
			q.log.Error("a record of READY cannot be read; it stays where it is", "error", err)
			continue
		}
		jobs = append(jobs, js...)
	}
	err = b.Error()
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, jetstream.ErrNoMessages) {
		err = nil
	}
	return jobs, err
}

func (q *Queue) claimReady(m jetstream.Msg) ([]*Job, error) {
	md, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	r := &record{stream: streamReady, seq: md.Sequence.Stream, msg: m}
	q.journal.sawReady(r.seq)
	if !q.takeReady(r) {
		return nil, nil
	}
	js, err := q.jobs(r, m.Data())
	if err != nil {
		return nil, fmt.Errorf("READY sequence %d: %w", r.seq, err)
	}
	return js, nil
}

// takeReady claims a record that READY has offered. false: there is nothing to do.
func (q *Queue) takeReady(r *record) bool {
	for {
		taken, gone := q.claims.take(r)
		if gone {
			if err := r.msg.Ack(); err != nil {
				q.log.Warn("acknowledging a finished job once more", "error", err)
			}
			return false
		}
		if taken {
			return true
		}
		// An operator's command has it in hand, or it is offered again because its
		// claim was extended late: whoever ends it answers the work queue.
		if q.claims.offer(r) {
			return false
		}
	}
}
