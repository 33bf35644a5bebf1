package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tarishi/tarishi/mail"
)

// Verb is what an operator wants done with a part of the queue.
type Verb string

// The verbs. Each is told to a filter; none touches what is being sent just then.
const (
	Retry   Verb = "retry"   // due at once, ahead of its schedule; held mail stays held
	Hold    Verb = "hold"    // not attempted until it is released
	Release Verb = "release" // held no longer, and due at once
	Rm      Verb = "rm"      // out of the queue; the sender is not told
	Bounce  Verb = "bounce"  // out of the queue; the sender gets a failure notice
)

// Verbs are all of them; the API has one path for each.
var Verbs = []Verb{Retry, Hold, Release, Rm, Bounce}

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

// strictObject reads a JSON object whose keys are all of those allowed, and whose
// strings are not empty: a misspelt filter, or a script's empty variable, must not widen
// what is meant.
func strictObject(w http.ResponseWriter, r *http.Request, example string, allowed []string, mayBeEmpty []string, v any) error {
	var keys map[string]json.RawMessage
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
	if err := dec.Decode(&keys); err != nil {
		return fmt.Errorf("the order is not understood: %w; it looks like %s", err, example)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the order; send one JSON object and nothing else")
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(allowed, k) {
			return fmt.Errorf("the order is not understood: it has no key %q; it looks like %s", k, example)
		}
		var s string
		if json.Unmarshal(keys[k], &s) == nil && strings.TrimSpace(s) == "" && !slices.Contains(mayBeEmpty, k) {
			return fmt.Errorf("the %s is empty; leave it out or fill it in", k)
		}
	}
	whole, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(whole, v); err != nil {
		return fmt.Errorf("the order is not understood: %w; it looks like %s", err, example)
	}
	return nil
}

// oneLine tells whether a log and a terminal can show s as one line, as it is.
func oneLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// checkPerson checks who gives an order and why.
func checkPerson(author *string, reason string) error {
	for _, t := range []struct {
		name, text string
		max        int
	}{{"author", *author, maxAuthor}, {"reason", reason, maxReason}} {
		if len(t.text) > t.max || !oneLine(t.text) {
			return fmt.Errorf("the %s must be one line of at most %d octets of printable UTF-8", t.name, t.max)
		}
	}
	if *author == "" {
		*author = "someone unnamed"
	}
	return nil
}

// readOrder reads and checks the body of a POST.
func (s *Server) readOrder(w http.ResponseWriter, r *http.Request) (Order, Filter, error) {
	var o Order
	allowed := append([]string{"author", "reason", "detach"}, selectionKeys...)
	err := strictObject(w, r, `{"destination":"example.org","author":"you"}`, allowed, []string{"author", "reason"}, &o)
	if err != nil {
		return o, Filter{}, err
	}
	f, err := o.Filter(s.c.Now())
	if err == nil {
		err = checkPerson(&o.Author, o.Reason)
	}
	return o, f, err
}

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

// act is POST /v1/queue/<verb>. It answers with one JSON line as soon as the action is
// stored, one about every half second, and a final one; or with the first alone, if the
// caller will not wait. When the client goes away the action goes on.
func (s *Server) act(w http.ResponseWriter, r *http.Request, v Verb) {
	o, f, err := s.readOrder(w, r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if err := s.site(r.Context(), &f); err != nil {
		s.siteFailed(w, r, err)
		return
	}
	a := Action{Verb: v, Filter: f, Author: o.Author, Reason: o.Reason}
	if v == Bounce {
		a.Reply = bounceReply(o.Reason)
	}
	log := s.c.Log.With("action", string(v), "filter", f.String(), "author", o.Author, "reason", o.Reason, "remote", r.RemoteAddr)
	st, err := s.c.Queue.Begin(r.Context(), a)
	if err != nil {
		log.Error("queue action not begun", "error", err)
		s.queueFailed(w, r, err)
		return
	}
	log.Info("queue action begins", "id", st.ID)
	if o.Detach {
		answer(w, http.StatusOK, s.progress(st))
		return
	}
	s.follow(w, r, st.ID)
}

// follow answers with an action's progress until it has ended.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, id string) {
	out := newLines(w)
	st, err := s.c.Queue.Follow(r.Context(), id, func(st ActionState) {
		p := s.progress(st)
		p.Final = false // the last line alone is
		out.line(p)
	})
	if r.Context().Err() != nil {
		return // whoever asked has gone; it goes on
	}
	p := s.progress(st)
	log := s.c.Log.With("id", id, "action", string(st.Verb), "matched", p.Matched, "changed", p.Changed, "unchanged", p.Unchanged, "busy", p.Busy)
	if err != nil {
		log.Error("queue action cannot be followed", "error", err)
		p.Error = fmt.Sprintf("it cannot be followed any longer: %v; it goes on, see `tarishi queue actions ls`", err)
		p.ID, p.Final = id, true
	} else {
		log.Info("queue action ended", "state", st.State)
	}
	out.line(p)
}

