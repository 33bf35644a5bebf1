package command

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/queue"
)

// adminQueue is the queue as the admin port sees it.
type adminQueue struct{ q *queue.Queue }

func (a adminQueue) Lanes(ctx context.Context, max int) (admin.Overview, error) {
	o, err := a.q.Lanes(ctx, max)
	v := admin.Overview{
		Destinations: o.Destinations, Ready: o.Ready, Waiting: o.Waiting - o.Held, Held: o.Held, Active: o.Active,
		ReadySorted: o.ReadySorted, Lanes: make([]admin.LaneInfo, len(o.Lanes)),
	}
	for i, l := range o.Lanes {
		v.Lanes[i] = admin.LaneInfo{
			Destination: l.Destination, Count: l.Count, Held: l.Held, Active: l.Active, Oldest: l.Oldest, NextDue: l.NextDue,
		}
		if d := l.Last; d != nil {
			v.Lanes[i].LastReply, v.Lanes[i].LastHost, v.Lanes[i].Bounce = d.LastReply, d.LastHost, d.LastClass
		}
	}
	return v, err
}

func (a adminQueue) Summary(ctx context.Context) (admin.Summary, error) {
	s, err := a.q.Summary(ctx)
	v := admin.Summary{
		Ready: s.Ready, Waiting: s.Waiting, Held: s.Held, Active: s.Active,
		Destinations: s.Destinations, Lines: s.Lines, Tenants: s.Tenants, Classes: s.Classes,
	}
	for i, n := range s.Due {
		within := time.Duration(-1)
		if i < len(queue.DueSteps) {
			within = queue.DueSteps[i]
		}
		v.Due = append(v.Due, admin.DueCount{Within: within, Count: n})
	}
	return v, err
}

func (a adminQueue) Lines(ctx context.Context) (map[mail.Line]int64, error) {
	by, err := a.q.Lines(ctx)
	out := make(map[mail.Line]int64, len(by))
	for l, c := range by {
		out[l] = c.Waiting
	}
	return out, err
}

func (a adminQueue) Find(ctx context.Context, f admin.Filter, p admin.Page) (admin.Found, error) {
	found, err := a.q.FindPage(ctx, queueFilter(f), queue.Page(p))
	if errors.Is(err, queue.ErrPage) {
		err = admin.ErrPage
	}
	out := admin.Found{Entries: make([]admin.Entry, len(found.Entries)), Next: found.Next, Looked: found.Looked}
	for i, e := range found.Entries {
		out.Entries[i] = admin.Entry{Delivery: e.Delivery, State: e.State}
	}
	return out, err
}

// queueFilter is a filter as the queue knows it. A site has been looked up: it is the
// destinations it came to.
func queueFilter(f admin.Filter) queue.Filter {
	q := queue.Filter{
		ID: f.ID, Destinations: f.Destinations, Sender: f.Sender, Recipient: f.Recipient, Tenant: f.Tenant, Class: f.Class,
		Bounce: f.Bounce, Reply: f.Reply, Before: f.Before, After: f.After, MinAttempts: f.MinAttempts, MaxAttempts: f.MaxAttempts, Held: f.Held,
		Site: f.Site, Destination: f.Destination,
	}
	return q
}

func adminFilter(f queue.Filter) admin.Filter {
	return admin.Filter{
		ID: f.ID, Destinations: f.Destinations, Sender: f.Sender, Recipient: f.Recipient, Tenant: f.Tenant, Class: f.Class,
		Bounce: f.Bounce, Reply: f.Reply, Before: f.Before, After: f.After, MinAttempts: f.MinAttempts, MaxAttempts: f.MaxAttempts, Held: f.Held,
		Site: f.Site, Destination: f.Destination,
	}
}

func (a adminQueue) Begin(ctx context.Context, x admin.Action) (admin.ActionState, error) {
	st, err := a.q.Begin(ctx, queue.Action{
		Verb: queue.Verb(x.Verb), Filter: queueFilter(x.Filter), Author: x.Author, Reason: x.Reason, Reply: x.Reply,
	})
	return actionState(st), err
}

func (a adminQueue) Follow(ctx context.Context, id string, progress func(admin.ActionState)) (admin.ActionState, error) {
	st, err := a.q.Follow(ctx, id, func(st queue.ActionState) { progress(actionState(st)) })
	return actionState(st), actionError(err)
}

func (a adminQueue) Actions(ctx context.Context) ([]admin.ActionState, error) {
	list, err := a.q.Actions(ctx)
	out := make([]admin.ActionState, len(list))
	for i, st := range list {
		out[i] = actionState(st)
	}
	return out, err
}

func (a adminQueue) Action(ctx context.Context, id string) (admin.ActionState, error) {
	st, err := a.q.ActionState(ctx, id)
	return actionState(st), actionError(err)
}

func (a adminQueue) Cancel(ctx context.Context, id, author string) error {
	return actionError(a.q.Cancel(ctx, id, author))
}

func actionError(err error) error {
	switch {
	case errors.Is(err, queue.ErrNoAction):
		return admin.ErrNoAction
	case errors.Is(err, queue.ErrNotRunning):
		return admin.ErrEnded
	}
	return err
}

func actionState(st queue.ActionState) admin.ActionState {
	return admin.ActionState{
		Action: admin.Action{
			ID: st.ID, Verb: admin.Verb(st.Verb), Filter: adminFilter(st.Filter), Author: st.Author, Reason: st.Reason, At: st.At, Reply: st.Reply,
		},
		State: st.State, Matched: st.Matched, Changed: st.Changed, Unchanged: st.Unchanged, Busy: st.Busy, Ordered: st.Ordered, Planned: st.Planned, AtLeast: st.AtLeast,
		Share: st.Share, Expected: st.Expected, Ended: st.Ended, Cancelled: st.Cancelled, Error: st.Error, Waits: len(st.Waits),
	}
}

func (a adminQueue) Doubts(ctx context.Context) ([]admin.Doubt, error) {
	ds, err := a.q.Doubts(ctx)
	out := make([]admin.Doubt, len(ds))
	for i, d := range ds {
		out[i] = admin.Doubt{
			DeliveryID: d.DeliveryID, Attempt: d.Attempt, Destination: mail.Domain(d.Destination),
			Host: d.Host, At: d.At, Found: d.Found,
		}
	}
	return out, err
}

func (a adminQueue) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	r, err := a.q.OpenBody(ctx, id)
	if errors.Is(err, queue.ErrNotFound) {
		err = admin.ErrNotFound
	}
	return r, err
}
