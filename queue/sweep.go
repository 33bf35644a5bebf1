package queue

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/proto"
)

const bodyDelay = 5 * time.Second // twice JetStream's sync interval and some

// sweepBodies removes bodies nobody needs: those of this run a little after their
// last delivery has ended, those an earlier run left by a look at all deliveries,
// once at the start and then every six hours.
func (q *Queue) sweepBodies(ctx context.Context) {
	t := time.NewTicker(bodyDelay)
	defer t.Stop()
	next := time.Now().Add(2 * bodyDelay)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		q.removeBodies(ctx, bodyDelay)
		if now := time.Now(); now.After(next) {
			if err := q.sweepOrphans(ctx); err != nil && ctx.Err() == nil {
				q.log.Warn("looking for bodies without deliveries failed; tried again later", "error", err)
			}
			next = now.Add(6 * time.Hour)
		}
	}
}

// sweepOrphans removes what lies in BODY without any delivery in READY or WAIT.
// READY is read before WAIT: deliveries move only that way, and are stored anew
// before they are removed, so that none is missed between the two.
func (q *Queue) sweepOrphans(ctx context.Context) error {
	s, err := q.getJS.Stream(ctx, streamBody)
	if err != nil {
		return err
	}
	if s.CachedInfo().State.Msgs == 0 {
		return nil
	}
	upTo := s.CachedInfo().State.LastSeq
	needed := map[uint64]struct{}{}
	note := func(m stored) error {
		var head proto.Mail
		if _, err := proto.ReadFrame(m.data, proto.KindMail, &head); err != nil {
			return err // what cannot be read may need any body: nothing is removed
		}
		for _, c := range head.Body.GetChunks() {
			needed[c] = struct{}{}
		}
		return nil
	}
	if err := q.scan(ctx, "", note); err != nil {
		return err
	}
	cons, err := q.getJS.CreateConsumer(ctx, streamBody, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, HeadersOnly: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	defer func() { _ = q.getJS.DeleteConsumer(ctx, streamBody, cons.CachedInfo().Name) }()
	removed := 0
	for ctx.Err() == nil {
		b, err := cons.FetchNoWait(1024)
		if err != nil {
			return err
		}
		n := 0
		for m := range b.Messages() {
			n++
			md, err := m.Metadata()
			if err != nil || md.Sequence.Stream > upTo || q.bodies.known(md.Sequence.Stream) {
				continue
			}
			if _, ok := needed[md.Sequence.Stream]; ok {
				continue
			}
			if err := s.DeleteMsg(ctx, md.Sequence.Stream); err == nil {
				removed++
			}
		}
		if n == 0 {
			break
		}
	}
	if removed > 0 {
		q.log.Info("removed body chunks that no delivery needs", "chunks", removed)
	}
	return ctx.Err()
}

// scan gives each every record of READY and then of WAIT (of one lane only, when
// lane is a token), until what was there at the end of the pass has been seen.
func (q *Queue) scan(ctx context.Context, lane string, each func(stored) error) error {
	ready := &readyReader{q: q, next: 1}
	for {
		ms, _, err := ready.read(ctx, 512)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if q.claims.wasRemoved(m.seq) {
				continue // its acknowledgement is on its way
			}
			m.subject = ""
			if err := each(m); err != nil {
				return err
			}
		}
		if len(ms) == 0 {
			break
		}
	}
	subject := "wait.>"
	if lane != "" {
		subject = "wait." + lane + ".*"
	}
	wait := q.newReader(subject, 1)
	defer wait.close()
	for {
		ms, err := wait.read(ctx, 512)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if err := each(m); err != nil {
				return err
			}
		}
		if len(ms) == 0 {
			return nil
		}
	}
}
