package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Verb is what an operator wants done with a part of the queue.
type Verb string

// The verbs. None touches what a deliverer has in hand just then.
const (
	Retry   Verb = "retry"   // due at once, ahead of its schedule; held mail stays held
	Hold    Verb = "hold"    // not attempted until it is released
	Release Verb = "release" // held no longer, and due at once
	Remove  Verb = "rm"      // out of the queue; the sender is not told
	Bounce  Verb = "bounce"  // out of the queue; the sender gets a failure notice
)

// Action is a verb for the deliveries that a filter means. It is a value, so that it
// can be carried out by the node that has them.
type Action struct {
	Verb   Verb
	Filter Filter
	Note   string     // for the journal: who removed it and why
	Reply  mail.Reply // Bounce: what the notice gives as the cause
}

// Result is what an action came to.
type Result struct {
	Matched   int // deliveries the filter means; those in Busy and Ordered included
	Changed   int
	Unchanged int // there was nothing to do
	Busy      int // a deliverer has them in hand just now; not touched
	Ordered   int // in a cluster: they are in READY, and the action is carried out when a node takes them
}

func (r *Result) add(x Result) {
	r.Matched += x.Matched
	r.Changed += x.Changed
	r.Unchanged += x.Unchanged
	r.Busy += x.Busy
	r.Ordered += x.Ordered
}

// Act carries out an action on everything the filter means, and returns when what it
// did is stored. progress is told now and then how far it is; nil: nobody wants to
// know. After an error what was done stays done, and it may be asked again. In a
// cluster every node acts on what it holds; the error names those that did not answer.
func (q *Queue) Act(ctx context.Context, a Action, progress func(Result)) (Result, error) {
	switch a.Verb {
	case Retry, Hold, Release, Remove, Bounce:
	default:
		return Result{}, fmt.Errorf("there is no action %q", a.Verb)
	}
	if q.team != nil {
		return q.team.act(ctx, a, progress)
	}
	return q.actHere(ctx, a, progress)
}

// progressEvery is how often a running action tells how far it is.
const progressEvery = 500 * time.Millisecond

// actHere carries out an action on what Select reaches.
func (q *Queue) actHere(ctx context.Context, a Action, progress func(Result)) (Result, error) {
	var r Result
	told := time.Now()
	sel, err := q.Select(ctx, a.Filter, func(j *Job) error {
		if err := ctx.Err(); err != nil {
			j.Release()
			return err
		}
		r.Matched++
		switch changed, err := q.apply(ctx, a, j); {
		case err != nil:
			return err
		case changed:
			r.Changed++
		default:
			r.Unchanged++
		}
		if progress != nil && time.Since(told) >= progressEvery {
			told = time.Now()
			progress(r)
		}
		return nil
	})
	r.Busy = sel.Busy
	r.Matched += sel.Busy
	if e := q.Flush(ctx); err == nil {
		err = e // the operator is told when it is so, not when it is under way
	}
	if err == nil {
		err = q.SyncFailed()
	}
	return r, err
}

// apply does an action to one claimed job and ends the claim. changed is false when
// there was nothing to do. After an error the job is back as it was.
func (q *Queue) apply(ctx context.Context, a Action, j *Job) (changed bool, err error) {
	d := j.Delivery
	switch a.Verb {
	case Retry:
		// Held mail waits for a person's release; a retry of a whole destination must not send it.
		if d.Held || d.Due.IsZero() {
			break
		}
		d.Due = time.Time{}
		j.Wait(d, nil)
		return true, nil
	case Hold:
		if d.Held {
			break
		}
		d.Held = true // Due stays, for whoever looks at it
		j.Wait(d, nil)
		return true, nil
	case Release:
		if !d.Held {
			break
		}
		d.Held, d.Due = false, time.Time{}
		j.Wait(d, nil)
		return true, nil
	case Remove:
		j.Done(Attempt{Note: a.Note})
		return true, nil
	case Bounce:
		if q.o.Bounce == nil {
			j.Release()
			return false, errors.New("this node does not deliver and writes no notices; ask one that runs the deliverer role")
		}
		if err := q.o.Bounce(ctx, j, a.Reply); err != nil {
			j.Release()
			return false, fmt.Errorf("the failure notice for %s could not be stored, so it stays queued: %w", d.ID(), err)
		}
		return true, nil
	}
	j.Release()
	return false, nil
}
