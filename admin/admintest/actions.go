package admintest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/mail"
)

// action is an operator's action on a Queue: a goroutine works on it until it is done.
type action struct {
	mu     sync.Mutex
	st     admin.ActionState
	ended  chan struct{}
	cancel chan struct{}
}

func (a *action) state() admin.ActionState {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.st
}

// ActionID names actions: the first asked for is 0.
func ActionID(n int) string { return fmt.Sprintf("01KAACT10N%010d", n) }

// Begin implements admin.Queue.
func (q *Queue) Begin(_ context.Context, x admin.Action) (admin.ActionState, error) {
	if q.Err != nil {
		return admin.ActionState{}, q.Err
	}
	q.mu.Lock()
	x.ID, x.At = ActionID(len(q.actions)), Now
	a := &action{st: admin.ActionState{Action: x, State: "running"}, ended: make(chan struct{}), cancel: make(chan struct{})}
	q.actions = append(q.actions, a)
	q.mu.Unlock()
	began := a.state()
	go q.work(a)
	return began, nil
}

// work does an action to everything it means. What is being sent is busy.
func (q *Queue) work(a *action) {
	defer close(a.ended)
	for _, e := range q.Snapshot() {
		x := a.state().Action
		if !matches(x.Filter, &e.Delivery) {
			continue
		}
		if q.Before != nil && e.State != "active" {
			q.Before()
		}
		select {
		case <-a.cancel:
			return
		default:
		}
		q.mu.Lock()
		a.mu.Lock()
		a.st.Matched++
		switch {
		case e.State == "active":
			a.st.Busy++
		case q.apply(x, e):
			a.st.Changed++
		default:
			a.st.Unchanged++
		}
		a.mu.Unlock()
		q.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.st.State, a.st.Ended, a.st.Share = "done", Now, 1
}

// apply does an action to one entry, and tells whether there was anything to do.
func (q *Queue) apply(x admin.Action, e admin.Entry) bool {
	i := slices.IndexFunc(q.entries, func(o admin.Entry) bool { return o.ID() == e.ID() })
	d := &q.entries[i]
	note := &mail.ActionNote{Action: x.ID, Verb: string(x.Verb), Author: x.Author, Reason: x.Reason, At: x.At}
	switch x.Verb {
	case admin.Retry:
		if d.Held || d.Due.IsZero() {
			return false
		}
		d.Due, d.State, d.Operator = time.Time{}, "waiting", note
	case admin.Hold:
		if d.Held {
			return false
		}
		d.Held, d.State, d.Operator = true, "held", note
	case admin.Release:
		if !d.Held {
			return false
		}
		d.Held, d.Due, d.State, d.Operator = false, time.Time{}, "waiting", note
	case admin.Rm:
		note := "removed by " + x.Author
		if x.Reason != "" {
			note += ": " + x.Reason
		}
		q.removed = append(q.removed, e.ID()+": "+note)
		q.entries = slices.Delete(q.entries, i, i+1)
	case admin.Bounce:
		q.bounced = append(q.bounced, e.ID()+": "+x.Reply.String())
		q.entries = slices.Delete(q.entries, i, i+1)
	}
	return true
}

// Follow implements admin.Queue.
func (q *Queue) Follow(ctx context.Context, id string, progress func(admin.ActionState)) (admin.ActionState, error) {
	a := q.find(id)
	if a == nil {
		return admin.ActionState{}, admin.ErrNoAction
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-a.ended:
			return a.state(), nil
		case <-ctx.Done():
			return a.state(), ctx.Err()
		case <-tick.C:
			progress(a.state())
		}
	}
}

func (q *Queue) find(id string) *action {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range q.actions {
		if a.st.ID == id {
			return a
		}
	}
	return nil
}

// Actions implements admin.Queue.
func (q *Queue) Actions(context.Context) (out []admin.ActionState, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range slices.Backward(q.actions) {
		out = append(out, a.state())
	}
	return out, q.Err
}

// Action implements admin.Queue.
func (q *Queue) Action(_ context.Context, id string) (admin.ActionState, error) {
	a := q.find(id)
	if a == nil {
		return admin.ActionState{}, admin.ErrNoAction
	}
	return a.state(), q.Err
}

// Cancel implements admin.Queue.
func (q *Queue) Cancel(_ context.Context, id, author string) error {
	a := q.find(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.st.State != "running" {
		return admin.ErrEnded
	}
	a.st.State, a.st.Cancelled, a.st.Ended = "cancelled", author, Now
	close(a.cancel)
	return nil
}
