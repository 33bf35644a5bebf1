package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// readyReader reads READY without consuming: a work queue has one consumer only,
// so others read it by direct get, in batches, in stream order.
type readyReader struct {
	q     *Queue
	next  uint64
	since *time.Time // for the first read
}

type directRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	Batch     int        `json:"batch"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
}

// read returns the next records with their message ids, and none at the end.
func (r *readyReader) read(ctx context.Context, max int) ([]stored, []nats.Header, error) {
	req := directRequest{Seq: r.next, Batch: max, MaxBytes: 16 << 20}
	if r.since != nil {
		req.Seq, req.StartTime = 0, r.since
	} else if req.Seq == 0 {
		req.Seq = 1
	}
	b, err := json.Marshal(req)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	inbox := r.q.get.NewInbox()
	sub, err := r.q.get.SubscribeSync(inbox)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := r.q.get.PublishRequest("$JS.API.DIRECT.GET."+streamReady, inbox, b); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var out []stored
	var hs []nats.Header
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: reading READY: %w", ErrUnavailable, err)
		}
		switch m.Header.Get("Status") {
		case "":
		case "204", "404": // end of batch, nothing there
			r.since = nil
			return out, hs, nil
		default:
			return nil, nil, fmt.Errorf("%w: reading READY: %s %s", ErrUnavailable, m.Header.Get("Status"), m.Header.Get("Description"))
		}
		s, err := directRecord(m)
		if err != nil {
			return nil, nil, fmt.Errorf("reading READY: %w", err)
		}
		r.next = s.seq + 1
		out = append(out, s)
		hs = append(hs, m.Header)
	}
}

// edge returns the first or the last record of one subject of WAIT; a zero one when there is none.
func (q *Queue) edge(ctx context.Context, subject string, last bool) (stored, error) {
	req := fmt.Appendf(nil, `{"next_by_subj":%q}`, subject)
	if last {
		req = fmt.Appendf(nil, `{"last_by_subj":%q}`, subject)
	}
	m, err := q.request(ctx, "$JS.API.DIRECT.GET."+streamWait, req)
	if err != nil {
		return stored{}, fmt.Errorf("%w: reading WAIT: %w", ErrUnavailable, err)
	}
	if m.Header.Get("Status") != "" {
		return stored{}, nil
	}
	return directRecord(m)
}

// exists tells whether a record that we have claimed is still in its stream.
func (q *Queue) exists(ctx context.Context, r *record) (bool, error) {
	var err error
	if q.team == nil {
		_, err = q.load(ctx, r.stream, r.seq)
	} else {
		_, err = q.loadFromLeader(ctx, r.stream, bySeq(r.seq)) // a replica may show what is gone
	}
	if err != nil && !errors.Is(err, errNoRecord) {
		return false, fmt.Errorf("%w: reading %s: %w", ErrUnavailable, r.stream, err)
	}
	return err == nil, nil
}

// readyByDelete stands for READY's acknowledgement where an operator's command,
// and not the work queue, took the record.
type readyByDelete struct {
	jetstream.Msg
	q   *Queue
	seq uint64
}

func (m readyByDelete) Ack() error {
	m.q.removals.add(removal{wave: m.q.settler.underway.begin(), rec: &record{stream: streamReady, seq: m.seq}})
	return nil
}
func (m readyByDelete) Reply() string     { return "" }
func (m readyByDelete) Nak() error        { return nil } // it was never given out
func (m readyByDelete) InProgress() error { return nil }
