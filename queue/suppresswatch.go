package queue

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// watch keeps the filter in step with the store: from the first entry on at start, then
// with each change as it is stored. It reads no more than the keys.
func (l *SuppressionList) watch(ctx context.Context) {
	began := time.Now()
	for ctx.Err() == nil {
		err := l.follow(ctx, began)
		if ctx.Err() != nil {
			return
		}
		// What was stored meanwhile is read by the next one, which begins anew: the filter
		// clears nobody wrongly for having seen an entry twice.
		l.q.log.Warn("watching the suppression list failed, trying again", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (l *SuppressionList) follow(ctx context.Context, began time.Time) error {
	look, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	st, err := l.q.streamState(look, streamSuppress, "")
	if err != nil {
		return err
	}
	if st.Msgs == 0 {
		l.complete(began)
	}
	c, err := l.q.getJS.OrderedConsumer(look, streamSuppress, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subjectSuppress + ">"}, HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return err
	}
	run, err := c.Consume(func(m jetstream.Msg) {
		l.note(m.Subject(), marker(m.Headers()))
		if l.whole.Load() {
			return
		}
		if md, err := m.Metadata(); err == nil && (md.NumPending == 0 || md.Sequence.Stream >= st.LastSeq) {
			l.complete(began)
		}
	}, jetstream.PullMaxMessages(4096), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		// It mends itself; what it cannot mend ends it.
		l.q.log.Debug("watching the suppression list", "error", err)
	}))
	if err != nil {
		return err
	}
	defer run.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-run.Closed():
		return errUnheard
	}
}

// note takes a change into the filter.
func (l *SuppressionList) note(subject string, gone bool) {
	h, ok := hashOf(subject)
	switch {
	case !ok:
	case !gone:
		l.filter.add(h)
		l.own.Delete(h)
	default:
		// One that we have put on the list since is on its way to us behind this.
		if _, since := l.own.Load(h); !since {
			l.filter.remove(h)
		}
	}
}

// complete says that the filter holds all that is stored.
func (l *SuppressionList) complete(began time.Time) {
	if l.whole.Swap(true) {
		return
	}
	close(l.seen)
	if n := l.filter.len(); n > 0 {
		l.q.log.Info("suppression list read", "entries", n, "took", time.Since(began))
	}
}

// Whole is closed once the filter holds all that is stored.
func (l *SuppressionList) Whole() <-chan struct{} { return l.seen }
