package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Verb is what an operator wants done with a part of the queue.
type Verb string

// The verbs. None touches what a deliverer has in hand just then; what comes back from
// a hand is held, removed or bounced at that moment.
const (
	Retry   Verb = "retry"   // due at once, ahead of its schedule; held mail stays held
	Hold    Verb = "hold"    // not attempted until it is released
	Release Verb = "release" // held no longer, and due at once
	Remove  Verb = "rm"      // out of the queue; the sender is not told
	Bounce  Verb = "bounce"  // out of the queue; the sender gets a failure notice
)

// Action is a verb for the deliveries that a filter means. It is a value, so that it
// can be stored, and carried out by the nodes that have them. It means mail that had
// come in when it was asked for, and none that comes later.
type Action struct {
	ID     string     `json:"id"` // given by Begin
	Verb   Verb       `json:"verb"`
	Filter Filter     `json:"filter"`
	Author string     `json:"author,omitempty"`
	Reason string     `json:"reason,omitempty"`
	At     time.Time  `json:"at"`             // given by Begin
	Reply  mail.Reply `json:"reply,omitzero"` // Bounce: what the notice gives as the cause
}

// Result is what an action came to.
type Result struct {
	Matched   int `json:"matched"` // deliveries the filter means; those in Busy and Ordered included
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"` // there was nothing to do
	Busy      int `json:"busy"`      // a deliverer has them in hand just now; not touched
	Planned   int `json:"planned"`   // of Changed, by a retry or a release: they wait for their delivery hours, or until their client wants them sent
	Ordered   int `json:"ordered"`   // in a cluster: they are in READY, and the action is carried out when a node takes them
}

func (r *Result) add(x Result) {
	r.Matched += x.Matched
	r.Changed += x.Changed
	r.Unchanged += x.Unchanged
	r.Busy += x.Busy
	r.Planned += x.Planned
	r.Ordered += x.Ordered
}

// ActionState is how far an action has come.
type ActionState struct {
	Action
	State string // running, done or cancelled
	Result
	AtLeast   bool      // a node that worked on it died, and what it did last is not counted
	Share     float64   // how much is done, from 0 to 1: of Expected, or of what is to be looked through
	Expected  int64     // deliveries that the filter may mean, by the counts when it began; 0: not known
	Ended     time.Time // zero: it has not
	Cancelled string    // who cancelled it
	Error     string    // what stands in its way; it is tried again
	Waits     []uint32  // partitions nobody works on just now
}

// The states of an action.
const (
	ActionRunning   = "running"
	ActionDone      = "done"
	ActionCancelled = "cancelled"
)

// ErrNoAction means that no action has that id, or that the journal has forgotten it.
var ErrNoAction = errors.New("no such action")

// openActions bounds how many may run at a time: each has a look at whatever is taken
// from READY.
const openActions = 100

// note is what a delivery keeps of the action that changed it.
func (a *Action) note() *mail.ActionNote {
	return &mail.ActionNote{Action: a.ID, Verb: string(a.Verb), Author: text(a.Author), Reason: text(a.Reason), At: a.At}
}

func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// journalNote is what the journal says of a delivery that an action took out.
func (a *Action) journalNote() string {
	done := "removed"
	if a.Verb == Bounce {
		done = "bounced"
	}
	s := done + " by " + text(cmp.Or(a.Author, "an operator"))
	if a.Reason != "" {
		s += ": " + text(a.Reason)
	}
	return s + " (action " + a.ID + ")"
}

func (a *Action) check() error {
	switch a.Verb {
	case Retry, Hold, Release, Remove, Bounce:
		return nil
	}
	return fmt.Errorf("there is no action %q", a.Verb)
}

// Begin stores an action and lets all nodes carry it out. When it returns, the action
// is in the journal, and goes on whatever becomes of this process.
func (q *Queue) Begin(ctx context.Context, a Action) (ActionState, error) {
	if err := a.check(); err != nil {
		return ActionState{}, err
	}
	return q.actions.begin(ctx, a)
}

// Actions lists the actions that the journal still knows, the newest first.
func (q *Queue) Actions(ctx context.Context) ([]ActionState, error) { return q.actions.all(ctx) }

// ActionState tells how far an action has come.
func (q *Queue) ActionState(ctx context.Context, id string) (ActionState, error) {
	return q.actions.state(ctx, id)
}

// Cancel ends an action; what it has done stays done.
func (q *Queue) Cancel(ctx context.Context, id, author string) error {
	return q.actions.cancel(ctx, id, author)
}

// Follow tells progress how far an action is, now and then, until it has ended. When ctx
// ends before, the action goes on.
func (q *Queue) Follow(ctx context.Context, id string, progress func(ActionState)) (ActionState, error) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		st, err := q.ActionState(ctx, id)
		if err != nil || st.State != ActionRunning {
			return st, err
		}
		if progress != nil {
			progress(st)
		}
		ended, err := q.actions.endOf(id)
		if err != nil {
			return st, err
		}
		select {
		case <-ctx.Done():
			return st, ctx.Err()
		case <-ended:
		case <-tick.C:
		}
	}
}

// Act is Begin and Follow.
func (q *Queue) Act(ctx context.Context, a Action, progress func(ActionState)) (ActionState, error) {
	st, err := q.Begin(ctx, a)
	if err != nil {
		return st, err
	}
	return q.Follow(ctx, st.ID, progress)
}

// progressEvery is how often a running action tells how far it is.
const progressEvery = 500 * time.Millisecond

// apply does an action to one claimed job and ends the claim. changed is false when
// there was nothing to do. After an error the job is back as it was.
func (q *Queue) apply(ctx context.Context, a *Action, j *Job) (changed bool, err error) {
	d := j.Delivery
	switch a.Verb {
	case Retry:
		if q.o.Retried != nil && !d.Held {
			q.o.Retried(&d)
		}
		// Held mail waits for a person's release; a retry of a whole destination must not send it.
		if d.Held || d.Due.IsZero() {
			break
		}
		// Nor what its client wants sent later. Who names the message means it.
		if a.Filter.ID != "" {
			d.Message = d.Message.AtOnce()
		} else if d.Message.SendAt.After(time.Now()) {
			break
		}
		d.Due, d.Operator = time.Time{}, a.note()
		j.wait(d, nil)
		return true, nil
	case Hold:
		if d.Held {
			break
		}
		d.Held, d.Operator = true, a.note() // Due stays, for whoever looks at it
		j.wait(d, nil)
		return true, nil
	case Release:
		if !d.Held {
			break
		}
		d.Held, d.Due, d.Operator = false, time.Time{}, a.note()
		j.wait(d, nil)
		return true, nil
	case Remove:
		j.Done(Attempt{Note: a.journalNote()})
		return true, nil
	case Bounce:
		if q.o.Bounce == nil {
			j.release()
			return false, errors.New("this node does not deliver and writes no notices")
		}
		if err := q.o.Bounce(ctx, j, a.Reply); err != nil {
			j.release()
			return false, fmt.Errorf("the failure notice for %s could not be stored, so it stays queued: %w", d.ID(), err)
		}
		return true, nil
	}
	j.release()
	return false, nil
}
