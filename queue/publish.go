package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A stream's inbound queue takes 128 MiB, then answers 429 or drops what has no
// reply subject. We stay well below, over all streams together.
const inFlightBytes = 48 << 20

// publishTry is how long a cluster's answer to one publish is waited for. A leader
// that has died never answers; the same publish is sent again, to the next one.
const publishTry = 2500 * time.Millisecond

// header of a publish that may be repeated: the store drops a second one.
func messageID(id string) nats.Header { return nats.Header{jetstream.MsgIDHeader: {id}} }

// publish stores data and returns its stream sequence, once the server has written
// it to its file; in a cluster, once it is on the disks of a majority. It does not
// wait for the disk of a node alone; the barrier does. In a cluster it is repeated
// for as long as Options.Patience: without an id in h it may be stored twice.
func (q *Queue) publish(ctx context.Context, subject string, h nats.Header, data []byte) (uint64, error) {
	if !q.o.Cluster {
		return q.publishOnce(ctx, subject, h, data)
	}
	ctx, cancel := context.WithTimeout(ctx, q.o.Patience)
	defer cancel()
	began := time.Now()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		seq, err := q.publishOnce(ctx, subject, h, data)
		if err == nil || errors.Is(err, ErrFull) {
			return seq, err
		}
		q.suspect.Store(true)
		if ctx.Err() != nil {
			return seq, q.gaveUp(began, err)
		}
		select {
		case <-ctx.Done():
			return 0, q.gaveUp(began, err)
		case <-time.After(pause):
		}
	}
}

// gaveUp passes on why something was not stored. After all our patience nobody else need
// wait as long: the queue takes no mail until it is found well again.
func (q *Queue) gaveUp(began time.Time, err error) error {
	if time.Since(began) >= q.o.Patience {
		q.setRoom(err)
	}
	return err
}

func (q *Queue) publishOnce(ctx context.Context, subject string, h nats.Header, data []byte) (uint64, error) {
	p, err := q.publishAsync(ctx, subject, h, data)
	if err != nil {
		return 0, err
	}
	return p.wait(ctx)
}

// pending is a publish on its way.
type pending struct {
	q     *Queue
	f     jetstream.PubAckFuture
	bytes int64
}

// publishAsync begins to store data, in the order of the calls of one goroutine.
// data must not be touched until wait has returned.
func (q *Queue) publishAsync(ctx context.Context, subject string, h nats.Header, data []byte) (pending, error) {
	n := int64(len(data))
	if err := q.budget.Acquire(ctx, n); err != nil {
		return pending{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	f, err := q.putJS.PublishMsgAsync(&nats.Msg{Subject: subject, Header: h, Data: data})
	if err != nil {
		q.budget.Release(n)
		return pending{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return pending{q, f, n}, nil
}

// wait returns the sequence, ErrFull, or ErrUnavailable (then whether it was stored
// is unknown). The future itself times out after Options.Patience, in a cluster
// after publishTry.
func (p pending) wait(ctx context.Context) (uint64, error) {
	defer p.q.budget.Release(p.bytes)
	select {
	case a := <-p.f.Ok():
		return a.Sequence, nil
	case err := <-p.f.Err():
		return 0, storeError(err)
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// storeError tells a stream at its limit from everything else.
func storeError(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case 10077, 10047, 10023, 10028: // store failed (limits), insufficient storage, resources
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// publishSurely repeats a publish until it is stored, may forbids it or ctx ends;
// the message id in h lets the server drop a repeat of one that was stored after all.
func (q *Queue) publishSurely(ctx context.Context, subject string, h nats.Header, data []byte, may func() error) (uint64, error) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		if may != nil {
			if err := may(); err != nil {
				return 0, err
			}
		}
		seq, err := q.publishOnce(ctx, subject, h, data)
		if err == nil || ctx.Err() != nil {
			return seq, err
		}
		q.log.Warn("storing failed, trying again", "subject", subject, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}
