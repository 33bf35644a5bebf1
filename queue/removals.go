package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// removals deletes settled records from WAIT (and readers nobody needs any more)
// in the background, many requests on their way at once.
type removals struct {
	q    *Queue
	mu   sync.Mutex
	list []removal
	wake chan struct{}
}

type removal struct {
	rec      *record
	ack      bool  // rec is of READY, and the work queue is to remove it
	wave     *wave // of rec
	stream   string
	consumer string
}

// request is what asks the server for the removal.
func (x *removal) request() (subject string, body []byte) {
	switch {
	case x.consumer != "":
		return fmt.Sprintf("$JS.API.CONSUMER.DELETE.%s.%s", x.stream, x.consumer), nil
	case x.ack:
		return x.rec.handle().Reply(), []byte("+ACK")
	default:
		// no_erase: the default overwrites the record, which rewrites its whole block.
		return "$JS.API.STREAM.MSG.DELETE." + x.rec.stream, fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, x.rec.seq)
	}
}

func newRemovals(q *Queue) *removals { return &removals{q: q, wake: make(chan struct{}, 1)} }

func (r *removals) add(x removal) {
	r.mu.Lock()
	r.list = append(r.list, x)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// removeWaiting removes a WAIT record whose jobs have all ended.
func (q *Queue) removeWaiting(r *record) {
	q.removals.add(removal{rec: r, wave: q.settler.underway.begin()})
}

func (r *removals) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		for ctx.Err() == nil {
			r.mu.Lock()
			n := min(len(r.list), 256)
			list := r.list[:n:n]
			r.list = r.list[n:]
			if len(r.list) == 0 {
				r.list = nil
			}
			r.mu.Unlock()
			if n == 0 {
				break
			}
			r.round(ctx, list)
		}
	}
}

// round sends all requests and then reads all answers: a request at a time would
// wait for a turn of the server each.
func (r *removals) round(ctx context.Context, list []removal) {
	inbox := r.q.get.NewInbox()
	sub, err := r.q.get.SubscribeSync(inbox + ".*")
	if err != nil {
		r.retry(ctx, list, err)
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	open := map[string]removal{}
	for i, x := range list {
		subject, body := x.request()
		reply := fmt.Sprintf("%s.%d", inbox, i)
		if err := r.q.get.PublishRequest(subject, reply, body); err != nil {
			r.retry(ctx, list[i:], err)
			break
		}
		open[reply] = x
	}
	patience := 10 * time.Second
	if r.q.team != nil {
		patience = publishTry // a leader that has died never answers
	}
	deadline, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for len(open) > 0 {
		m, err := sub.NextMsgWithContext(deadline)
		if err != nil {
			var left []removal
			for _, x := range open {
				left = append(left, x)
			}
			r.retry(ctx, left, err)
			return
		}
		x, ok := open[m.Subject]
		if !ok {
			continue
		}
		delete(open, m.Subject)
		if err := x.answer(m); err != nil && x.rec != nil {
			r.retry(ctx, []removal{x}, err)
			continue
		}
		r.finish(x)
	}
}

func (x *removal) answer(m *nats.Msg) error {
	if m.Header.Get("Status") != "" {
		return fmt.Errorf("%s %s", m.Header.Get("Status"), m.Header.Get("Description")) // 503: nobody there just now
	}
	if x.ack {
		return nil
	}
	return answer(m)
}

// answer reads the server's answer; a record that is gone already is as good as removed.
func answer(m *nats.Msg) error {
	var a struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return err
	}
	if a.Error == nil || a.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound || a.Error.ErrorCode == 10043 {
		return nil
	}
	// 10057 is any failure to delete; only these say that there is nothing to delete.
	if a.Error.ErrorCode == 10057 && (a.Error.Description == "no message found" || a.Error.Description == "deleted message") {
		return nil
	}
	return a.Error
}

func (r *removals) finish(x removal) {
	if x.rec == nil {
		return
	}
	if x.rec.stream == streamWait || x.ack {
		r.q.claims.finish(x.rec)
	}
	if x.rec.stream == streamWait {
		r.q.lanes.removed(x.rec)
	}
	if r.q.team != nil {
		r.q.journal.leave(x.rec)
	}
	r.q.settler.underway.finish(x.wave)
}

func (r *removals) retry(ctx context.Context, list []removal, err error) {
	if ctx.Err() != nil {
		return
	}
	if !errors.Is(err, context.Canceled) {
		r.q.log.Warn("removing settled deliveries failed, trying again", "count", len(list), "error", err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(200 * time.Millisecond):
	}
	for _, x := range list {
		r.add(x)
	}
}
