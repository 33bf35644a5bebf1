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
	// Before, when set, is called before each job of a Select is handed over.
	Before func()

	mu      sync.Mutex
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
	return (f.ID == "" || f.ID == d.Message.ID || f.ID == d.ID()) &&
		(f.Destination == "" || f.Destination == d.Destination) &&
		(f.Sender == "" || strings.EqualFold(f.Sender, sender))
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
func (q *Queue) Find(_ context.Context, f admin.Filter, max int) ([]admin.Entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var found []admin.Entry
	for _, e := range q.entries {
		if matches(f, &e.Delivery) && len(found) < max {
			found = append(found, e)
		}
	}
	return found, q.Err
}

// Select implements admin.Queue. Entries in state active are busy.
func (q *Queue) Select(ctx context.Context, f admin.Filter, fn func(admin.Job) error) (admin.Selection, error) {
	var sel admin.Selection
	if q.Err != nil {
		return sel, q.Err
	}
	for _, e := range q.Snapshot() {
		if !matches(f, &e.Delivery) {
			continue
		}
		sel.Matched++
		if e.State == "active" {
			sel.Busy++
			continue
		}
		if q.Before != nil {
			q.Before()
		}
		j := &job{q: q, d: e.Delivery}
		err := fn(j)
		if !j.ended {
			panic("admintest: a job was not ended") // in a real queue it would be lost from sight
		}
		if err != nil {
			return sel, err
		}
	}
	return sel, ctx.Err()
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

type job struct {
	q     *Queue
	d     mail.Delivery
	ended bool
}

func (j *job) Info() mail.Delivery { return j.d }

func (j *job) end(f func(i int)) {
	j.q.mu.Lock()
	defer j.q.mu.Unlock()
	if j.ended {
		panic("admintest: a job was ended twice")
	}
	j.ended = true
	i := slices.IndexFunc(j.q.entries, func(e admin.Entry) bool { return e.ID() == j.d.ID() })
	f(i)
}

func (j *job) Wait(next mail.Delivery) {
	j.end(func(i int) {
		state := "waiting"
		if next.Held {
			state = "held"
		}
		j.q.entries[i] = admin.Entry{Delivery: next, State: state}
	})
}

func (j *job) Remove(note string) {
	j.end(func(i int) {
		j.q.entries = slices.Delete(j.q.entries, i, i+1)
		j.q.removed = append(j.q.removed, j.d.ID()+": "+note)
	})
}

func (j *job) Bounce(_ context.Context, reply mail.Reply) error {
	if j.q.BounceErr != nil {
		return j.q.BounceErr
	}
	j.end(func(i int) {
		j.q.entries = slices.Delete(j.q.entries, i, i+1)
		j.q.bounced = append(j.q.bounced, j.d.ID()+": "+reply.String())
	})
	return nil
}

func (j *job) Release() { j.end(func(int) {}) }
