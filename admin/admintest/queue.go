// Package admintest holds an admin.Queue in memory, for tests of the API and of
// the commands that speak to it. It never stores or sends anything.
package admintest

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/mail"
)

// Queue is a queue in memory. Fill its fields before use; afterwards read them
// through Snapshot, Removed and Bounced.
type Queue struct {
	Doubtful  []admin.Doubt
	Bodies    map[string][]byte // by message id
	Err       error             // what every method answers, when set
	BounceErr error             // what Bounce answers, when set
	// Before, when set, is called before each delivery is acted on.
	Before func()

	mu      sync.Mutex
	actions []*action // the oldest first
	entries []admin.Entry
	removed []string // "ID: note"
	bounced []string // "ID: reply"
}

// New makes a Queue of entries, in order of arrival.
func New(entries ...admin.Entry) *Queue {
	return &Queue{entries: entries, Bodies: map[string][]byte{}}
}

// Snapshot returns what is queued, Removed and Bounced what is not any more.
func (q *Queue) Snapshot() []admin.Entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.entries)
}

func (q *Queue) Removed() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.removed)
}

func (q *Queue) Bounced() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.bounced)
}

func matches(f admin.Filter, d *mail.Delivery) bool {
	sender := d.Message.Sender.Raw
	if sender == "" {
		sender = "<>"
	}
	domain, ofDomain := strings.CutPrefix(f.Sender, "@")
	return (f.ID == "" || f.ID == d.Message.ID || f.ID == d.ID()) &&
		(f.Destination == "" || f.Destination == d.Destination) &&
		(f.Site == "" || slices.Contains(f.Destinations, d.Destination)) &&
		(f.Sender == "" || strings.EqualFold(f.Sender, sender) || ofDomain && string(d.Message.Sender.Domain) == domain) &&
		(f.Reply == "" || strings.Contains(strings.ToLower(d.LastReply.String()), strings.ToLower(f.Reply))) &&
		(f.Before.IsZero() || d.Message.Received.Before(f.Before))
}

// Lanes implements admin.Queue.
func (q *Queue) Lanes(_ context.Context, max int) (admin.Overview, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	o := admin.Overview{ReadySorted: true}
	at := map[mail.Domain]int{}
	for _, e := range q.entries {
		i, ok := at[e.Destination]
		if !ok {
			i = len(o.Lanes)
			at[e.Destination] = i
			o.Lanes = append(o.Lanes, admin.LaneInfo{Destination: e.Destination, Oldest: e.Message.Received})
		}
		l := &o.Lanes[i]
		l.Count++
		switch e.State {
		case "ready":
			o.Ready++
		case "held":
			o.Held++
			l.Held++
		case "active":
			o.Ready++
			o.Active++
			l.Active++
		default:
			o.Waiting++
			if !e.Due.IsZero() && (l.NextDue.IsZero() || e.Due.Before(l.NextDue)) {
				l.NextDue = e.Due
			}
		}
		if e.Message.Received.Before(l.Oldest) {
			l.Oldest = e.Message.Received
		}
		if !e.LastReply.IsZero() {
			l.LastReply, l.LastHost = e.LastReply, e.LastHost
		}
	}
	o.Destinations = len(o.Lanes)
	slices.SortStableFunc(o.Lanes, func(a, b admin.LaneInfo) int { return cmp.Compare(b.Count, a.Count) })
	o.Lanes = o.Lanes[:min(max, len(o.Lanes))]
	return o, q.Err
}

// Find implements admin.Queue.
func (q *Queue) Find(_ context.Context, f admin.Filter, p admin.Page) (admin.Found, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := admin.Found{Looked: true}
	for _, e := range q.entries {
		switch {
		case p.After > e.ID() || !matches(f, &e.Delivery):
		case len(out.Entries) == p.Max:
			out.Next = e.ID()
			return out, q.Err
		default:
			out.Entries = append(out.Entries, e)
		}
	}
	return out, q.Err
}

// Summary implements admin.Queue.
func (q *Queue) Summary(ctx context.Context) (admin.Summary, error) {
	o, err := q.Lanes(ctx, 1)
	s := admin.Summary{
		Ready: o.Ready, Waiting: o.Waiting, Held: o.Held, Active: o.Active, Destinations: o.Destinations, Lines: o.Destinations,
		Tenants: map[string]int64{"": o.Waiting + o.Held}, Classes: map[mail.Class]int64{mail.Normal: o.Waiting + o.Held},
		Due: []admin.DueCount{{Within: 0, Count: o.Waiting}, {Within: -1}},
	}
	return s, err
}

// Lines implements admin.Queue. What is ready counts as well.
func (q *Queue) Lines(context.Context) (map[mail.Line]int64, error) {
	out := map[mail.Line]int64{}
	for _, e := range q.Snapshot() {
		if !e.Held {
			out[e.Line()]++
		}
	}
	return out, q.Err
}

// Doubts implements admin.Queue.
func (q *Queue) Doubts(context.Context) ([]admin.Doubt, error) { return q.Doubtful, q.Err }

// Open implements admin.Queue.
func (q *Queue) Open(_ context.Context, id string) (io.ReadCloser, error) {
	message, _ := mail.SplitDeliveryID(id)
	b, ok := q.Bodies[message]
	if !ok {
		return nil, admin.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), q.Err
}
