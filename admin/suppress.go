package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp"
)

// Suppressions is the operator's side of the list of those who are sent nothing.
type Suppressions interface {
	// Canonical is the address as the list has it.
	Canonical(a mail.Address) string
	// Add puts entries on the list, each in place of the one of its address and tenant.
	Add(ctx context.Context, list []Suppression) error
	// Remove tells whether there was one.
	Remove(ctx context.Context, canonical, tenant string) (bool, error)
	// Check finds the entry that keeps a tenant's mail from an address.
	Check(ctx context.Context, a mail.Address, tenant string) (Suppression, bool, error)
	// Page returns up to most entries behind a place, and the place behind them; 0: there
	// are no more. A page may be short, or empty, and others follow.
	Page(ctx context.Context, f SuppressionFilter, after uint64, most int) ([]Suppression, uint64, error)
	// Count is about how many entries there are, and whether all have been counted yet.
	Count() (n int, all bool)
}

// SuppressionFilter says which entries are meant; every field that is set must match.
type SuppressionFilter struct {
	Global bool // only those that concern everybody's mail
	Tenant string
	Prefix string // how the address begins; "@example.net": its domain
	Reason string // occurs in the reason
	Source string
}

// withSuppressions lets a request through where there is a list.
func (s *Server) withSuppressions(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.c.Suppressions == nil {
			fail(w, http.StatusServiceUnavailable, "this node has no suppression list")
			return
		}
		h(w, r)
	}
}

// listSuppressions is GET /v1/suppress.
func (s *Server) listSuppressions(w http.ResponseWriter, r *http.Request) {
	err := known(r, "max", "after", "global", "tenant", "prefix", "reason", "source")
	most, err2 := rows(r)
	q := r.URL.Query()
	f := SuppressionFilter{Tenant: q.Get("tenant"), Prefix: q.Get("prefix"), Reason: q.Get("reason"), Source: q.Get("source")}
	var err3, err4 error
	switch q.Get("global") {
	case "", "false":
	case "true":
		if f.Global = true; f.Tenant != "" {
			err3 = errors.New("global entries concern no tenant; leave one of the two out")
		}
	default:
		err3 = fmt.Errorf("global is true or false, not %q", q.Get("global"))
	}
	var after uint64
	if a := q.Get("after"); a != "" {
		if after, err4 = strconv.ParseUint(a, 10, 64); err4 != nil {
			err4 = fmt.Errorf("after is the next of an answer, not %q", a)
		}
	}
	if err := errors.Join(err, err2, err3, err4); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	list, next, err := s.c.Suppressions.Page(r.Context(), f, after, most)
	if err != nil {
		s.suppressionsFailed(w, r, err)
		return
	}
	v := SuppressionsList{Now: utc(s.c.Now()), Entries: append([]Suppression{}, list...)}
	v.Count, v.Counted = s.c.Suppressions.Count()
	if next != 0 {
		v.Next = strconv.FormatUint(next, 10)
	}
	answer(w, http.StatusOK, v)
}

