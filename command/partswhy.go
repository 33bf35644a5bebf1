package command

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/hours"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/queue"
	"github.com/tarishi/tarishi/scheduler"
	"github.com/tarishi/tarishi/shaping"
)

// whys gathers what is known of a message, from all who know something.
type whys struct {
	q      *queue.Queue
	limits operatorLimits
}

// Bounds of it: so many deliveries of a message are looked into, for so long; DNS is
// asked for less, and what is not known by then is left out.
const (
	whyDeliveries = 20
	whyFor        = 2 * time.Second
	whyMXFor      = 400 * time.Millisecond
	whyPace       = 30 * time.Second
)

// notes are what could not be found out.
type notes struct {
	mu   sync.Mutex
	list []string
}

func (n *notes) add(what string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := fmt.Sprintf("%s: %v", what, err); !slices.Contains(n.list, s) {
		n.list = append(n.list, s)
	}
}

func (w whys) Why(ctx context.Context, id string) (out admin.WhyFound, err error) {
	var n notes
	var book *shaping.Book
	var ready int
	var g errgroup.Group
	var entries []queue.Entry
	g.Go(func() error {
		found, err := w.q.FindPage(ctx, queue.Filter{ID: id}, queue.Page{})
		entries = found.Entries
		return err
	})
	g.Go(func() error {
		past, whole, err := w.q.Fate(ctx, id)
		out.Past, out.Whole = pastLines(past), whole && err == nil
		if err != nil {
			n.add("the journal could not be read", err)
		}
		return nil
	})
	ask, cancel := context.WithTimeout(ctx, whyFor)
	defer cancel()
	g.Go(func() error {
		var err error
		if book, err = w.limits.Book(ask); err != nil {
			n.add("the limits are not known", err)
		}
		return nil
	})
	g.Go(func() error {
		ss, err := w.limits.op.Sessions(ask)
		if err != nil {
			n.add("the deliverers' sessions are not known", err)
			ready = -1
			return nil
		}
		for _, s := range ss {
			if s.Lease > 0 && !s.Draining {
				ready++
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return out, err
	}
	if more := len(entries) - whyDeliveries; more > 0 {
		n.list = append(n.list, fmt.Sprintf("%d more of its deliveries are queued; ask for one by its own id", more))
		entries = entries[:whyDeliveries]
	}
	out.Queued = make([]admin.WhyFacts, len(entries))
	var table *shaping.Table
	if book != nil {
		if table, err = book.Table(); err != nil {
			return out, err
		}
	}
	for i := range entries {
		f := &out.Queued[i]
		f.Entry, f.Node, f.Sessions = admin.Entry{Delivery: entries[i].Delivery, State: entries[i].State}, entries[i].Node, ready
		g.Go(func() error { w.fill(ask, f, entries[i], book, table, &n); return nil })
	}
	_ = g.Wait() // what they could not find out is noted
	out.Notes = n.list
	return out, nil
}

// fill adds what is known of one delivery.
func (w whys) fill(ctx context.Context, f *admin.WhyFacts, e queue.Entry, book *shaping.Book, table *shaping.Table, n *notes) {
	var g errgroup.Group
	d := &e.Delivery
	g.Go(func() error {
		p, err := w.q.PlaceOf(ctx, e)
		if err != nil {
			n.add("its place is not known", err)
			return nil
		}
		f.Place = &admin.WhyPlace{Line: p.Line, Before: p.Before, Due: p.Due, Of: p.Of, Others: map[mail.Line]int64{}}
		for l, c := range p.Others {
			f.Place.Others[l] = c.Waiting
		}
		return nil
	})
	g.Go(func() error {
		var err error
		if f.Ended, f.Took, err = w.q.Pace(ctx, d.Destination, whyPace); err != nil {
			n.add("the pace of its destination is not known", err)
		}
		return nil
	})
	g.Go(func() error { w.looks(ctx, f, n); return nil })
	if table != nil {
		g.Go(func() error { w.bounds(ctx, f, book, table, n); return nil })
	}
	if text := d.Message.Hours; text != "" {
		if h, err := hours.Parse(text); err == nil {
			from := time.Now() // or when its client wants it, if that is later
			if at := d.Message.SendAt; at.After(from) {
				from = at
			}
			if !h.Open(from) {
				f.Opens, _ = h.Next(from)
			}
		}
	}
	for _, r := range d.Recipients {
		s, found, err := w.q.Suppressions().Look(ctx, r.Address, d.Message.Tenant)
		if err != nil {
			n.add("the suppression list could not be asked", err)
			break
		}
		if found {
			f.Suppressed = suppressedBy(s)
			break
		}
	}
	_ = g.Wait() // likewise
}

func suppressedBy(s queue.Suppression) string {
	out := s.Address + " is on the suppression list"
	if s.Tenant != "" {
		out += " of tenant " + s.Tenant
	}
	switch {
	case s.Author != "":
		out += ", put there by " + s.Author
	case s.Source == queue.SourceBounce:
		out += " after a hard bounce"
	}
	if s.Reason != "" {
		out += ": " + s.Reason
	}
	return out
}

// bounds adds whose limits bind a delivery, and how they stand.
func (w whys) bounds(ctx context.Context, f *admin.WhyFacts, book *shaping.Book, table *shaping.Table, n *notes) {
	d := &f.Entry.Delivery
	f.Shares = book.Shares
	dns, cancel := context.WithTimeout(ctx, whyMXFor)
	defer cancel()
	mx, err := w.limits.MX(dns, d.Destination)
	if err != nil {
		n.add("the MX of "+string(d.Destination)+" could not be looked up, so its limits may be others", err)
	}
	f.Destination = table.Destination(d.Destination, mx)
	if d.Route != "" {
		f.Destination = shaping.ByRoute(d.Route)
	}
	f.Bounds = table.Bounds(f.Destination, "", d.Message.Tenant)
	for _, r := range book.Reactions {
		if r.To.Key == f.Destination.Key && (r.Remedy.Per&shaping.Tenant == 0 || r.Tenant == d.Message.Tenant) {
			f.Reactions = append(f.Reactions, r)
		}
	}
	// What a reaction suspends is told as one.
	if s := f.Bounds.Suspended; s != nil && !slices.ContainsFunc(f.Reactions, func(r shaping.Reaction) bool {
		return r.Remedy.Action == shaping.Suspend || r.Remedy.Action == shaping.Hold
	}) {
		f.Suspended = s
	}
	if s := suspensionOf(book, table, f.Destination); s != nil {
		f.Suspended = s
	}
	a, err := w.limits.op.Why(ctx, scheduler.LaneQuery{Dest: f.Destination, Tenant: d.Message.Tenant, Class: d.Message.Class})
	if err != nil {
		n.add("how the limits stand is not known", err)
		return
	}
	f.Live = liveLimits(scheduler.LiveAnswer{Now: a.Now, Live: a.Live})
}

// suspensionOf is an operator's suspension of a destination; nil: there is none.
func suspensionOf(book *shaping.Book, table *shaping.Table, d shaping.Destination) *shaping.Suspension {
	if len(book.Suspensions) == 0 {
		return nil
	}
	if s := table.Bounds(d, "", "").Suspended; s != nil && s.Author != "" && !s.At.IsZero() {
		if slices.ContainsFunc(book.Suspensions, func(o shaping.Suspension) bool { return o.To == s.To && o.At.Equal(s.At) }) {
			return s
		}
	}
	return nil
}

// looks adds how a destination stands with each node's deliverer.
func (w whys) looks(ctx context.Context, f *admin.WhyFacts, n *notes) {
	answers, err := w.q.AskNodes(ctx, askLook, []byte(f.Entry.Destination))
	if err != nil {
		n.add("the nodes could not be asked", err)
		return
	}
	for _, a := range answers {
		var l lookAnswer
		if a.Body == nil || json.Unmarshal(a.Body, &l) != nil {
			continue
		}
		f.Looks = append(f.Looks, admin.WhyLook{
			Node: a.Node, Connections: l.Connections, Sending: l.Sending, Waiting: l.Waiting,
			Down: l.Down, Failures: l.Failures, Full: l.Full, Live: l.Live,
		})
	}
}

func pastLines(past []queue.Past) []admin.PastLine {
	var out []admin.PastLine
	for _, p := range past {
		l := admin.PastLine{Delivery: p.Delivery, At: p.At, Node: p.Node, What: p.Kind, Attempt: p.Attempt, Host: p.Host, Note: p.Note}
		for _, o := range p.Outcomes {
			x := admin.OutcomeLine{Recipient: o.Recipient.Raw, Status: o.Status.String(), Bounce: o.Class}
			if !o.Reply.IsZero() || o.Reply.Text != "" {
				x.Reply = &admin.Reply{Code: o.Reply.Code, Enhanced: o.Reply.Enhanced.String(), Text: o.Reply.Text}
			}
			l.Outcomes = append(l.Outcomes, x)
		}
		out = append(out, l)
	}
	return out
}
