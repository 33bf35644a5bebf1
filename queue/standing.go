package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// In a cluster what is in our hand may become another's: READY's claim runs out when
// it is not confirmed, a partition's lease when the scheduler does not renew it. A
// frozen or cut-off process finds out only afterwards. So before a delivery is sent,
// stored anew or given back, its standing is asked, and after it has been stored too.

// standing is whether a record is still ours.
type standing int

const (
	ours   standing = iota
	unsure          // not confirmed lately; it may be confirmed yet
	lost            // another may have it, for good
)

// A claim on READY is good for a third of the ack wait after the moment at which its
// last confirmation was asked for, and may be confirmed again for two thirds. What
// is asked for at two thirds may reach the server when it has given the job to
// another just so; the third that it is then good for has passed by that time.
func goodFor(ackWait time.Duration) time.Duration     { return ackWait / 3 }
func renewable(ackWait time.Duration) time.Duration   { return ackWait * 2 / 3 }
func renewedFrom(ackWait time.Duration) time.Duration { return ackWait / 8 }

// age is how long ago t was, by the clock that runs on in a frozen process and by
// the one that runs on in a frozen machine.
func age(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// standing tells whether r is still ours. On a node alone everything is.
func (q *Queue) standing(r *record) standing {
	switch {
	case q.team == nil:
		return ours
	case r.hold != nil:
		return r.hold.standing()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch a := age(r.fresh); {
	case r.gone:
		return lost
	case a < goodFor(q.o.AckWait):
		return ours
	case a < renewable(q.o.AckWait):
		return unsure
	default:
		r.gone = true // even if the server would confirm it again: it may have been another's meanwhile
		return lost
	}
}

// errNotOurs says that a record is not ours any more.
var errNotOurs = errors.New("another node may have the delivery by now")

// await waits until it is certain whether r is ours. An error says that it is not, or
// that ctx has ended.
func (q *Queue) await(ctx context.Context, r *record) error {
	for {
		switch q.standing(r) {
		case ours:
			return nil
		case lost:
			return fmt.Errorf("%w: %w", ErrUnavailable, errNotOurs)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: it is not certain whether the delivery is still ours: %w", ErrUnavailable, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// dotShared is Dot in a cluster. The standing is asked again after the journal has
// confirmed, which may take long: from there to the first octet nothing waits.
func (j *Job) dotShared(ctx context.Context, host string) error {
	if err := j.q.await(ctx, j.rec); err != nil {
		return err
	}
	err := j.q.journal.dot(ctx, j, host)
	if err == nil && j.q.standing(j.rec) != ours {
		err = fmt.Errorf("%w: the journal took so long that another node may have the delivery by now", ErrUnavailable)
	}
	if err != nil {
		// The DOT may be stored, and nothing will be sent.
		j.q.journal.returned(j, nil)
	}
	return err
}

// letGo ends our part in a record that others have, or may have, by now. One of READY
// that has come back to us meanwhile is offered again after the ack wait.
func (q *Queue) letGo(r *record) {
	q.journal.lose(r)
	q.claims.forget(r)
	if r.stream == streamWait {
		q.lanes.untake(r)
	}
}

// abandon ends a job whose record is not ours any more. Whoever has it now decides
// what becomes of it, by what the journal says of our attempt.
func (s *settler) abandon(x settling) {
	s.q.log.Warn("a delivery was lost to another node while it was in hand", "delivery", x.job.ID())
	end := func() {
		if x.job.rec.abandon() {
			s.q.endRecord(x.job.rec)
		}
		s.underway.finish(x.wave)
	}
	dot := x.job.rec.dotOf(x.job)
	switch {
	case x.attempt == nil || dot == nil:
		end()
	case !delivered(x.attempt):
		s.q.journal.returned(x.job, end)
	default:
		// Some have it, and whoever attempts the delivery next will send to all of them.
		s.q.wg.Go(func() {
			ctx, cancel := context.WithTimeout(s.q.life, s.q.o.Patience)
			defer cancel()
			if err := s.q.journal.noteDoubts(ctx, []*proto.Event{dot}); err != nil {
				s.q.log.Error("a delivery may be made twice, and that could not be noted", "delivery", x.job.ID(), "error", err)
			}
			end()
		})
	}
}

// delivered tells whether anybody got the message in this attempt.
func delivered(a *Attempt) bool {
	for _, o := range a.Outcomes {
		if o.Status == mail.Delivered {
			return true
		}
	}
	return false
}

// ours leaves out the jobs that must not be stored anew: those that were lost, for
// good, and for a moment those of which that is not certain.
func (s *settler) ours(list []settling) []settling {
	if s.q.team == nil {
		return list
	}
	kept := make([]settling, 0, len(list))
	for _, x := range list {
		switch s.q.standing(x.job.rec) {
		case ours:
			kept = append(kept, x)
		case unsure:
			time.AfterFunc(100*time.Millisecond, func() { s.put(x) })
		case lost:
			s.abandon(x)
		}
	}
	return kept
}

// storeSurely repeats the store of a waiting delivery until it has succeeded or the
// delivery is not ours any more. from is a sequence of WAIT from before the first try.
func (q *Queue) storeSurely(ctx context.Context, subject string, x *settling, frame []byte, from uint64) (uint64, error) {
	if q.team == nil {
		return q.publishSurely(ctx, subject, x.header(), frame, nil)
	}
	known := time.Now() // the store knows what was tried since
	var found uint64
	seq, err := q.publishSurely(ctx, subject, x.header(), frame, func() error {
		if err := q.await(ctx, x.job.rec); err != nil {
			return err
		}
		if time.Since(known) < dedupeWindow/2 {
			return nil
		}
		// Soon the store will not know a repeat for one. Has a try come through?
		var err error
		if found, err = q.findStored(ctx, subject, x.name(), from); err != nil {
			return err
		}
		if found != 0 {
			return errFound
		}
		known = time.Now()
		return nil
	})
	if errors.Is(err, errFound) {
		return found, nil
	}
	return seq, err
}

var errFound = errors.New("it had been stored")

// findStored looks for a record by its name, under a subject, from a sequence on; 0: it is not there.
func (q *Queue) findStored(ctx context.Context, subject, name string, from uint64) (uint64, error) {
	for next := max(from, 1); ; {
		m, err := q.loadFromLeader(ctx, streamWait, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, next, subject))
		switch {
		case errors.Is(err, errNoRecord):
			return 0, nil
		case err != nil && ctx.Err() != nil:
			return 0, err
		case err != nil: // the leader is away; so it stays until it is back
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
			continue
		case m.header.Get(jetstream.MsgIDHeader) == name:
			return m.seq, nil
		}
		next = m.seq + 1
	}
}