// checkSuppression is GET /v1/suppress/check?address=…: may mail go there?
func (s *Server) checkSuppression(w http.ResponseWriter, r *http.Request) {
	if err := known(r, "address", "tenant"); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	q := r.URL.Query()
	a, err := parseAddress(q.Get("address"))
	if err == nil {
		err = checkTenant(q.Get("tenant"))
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	e, found, err := s.c.Suppressions.Check(r.Context(), a, q.Get("tenant"))
	if err != nil {
		s.suppressionsFailed(w, r, err)
		return
	}
	v := SuppressionCheck{Address: s.c.Suppressions.Canonical(a), Suppressed: found}
	if found {
		v.Entry = &e
	}
	answer(w, http.StatusOK, v)
}

// mostEntries bounds one import; a longer list comes in several.
const mostEntries = 5000

// maxSuppressOrder has room for as many entries, with a reason each.
const maxSuppressOrder = 8 << 20

// addSuppressions is POST /v1/suppress/add. What is wrong with one entry keeps only
// that one off the list, and the answer says so.
func (s *Server) addSuppressions(w http.ResponseWriter, r *http.Request) {
	o, err := readSuppressOrder(w, r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	now := s.c.Now()
	var v SuppressAnswer
	list := make([]Suppression, 0, len(o.Entries))
	for i, e := range o.Entries {
		x, err := s.entry(e, o.Author, now)
		if err != nil {
			v.Bad = append(v.Bad, BadEntry{Index: i, Address: e.Address, Error: err.Error()})
			continue
		}
		list = append(list, x)
	}
	if len(list) > 0 {
		if err := s.c.Suppressions.Add(r.Context(), list); err != nil {
			s.suppressionsFailed(w, r, err)
			return
		}
	}
	v.Changed = len(list)
	// How many, not who: addresses are in the log only where mail of theirs is.
	s.c.Log.Info("entries put on the suppression list", "count", len(list), "refused", len(v.Bad), "author", o.Author, "remote", r.RemoteAddr)
	answer(w, http.StatusOK, v)
}

// removeSuppressions is POST /v1/suppress/rm.
func (s *Server) removeSuppressions(w http.ResponseWriter, r *http.Request) {
	o, err := readSuppressOrder(w, r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var v SuppressAnswer
	for i, e := range o.Entries {
		a, err := parseAddress(e.Address)
		if err == nil {
			err = checkTenant(e.Tenant)
		}
		if err != nil {
			v.Bad = append(v.Bad, BadEntry{Index: i, Address: e.Address, Error: err.Error()})
			continue
		}
		gone, err := s.c.Suppressions.Remove(r.Context(), s.c.Suppressions.Canonical(a), e.Tenant)
		if err != nil {
			s.suppressionsFailed(w, r, err)
			return
		}
		if gone {
			v.Changed++
		}
	}
	s.c.Log.Info("entries taken off the suppression list", "count", v.Changed, "asked", len(o.Entries), "author", o.Author, "remote", r.RemoteAddr)
	answer(w, http.StatusOK, v)
}

func (s *Server) suppressionsFailed(w http.ResponseWriter, r *http.Request, err error) {
	s.c.Log.Warn("the suppression list does not answer", "path", r.URL.Path, "error", err)
	fail(w, http.StatusServiceUnavailable, "the suppression list does not answer: "+err.Error())
}

// readSuppressOrder reads the body of a POST.
func readSuppressOrder(w http.ResponseWriter, r *http.Request) (o SuppressOrder, err error) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSuppressOrder))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		return o, fmt.Errorf(`the order is not understood: %w; it looks like {"entries":[{"address":"u@example.net","reason":"asked"}],"author":"you"}`, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return o, errors.New("something follows the order; send one JSON object and nothing else")
	}
	switch n := len(o.Entries); {
	case n == 0:
		return o, errors.New("no entries; give at least one, with its address")
	case n > mostEntries:
		return o, fmt.Errorf("%d entries; give up to %d at a time", n, mostEntries)
	}
	if err := checkWho(o.Author, ""); err != nil {
		return o, err
	}
	if o.Author == "" {
		o.Author = unnamed
	}
	return o, nil
}

// entry checks one entry of an order and completes it.
func (s *Server) entry(e SuppressEntry, author string, now time.Time) (x Suppression, err error) {
	a, err := parseAddress(e.Address)
	if err != nil {
		return x, err
	}
	x = Suppression{
		Address: s.c.Suppressions.Canonical(a), Tenant: e.Tenant, Reason: e.Reason, Class: e.Class, Source: e.Source,
		Event: e.Event, Author: author, At: utc(now),
	}
	if x.Source == "" {
		x.Source = "api"
	}
	if !e.At.IsZero() && e.At.Before(now) {
		x.At = utc(e.At) // brought from elsewhere
	}
	if e.Author != "" {
		x.Author = e.Author
	}
	switch {
	case !slices.Contains([]string{"api", "operator", "bounce"}, x.Source):
		return x, fmt.Errorf("source %q; it is api, operator or bounce", e.Source)
	case !oneLineOf(x.Reason, 400), !oneLineOf(x.Class, 64), !oneLineOf(x.Event, 100), !oneLineOf(x.Author, maxAuthor):
		return x, errors.New("reason (400 characters), class, event and author are each one line")
	}
	if err := checkTenant(e.Tenant); err != nil {
		return x, err
	}
	if x.Expires, err = parseExpiry(e.Expires, now); err != nil {
		return x, err
	}
	return x, nil
}

// parseAddress reads a mailbox.
func parseAddress(s string) (mail.Address, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return mail.Address{}, errors.New("the address is missing")
	}
	a, err := smtp.ParseMailbox(s)
	if err != nil {
		return a, fmt.Errorf("%.100q is no address: %w", s, err)
	}
	return a, nil
}

func checkTenant(s string) error {
	if s != "" && !mail.ValidTenant(s) {
		return fmt.Errorf("%.100q is no name of a tenant", s)
	}
	return nil
}

func oneLineOf(s string, most int) bool {
	return len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// parseExpiry reads a time, a day, or for how long; empty: for ever.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t, err = time.Parse(time.DateOnly, s)
	}
	if err != nil {
		n, err := strconv.Atoi(strings.TrimRight(s, "dhm"))
		unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[strings.TrimLeft(s, "0123456789")]
		if err != nil || unit == 0 || n <= 0 || n > 10_000_000 {
			return t, fmt.Errorf("expires %.60q is neither a time (2027-01-31T12:00:00Z), a day (2027-01-31) nor how long (90d)", s)
		}
		t = now.Add(time.Duration(n) * unit)
	}
	if !t.After(now) {
		return t, fmt.Errorf("expires %.60q lies in the past", s)
	}
	return utc(t), nil
}
