package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Action is an operator's verb for a part of the queue.
type Action string

// The verbs. Each is told to a filter; none touches what is being sent just then.
const (
	Retry   Action = "retry"   // due at once, ahead of its schedule; held mail stays held
	Hold    Action = "hold"    // not attempted until it is released
	Release Action = "release" // held no longer, and due at once
	Rm      Action = "rm"      // out of the queue; the sender is not told
	Bounce  Action = "bounce"  // out of the queue; the sender gets a failure notice
)

// Actions are all verbs; the API has one path for each.
var Actions = []Action{Retry, Hold, Release, Rm, Bounce}

// apply does action a to one claimed job and ends the claim. changed is false
// when there was nothing to do. After an error the job is back as it was.
func apply(ctx context.Context, a Action, job Job, o Order) (changed bool, err error) {
	d := job.Info()
	switch a {
	case Retry:
		// Held mail waits for a person's release; a retry of a whole destination must not send it.
		if d.Held || d.Due.IsZero() {
			job.Release()
			return false, nil
		}
		d.Due = time.Time{}
		job.Wait(d)
	case Hold:
		if d.Held {
			job.Release()
			return false, nil
		}
		d.Held = true // Due stays, for whoever looks at it
		job.Wait(d)
	case Release:
		if !d.Held {
			job.Release()
			return false, nil
		}
		d.Held, d.Due = false, time.Time{}
		job.Wait(d)
	case Rm:
		job.Remove(note("removed by", o))
	case Bounce:
		if err := job.Bounce(ctx, bounceReply(o.Reason)); err != nil {
			job.Release()
			return false, fmt.Errorf("the failure notice for %s could not be stored, so it stays queued: %w", d.ID(), err)
		}
	default:
		job.Release()
		return false, fmt.Errorf("there is no action %q", a)
	}
	return true, nil
}

// doneBy is the verb as the journal has it.
func doneBy(a Action) string {
	if a == Rm {
		return "removed by"
	}
	return string(a) + " by"
}

func note(verb string, o Order) string {
	s := verb + " " + o.Author
	if o.Reason != "" {
		s += ": " + o.Reason
	}
	return s
}

// bounceReply is what the sender's notice gives as the cause. RFC 3463 has no
// code for "the operator decided so"; X.0.0 is the honest one.
func bounceReply(reason string) mail.Reply {
	if reason == "" {
		reason = "returned to sender by the administrator of this mail system"
	}
	return mail.R(554, "5.0.0", reason)
}

// Bounds of an order's text; a reason becomes a line in a notice and in the log.
const (
	maxOrder  = 16 << 10
	maxAuthor = 128
	maxReason = 400
)

