package queue

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// requestMost is how long an answer of JetStream is waited for altogether.
const requestMost = 10 * time.Second

// request sends one question that may be repeated. In a cluster a server that dies, or a
// stream that has no leader, never answers: it is put again, which reaches whoever does.
func (q *Queue) request(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, requestMost)
	defer cancel()
	for {
		try, stop := ctx, func() {}
		if q.team != nil {
			try, stop = context.WithTimeout(ctx, publishTry)
		}
		m, err := q.get.RequestWithContext(try, subject, body)
		stop()
		if err == nil || q.team == nil || ctx.Err() != nil {
			return m, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond): // nobody may listen for a moment
		}
	}
}
