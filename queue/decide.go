package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// Decide journals what attempt number came to (the number made before, when none was
// made), and returns once that is confirmed. It is
// called before a sender is told of a failure: a process that dies between the notice
// and the end of the job must not make another attempt, which might deliver what the
// sender believes to be lost. The job goes on and is ended as any other.
func (j *Job) Decide(ctx context.Context, a Attempt, number int) error {
	if j.q.team != nil {
		if err := j.q.await(ctx, j.rec); err != nil {
			return err
		}
	}
	return j.q.journal.decide(ctx, j, &a, number)
}

// Decided is what an earlier run, or another node, has journaled with Decide without
// ending the job; nil: nothing. It is to be settled as it stands there.
func (j *Job) Decided() (a *Attempt, number int) {
	e := j.decided
	if e == nil {
		return nil, 0
	}
	a = &Attempt{
		Started: proto.FromMicros(e.AtUs).Add(-time.Duration(e.DurationUs) * time.Microsecond), Host: e.Host,
		Duration: time.Duration(e.DurationUs) * time.Microsecond, Note: e.Note,
	}
	said := map[string]*proto.Outcome{}
	for _, o := range e.Outcomes {
		said[o.Recipient] = o
	}
	for _, r := range j.Recipients {
		o := said[r.Raw]
		if o == nil {
			return nil, 0 // too many to be kept, or of another version: it is attempted anew
		}
		out := mail.Outcome{Recipient: r, Status: mail.Status(o.Status), Reply: o.Reply.Reply(), Class: o.Class, Action: o.Action}
		if e.Host != "" {
			out.Host = e.Host
		}
		a.Outcomes = append(a.Outcomes, out)
	}
	return a, int(e.Attempt)
}

func (j *journal) decide(ctx context.Context, job *Job, a *Attempt, number int) error {
	done := make(chan error, 1)
	e := attemptEvent(proto.Event_DECIDED, job, a)
	e.Attempt = uint32(number)
	j.mu.Lock()
	leaving := j.leaving
	if !leaving {
		j.keep(job.rec, e)
	}
	j.mu.Unlock()
	if leaving {
		return fmt.Errorf("%w: the queue is being closed", ErrUnavailable)
	}
	j.add(job.rec, entry{event: e, then: func(err error) { done <- err }})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// eventID names the generation of a delivery that an entry is about.
func eventID(e *proto.Event) string {
	return generationID(mail.DeliveryID(e.MessageId, int(e.Delivery)), int(e.Generation))
}