// progress is an action's state on the wire.
func (s *Server) progress(st ActionState) Progress {
	now := s.c.Now()
	p := Progress{
		ID: st.ID, Action: st.Verb, Filter: st.Filter.String(), Author: st.Author, Reason: st.Reason, Begun: utc(st.At), State: st.State,
		Matched: st.Matched, Changed: st.Changed, Unchanged: st.Unchanged, Busy: st.Busy, Ordered: st.Ordered, Planned: st.Planned, AtLeast: st.AtLeast,
		Share: st.Share, Expected: st.Expected, Ended: utc(st.Ended), Cancelled: st.Cancelled, Error: st.Error,
		Final: st.State != "" && st.State != "running",
	}
	if st.Waits > 0 && p.Error == "" {
		p.Error = fmt.Sprintf("%d of the waiting mail's partitions are held by no node just now; it goes on when one does: see that a deliverer runs", st.Waits)
	}
	end := now
	if !st.Ended.IsZero() {
		end = st.Ended
	}
	took := end.Sub(st.At)
	if took > 0 && !st.At.IsZero() {
		p.Rate = float64(p.Changed+p.Unchanged) / took.Seconds()
		if !p.Final && st.Share > 0.001 {
			p.Left = int64((took.Seconds() + 0.5) * (1 - st.Share) / st.Share)
		}
	}
	return p
}

// listActions is GET /v1/queue/actions.
func (s *Server) listActions(w http.ResponseWriter, r *http.Request) {
	if err := known(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	list, err := s.c.Queue.Actions(r.Context())
	if err != nil {
		s.queueFailed(w, r, err)
		return
	}
	out := ActionsList{Now: utc(s.c.Now()), Actions: []Progress{}}
	for _, st := range list {
		out.Actions = append(out.Actions, s.progress(st))
	}
	answer(w, http.StatusOK, out)
}

// showAction is GET /v1/queue/actions/{id}, and with /progress a line now and then
// until it has ended.
func (s *Server) showAction(w http.ResponseWriter, r *http.Request) {
	st, ok := s.actionOf(w, r)
	if ok {
		answer(w, http.StatusOK, s.progress(st))
	}
}

func (s *Server) watchAction(w http.ResponseWriter, r *http.Request) {
	if st, ok := s.actionOf(w, r); ok {
		s.follow(w, r, st.ID)
	}
}

// actionOf reads which action is meant.
func (s *Server) actionOf(w http.ResponseWriter, r *http.Request) (ActionState, bool) {
	id := strings.ToUpper(r.PathValue("id"))
	st, err := s.c.Queue.Action(r.Context(), id)
	switch {
	case errors.Is(err, ErrNoAction):
		fail(w, http.StatusNotFound, fmt.Sprintf("there is no action %.40q; see `tarishi queue actions ls`", id))
	case err != nil:
		s.queueFailed(w, r, err)
	default:
		return st, true
	}
	return st, false
}

// cancelAction is POST /v1/queue/actions/{id}/cancel.
func (s *Server) cancelAction(w http.ResponseWriter, r *http.Request) {
	var o struct{ Author string }
	err := strictObject(w, r, `{"author":"you"}`, []string{"author"}, []string{"author"}, &o)
	if err == nil {
		err = checkPerson(&o.Author, "")
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	st, ok := s.actionOf(w, r)
	if !ok {
		return
	}
	err = s.c.Queue.Cancel(r.Context(), st.ID, o.Author)
	switch {
	case errors.Is(err, ErrEnded):
		fail(w, http.StatusConflict, fmt.Sprintf("the action %s has ended already; what it did stays done", st.ID))
		return
	case err != nil:
		s.queueFailed(w, r, err)
		return
	}
	s.c.Log.Info("queue action cancelled", "id", st.ID, "author", o.Author, "remote", r.RemoteAddr)
	if now, err := s.c.Queue.Action(context.WithoutCancel(r.Context()), st.ID); err == nil {
		st = now
	}
	answer(w, http.StatusOK, s.progress(st))
}

func (s *Server) siteFailed(w http.ResponseWriter, r *http.Request, err error) {
	var unknown *unknownSite
	if errors.As(err, &unknown) {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if r.Context().Err() == nil {
		fail(w, http.StatusServiceUnavailable, err.Error())
	}
}

// ParseVerb reads a verb.
func ParseVerb(s string) (Verb, bool) {
	v := Verb(s)
	return v, slices.Contains(Verbs, v)
}
