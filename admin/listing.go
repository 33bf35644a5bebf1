package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Bounds of a listing: the default, and the most that one answer holds. Every
// delivery shown is read from the store, so a listing is no way to copy a queue.
const (
	defaultRows = 100
	maxRows     = 1000
)

// rows reads ?max=.
func rows(r *http.Request) (int, error) {
	s := r.URL.Query().Get("max")
	if s == "" {
		return defaultRows, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxRows {
		return 0, fmt.Errorf("max=%.20s is out of range; give a number from 1 to %d", s, maxRows)
	}
	return n, nil
}

// known refuses query parameters that mean nothing here: a misspelt filter must
// not widen a listing.
func known(r *http.Request, names ...string) error {
next:
	for k := range r.URL.Query() {
		for _, n := range names {
			if k == n {
				continue next
			}
		}
		return fmt.Errorf("%s takes no parameter %q; it takes %v", r.URL.Path, k, names)
	}
	return nil
}

// listLanes is GET /v1/queue.
func (s *Server) listLanes(w http.ResponseWriter, r *http.Request) {
	err := known(r, "max")
	max, err2 := rows(r)
	for _, e := range []error{err, err2} {
		if e != nil {
			fail(w, http.StatusBadRequest, e.Error())
			return
		}
	}
	o, at, err := s.lanes.get(r.Context())
	if err != nil {
		s.queueFailed(w, r, err)
		return
	}
	out := Lanes{
		Now: utc(at), Lanes: []Lane{}, Destinations: o.Destinations,
		Ready: o.Ready, Waiting: o.Waiting, Held: o.Held, Active: o.Active, ReadySorted: o.ReadySorted,
	}
	for _, l := range o.Lanes[:min(max, len(o.Lanes))] {
		out.Lanes = append(out.Lanes, wireLane(l))
	}
	s.markShut(r.Context(), out.Lanes)
	answer(w, http.StatusOK, out)
}

// findFor bounds how long one page of a listing is looked for. What is looked for may
// stand at the end of millions.
const findFor = 2 * time.Second

// selectionOf reads a Selection from a query.
func selectionOf(r *http.Request) (sel Selection, err error) {
	q := r.URL.Query()
	for k, p := range map[string]*string{"id": &sel.ID, "destination": &sel.Destination, "site": &sel.Site, "sender": &sel.Sender,
		"recipient": &sel.Recipient, "tenant": &sel.Tenant, "class": &sel.Class, "bounce": &sel.Bounce, "reply": &sel.Reply,
		"older": &sel.Older, "younger": &sel.Younger} {
		*p = q.Get(k)
	}
	for k, p := range map[string]**int{"min_attempts": &sel.MinAttempts, "max_attempts": &sel.MaxAttempts} {
		if s := q.Get(k); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil {
				return sel, fmt.Errorf("%s=%.20s is no number", k, s)
			}
			*p = &n
		}
	}
	for k, set := range map[string]func(bool){"held": func(b bool) { sel.Held = &b }, "all": func(b bool) { sel.All = b }} {
		if s := q.Get(k); s != "" {
			b, err := strconv.ParseBool(s)
			if err != nil {
				return sel, fmt.Errorf("%s=%.20s is neither true nor false", k, s)
			}
			set(b)
		}
	}
	return sel, nil
}

// findMessages is GET /v1/queue/messages.
func (s *Server) findMessages(w http.ResponseWriter, r *http.Request) {
	err := known(r, append([]string{"max", "after"}, selectionKeys...)...)
	max, err2 := rows(r)
	sel, err3 := selectionOf(r)
	f, err4 := sel.Filter(s.c.Now())
	for _, e := range []error{err, err2, err3, err4} {
		if e != nil {
			fail(w, http.StatusBadRequest, e.Error())
			return
		}
	}
	if err := s.site(r.Context(), &f); err != nil {
		s.siteFailed(w, r, err)
		return
	}
	found, err := s.c.Queue.Find(r.Context(), f, Page{Max: max, After: r.URL.Query().Get("after"), For: findFor})
	if errors.Is(err, ErrPage) {
		fail(w, http.StatusBadRequest, "after is no place in a listing; give what `next` of the page before says")
		return
	}
	if err != nil {
		s.queueFailed(w, r, err)
		return
	}
	out := Messages{Now: utc(s.c.Now()), Messages: []Delivery{}, More: found.Next != "", Next: found.Next, Unfinished: !found.Looked}
	for _, e := range found.Entries {
		out.Messages = append(out.Messages, wireDelivery(e))
	}
	answer(w, http.StatusOK, out)
}

