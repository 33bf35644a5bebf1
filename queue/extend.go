package queue

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// extendClaims keeps the server from offering jobs in hand to anybody else.
func (q *Queue) extendClaims(ctx context.Context) {
	if q.team != nil {
		q.extendShared(ctx)
		return
	}
	t := time.NewTicker(q.o.AckWait / 6)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, r := range q.claims.allReady() {
			if err := r.handle().InProgress(); err == nil {
				r.confirm(time.Now())
			}
		}
	}
}

// extension is one request to keep a claim, until the server has answered it.
type extension struct {
	rec  *record
	sent time.Time
}

// extendShared does so in a cluster, where a claim counts as confirmed only when the
// server has said so, and from the moment at which it was asked.
func (q *Queue) extendShared(ctx context.Context) {
	inbox := q.get.NewInbox()
	answers := make(chan *nats.Msg, 1<<12)
	sub, err := q.get.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		q.log.Error("claims on mail in hand cannot be extended", "error", err)
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	open := map[uint64]extension{}
	next := uint64(0)
	t := time.NewTicker(q.o.AckWait / 30)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-answers:
			n, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
			x, ok := open[n]
			if err != nil || !ok {
				continue
			}
			delete(open, n)
			if m.Header.Get("Status") == "" { // 503: no leader just now
				x.rec.renew(x.sent)
			}
			continue
		case <-t.C:
		}
		now := time.Now()
		for n, x := range open {
			if now.Sub(x.sent) > q.o.AckWait/10 {
				delete(open, n) // its leader is gone; an answer that late is not worth more than the next
			}
		}
		asked := map[*record]bool{}
		for _, x := range open {
			asked[x.rec] = true
		}
		for _, r := range q.claims.allReady() {
			if asked[r] || age(r.confirmed()) < renewedFrom(q.o.AckWait) || q.standing(r) == lost {
				continue
			}
			next++
			open[next] = extension{r, now}
			if err := q.get.PublishRequest(r.handle().Reply(), inbox+"."+strconv.FormatUint(next, 10), []byte("+WPI")); err != nil {
				delete(open, next)
			}
		}
	}
}

// renew notes that the server has confirmed the claim when it was asked at t.
func (r *record) renew(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gone && t.After(r.fresh) {
		r.fresh = t
	}
}
