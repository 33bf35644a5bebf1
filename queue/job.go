package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// Job is one delivery in this process's hand. Exactly one of Done, Wait and
// Release ends it; all three return at once, and Flush waits for what they began.
// A Job is used by one goroutine at a time.
type Job struct {
	mail.Delivery

	q      *Queue
	rec    *record
	ref    *proto.BodyRef // body in BODY
	inline []byte         // or here

	overdue bool
	decided *proto.Event // see Decided
}

// Attempt is what one attempt came to.
type Attempt struct {
	Started  time.Time
	Duration time.Duration
	Host     string
	Outcomes []mail.Outcome
	Note     string
}

// Overdue tells that the delivery was handed over without room for it, since its
// deadline has passed: its sender may have to be told something. It need not be due.
func (j *Job) Overdue() bool { return j.overdue }

// Bytes returns a body that travels inside its record, or nil when it lies in BODY.
func (j *Job) Bytes() []byte {
	if j.ref != nil {
		return nil
	}
	return j.inline
}

// Open reads the body, wherever it is. A body that fails its checksum ends in an
// error before its last octets have been returned.
func (j *Job) Open(ctx context.Context) (io.ReadCloser, error) {
	if j.ref == nil {
		return io.NopCloser(bytes.NewReader(j.inline)), nil
	}
	return j.q.openBody(ctx, j.Message.ID, j.ref)
}

// Dot journals that the octets which complete the message are about to be sent,
// and returns once that is confirmed. After an error they must not be sent:
// no confirmed record, no dot, or a crash could hide a possible duplicate.
func (j *Job) Dot(ctx context.Context, host string) error {
	if j.q.team != nil {
		return j.dotShared(ctx, host)
	}
	if j.rec.stream == streamReady {
		// A process that was frozen may have lost its claim: what another was
		// given meanwhile must not be sent by us.
		if age := time.Since(j.rec.confirmed()); age > j.q.o.AckWait/2 {
			return fmt.Errorf("%w: the claim on %s was last confirmed %s ago", ErrUnavailable, j.ID(), age.Round(time.Second))
		}
	}
	return j.q.journal.dot(ctx, j, host)
}

// ClaimedAt is when the queue last confirmed that the job is ours. A record of
// WAIT is claimed in this process alone, and no clock of a server runs on it; in a
// cluster its partition is leased, and once that has ended the job is nobody's claim.
func (j *Job) ClaimedAt() time.Time {
	switch {
	case j.rec.hold != nil && j.q.standing(j.rec) != ours:
		return time.Time{}
	case j.rec.stream == streamWait:
		return time.Now()
	case j.q.team != nil && j.q.standing(j.rec) == lost:
		return time.Time{}
	}
	return j.rec.confirmed()
}

// Done says that every recipient has a final outcome. The outcome is journaled
// first and the delivery removed after: swapped, a crash would forget both.
func (j *Job) Done(a Attempt) {
	j.q.settler.add(settling{job: j, attempt: &a})
}

// Wait stores next in WAIT in place of this record: its recipients are those still
// open, and its Due, Held and the rest are as the caller set them. A zero Due
// means as soon as there is room. a is nil when no attempt was made.
func (j *Job) Wait(next mail.Delivery, a *Attempt) {
	if !j.obeyed(&next, a) {
		j.wait(next, a)
	}
}

func (j *Job) wait(next mail.Delivery, a *Attempt) {
	next.Generation = j.Generation + 1
	j.q.settler.add(settling{job: j, attempt: a, next: &next})
}

// Release gives the job back untouched.
func (j *Job) Release() {
	if d := j.Delivery; j.obeyed(&d, nil) {
		return
	}
	if j.q.team != nil && j.rec.dotOf(j) != nil {
		// Before anybody else can have it: the DOT would look like a delivery that was made.
		j.q.journal.returned(j, j.release)
		return
	}
	j.release()
}

func (j *Job) release() {
	if j.rec.end(j, true) {
		j.q.endRecord(j.rec)
	}
}

// discard ends a job that an earlier run has ended already.
func (j *Job) discard() {
	if j.rec.end(j, false) {
		j.q.endRecord(j.rec)
	}
}

// giveBack lets somebody else have the record.
func (q *Queue) giveBack(r *record) {
	q.claims.forget(r)
	if r.stream == streamReady {
		if err := r.handle().Nak(); err != nil {
			q.log.Debug("giving a job back", "error", err) // the ack wait does it
		}
		return
	}
	q.lanes.untake(r)
}

// endRecord removes a record whose jobs have all ended, or gives it back when all
// of them were. When only some were, these move to WAIT first, each by itself.
func (q *Queue) endRecord(r *record) {
	if r.abandoned() {
		q.letGo(r)
		return
	}
	// A node of a cluster never gives a record of READY back: the work queue cannot tell
	// of which offer its word speaks, and a late one, of a process that was frozen, would
	// take the record out of another's hand. What is given back goes to WAIT.
	switch back, whole := r.rest(q.team != nil && r.stream == streamReady); {
	case whole:
		q.journal.leave(r)
		q.giveBack(r)
		return
	case len(back) > 0:
		for _, j := range back {
			j.Wait(j.Delivery, nil)
		}
		return
	}
	if q.team != nil {
		// The claim, and what the journal keeps of it, last until it is known to be gone.
		q.removals.add(removal{rec: r, ack: r.stream == streamReady, wave: q.settler.underway.begin()})
		return
	}
	q.journal.leave(r)
	if r.stream == streamReady {
		q.claims.finish(r)
		// Lost with the connection, the job comes back; claims.gone knows it, and
		// after a crash the journal does.
		for _, m := range []jetstream.Msg{r.msg, r.handle()} { // the same, unless an operator's command had it
			if err := m.Ack(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
				q.log.Warn("acknowledging a finished job", "error", err)
			}
			if reply := m.Reply(); reply != "" {
				q.lastAck.Store(&reply)
			}
		}
		return
	}
	q.removeWaiting(r) // the claim lasts until it is gone, or a reader would take it again
}

// jobs takes a stored mail record apart. The record is claimed already.
func (q *Queue) jobs(r *record, data []byte) ([]*Job, error) {
	var head proto.Mail
	body, err := proto.ReadFrame(data, proto.KindMail, &head)
	if err != nil {
		return nil, err
	}
	m := head.Message()
	js := make([]*Job, len(head.Deliveries))
	for i, d := range head.Deliveries {
		js[i] = &Job{Delivery: d.Delivery(m), q: q, rec: r, ref: head.Body}
		if head.Body == nil {
			js[i].inline = body
		}
		switch {
		case r.hold != nil:
			js[i].decided = r.hold.decided[generationID(js[i].ID(), js[i].Generation)]
		case q.recent != nil:
			js[i].decided = q.recent.decided[generationID(js[i].ID(), js[i].Generation)]
		}
	}
	if q.team != nil {
		r.mu.Lock()
		r.jobs, r.open, r.message = len(js), len(js), m.ID
		r.mu.Unlock()
		return js, nil
	}
	r.jobs, r.open, r.fresh = len(js), len(js), time.Now()
	if q.recent.empty() {
		return js, nil
	}
	// After an unclean stop: what the journal or WAIT knows to be older or done.
	left := js[:0]
	for _, j := range js {
		if q.recent.ended(j.ID(), j.Generation, r) {
			defer j.discard() // its body is left to the sweep
			continue
		}
		left = append(left, j)
	}
	return left, nil
}