// summary is GET /v1/queue/summary.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	if err := known(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	x, err := s.c.Queue.Summary(r.Context())
	if err != nil {
		s.queueFailed(w, r, err)
		return
	}
	out := QueueSummary{
		Now: utc(s.c.Now()), Ready: x.Ready, Waiting: x.Waiting, Held: x.Held, Active: x.Active,
		Destinations: x.Destinations, Lines: x.Lines, Tenants: x.Tenants, Classes: map[string]int64{}, Due: []DueLine{},
	}
	if out.Tenants == nil {
		out.Tenants = map[string]int64{}
	}
	for c, n := range x.Classes {
		out.Classes[c.String()] = n
	}
	for _, d := range x.Due {
		l := DueLine{Count: d.Count}
		if d.Within >= 0 {
			l.Within = d.Within.String()
		}
		out.Due = append(out.Due, l)
	}
	answer(w, http.StatusOK, out)
}

// doubts is GET /v1/queue/doubts.
func (s *Server) doubts(w http.ResponseWriter, r *http.Request) {
	found, err := s.c.Queue.Doubts(r.Context())
	if err != nil {
		s.queueFailed(w, r, err)
		return
	}
	out := Doubts{Now: utc(s.c.Now()), Doubts: []DoubtLine{}}
	for _, d := range found {
		out.Doubts = append(out.Doubts, wireDoubt(d))
	}
	answer(w, http.StatusOK, out)
}

// body is GET /v1/queue/messages/{id}/body: the octets as they will be sent.
// ?part=headers stops after the empty line that ends the header block.
func (s *Server) body(w http.ResponseWriter, r *http.Request) {
	f, err := Selection{ID: r.PathValue("id")}.Filter(s.c.Now())
	part := r.URL.Query().Get("part")
	if err == nil && part != "" && part != "headers" {
		err = fmt.Errorf("there is no part %.20q; leave it out for everything, or say part=headers", part)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	b, err := s.c.Queue.Open(r.Context(), f.ID)
	if errors.Is(err, ErrNotFound) {
		fail(w, http.StatusNotFound, fmt.Sprintf("nothing of id %s is queued; it was delivered, bounced or removed, or never came here", f.ID))
		return
	}
	if err != nil {
		s.queueFailed(w, r, err)
		return
	}
	defer func() { _ = b.Close() }() // read only: nothing to lose
	var src io.Reader = b
	if part == "headers" {
		src = newHeaderReader(b)
	}
	// The first octets are read before the status is sent, so that a body that
	// cannot be read at all is an error and not an empty message.
	buf := make([]byte, 32<<10)
	n, err := src.Read(buf)
	if err != nil && err != io.EOF {
		s.queueFailed(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "message/rfc822")
	h.Set("Content-Disposition", "attachment") // a stranger's HTML is never shown under our origin
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	for {
		extend(w)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			s.c.Log.Error("stored message cannot be read to its end", "id", f.ID, "error", err)
			panic(http.ErrAbortHandler) // a cut connection, never a body that looks whole
		}
		n, err = src.Read(buf)
	}
}

// headerReader passes on the header block of a message and the empty line that
// ends it.
type headerReader struct {
	r    io.Reader
	tail int // how much of LF CR LF the last octets made: 0, 1 (LF), 2 (LF CR)
	done bool
}

func newHeaderReader(r io.Reader) *headerReader {
	return &headerReader{r: r, tail: 1} // the first line may be the empty one
}

func (h *headerReader) Read(p []byte) (int, error) {
	if h.done {
		return 0, io.EOF
	}
	n, err := h.r.Read(p)
	for i, c := range p[:n] {
		switch {
		case c == '\n' && h.tail > 0:
			h.done = true
			return i + 1, io.EOF
		case c == '\n':
			h.tail = 1
		case c == '\r' && h.tail == 1:
			h.tail = 2
		default:
			h.tail = 0
		}
	}
	return n, err
}

func (s *Server) queueFailed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	s.c.Log.Error("queue did not answer the operator", "path", r.URL.Path, "error", err)
	fail(w, http.StatusServiceUnavailable, fmt.Sprintf("the queue could not answer: %v; see /readyz", err))
}