// readOrder reads and checks the body of a POST.
func readOrder(w http.ResponseWriter, r *http.Request) (Order, Filter, error) {
	var in struct{ ID, Destination, Sender, Author, Reason *string }
	var o Order
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	dec.DisallowUnknownFields() // a misspelt filter must not widen what is removed
	if err := dec.Decode(&in); err != nil {
		return o, Filter{}, fmt.Errorf("the order is not understood: %w; it looks like {\"destination\":\"example.org\",\"author\":\"you\"}", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return o, Filter{}, errors.New("something follows the order; send one JSON object and nothing else")
	}
	for _, x := range []struct {
		name string
		in   *string
		out  *string
	}{{"id", in.ID, &o.ID}, {"destination", in.Destination, &o.Destination}, {"sender", in.Sender, &o.Sender}} {
		if x.in == nil {
			continue
		}
		// A script whose variable was empty must not select by the rest alone.
		if *x.out = strings.TrimSpace(*x.in); *x.out == "" {
			return o, Filter{}, fmt.Errorf("the %s is empty; leave it out or fill it in", x.name)
		}
	}
	if in.Author != nil {
		o.Author = *in.Author
	}
	if in.Reason != nil {
		o.Reason = *in.Reason
	}
	f, err := MakeFilter(o.ID, o.Destination, o.Sender)
	if err != nil {
		return o, f, err
	}
	for _, t := range []struct {
		name, text string
		max        int
	}{{"author", o.Author, maxAuthor}, {"reason", o.Reason, maxReason}} {
		if len(t.text) > t.max || strings.ContainsFunc(t.text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return o, f, fmt.Errorf("the %s must be one line of at most %d plain ASCII characters", t.name, t.max)
		}
	}
	if o.Author == "" {
		o.Author = "someone unnamed"
	}
	return o, f, nil
}

// progressEvery is how often a running action tells how far it is.
const progressEvery = 500 * time.Millisecond

// lines answers with one JSON value a line, each sent at once.
type lines struct {
	w     http.ResponseWriter
	begun bool // the status has been sent
}

func newLines(w http.ResponseWriter) *lines { return &lines{w: w} }

func (l *lines) line(v any) {
	if !l.begun {
		l.begun = true
		h := l.w.Header()
		h.Set("Content-Type", "application/x-ndjson")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		l.w.WriteHeader(http.StatusOK)
	}
	extend(l.w)
	_ = json.NewEncoder(l.w).Encode(v) // a client that went away ends its request's context
	_ = http.NewResponseController(l.w).Flush()
}

// act is POST /v1/queue/<action>. It answers with one JSON line about every half
// second and a final one. When the client goes away the action stops between two
// deliveries; what is done stays done.
func (s *Server) act(w http.ResponseWriter, r *http.Request, a Action) {
	o, f, err := readOrder(w, r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	log := s.c.Log.With("action", string(a), "filter", f.String(), "author", o.Author, "reason", o.Reason, "remote", r.RemoteAddr)
	log.Info("queue action begins")

	var matched, changed, unchanged, ordered atomic.Int64
	ctx := r.Context()
	type end struct {
		sel Selection
		err error
	}
	ended := make(chan end, 1)
	go func() {
		if q, ok := s.c.Queue.(Doer); ok {
			told := func(p Progress) {
				matched.Store(int64(p.Matched - p.Busy))
				changed.Store(int64(p.Changed))
				unchanged.Store(int64(p.Unchanged))
				ordered.Store(int64(p.Ordered))
			}
			p, err := q.Do(ctx, a, f, note(doneBy(a), o), bounceReply(o.Reason), told)
			told(p)
			ended <- end{Selection{Matched: p.Matched - p.Busy, Busy: p.Busy}, err}
			return
		}
		sel, err := s.c.Queue.Select(ctx, f, func(j Job) error {
			if err := ctx.Err(); err != nil {
				j.Release()
				return err
			}
			matched.Add(1)
			done, err := apply(ctx, a, j, o)
			switch {
			case err != nil:
				return err
			case done:
				changed.Add(1)
			default:
				unchanged.Add(1)
			}
			return nil
		})
		ended <- end{sel, err}
	}()

	so := func() Progress {
		return Progress{Action: a, Matched: int(matched.Load()), Changed: int(changed.Load()), Unchanged: int(unchanged.Load()), Ordered: int(ordered.Load())}
	}
	out := newLines(w)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			out.line(so())
		case e := <-ended:
			p := so()
			p.Matched, p.Busy, p.Final = max(e.sel.Matched, p.Matched+e.sel.Busy), e.sel.Busy, true
			log := log.With("matched", p.Matched, "changed", p.Changed, "unchanged", p.Unchanged, "busy", p.Busy)
			if e.err == nil {
				log.Info("queue action ended")
			} else {
				log.Error("queue action stopped half-way", "error", e.err)
				p.Error = fmt.Sprintf("%s stopped after %d: %v; what was done stays done, and it may be asked again", a, p.Changed, e.err)
				if !out.begun && p.Changed == 0 {
					fail(w, http.StatusServiceUnavailable, p.Error)
					return
				}
			}
			out.line(p)
			return
		}
	}
}

// ParseAction reads a verb.
func ParseAction(s string) (Action, bool) {
	a := Action(s)
	return a, slices.Contains(Actions, a)
}
