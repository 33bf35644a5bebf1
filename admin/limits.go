package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// withLimits lets a request through where limits can be asked for.
func (s *Server) withLimits(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.c.Limits == nil {
			fail(w, http.StatusServiceUnavailable, "this node cannot ask who keeps the limits; ask one with the scheduler or deliverer role")
			return
		}
		h(w, r)
	}
}

// liveList is what is shared among those who look at the same time.
type liveList struct {
	live  []LiveLimit
	total int
}

// askLive asks for the busiest limits and names whom each is about.
func askLive(ctx context.Context, l Limits) (liveList, error) {
	live, total, err := l.Live(ctx, maxRows)
	for i := range live {
		x := &live[i]
		var d shaping.Destination
		_, d, x.Source, x.Tenant = shaping.SplitCounter(x.Counter)
		x.Destination, x.Next = d.String(), utc(x.Next)
	}
	return liveList{live, total}, err
}

// listLimits is GET /v1/limits.
func (s *Server) listLimits(w http.ResponseWriter, r *http.Request) {
	err := known(r, "max")
	max, err2 := rows(r)
	if err = errors.Join(err, err2); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	b, err := s.c.Limits.Book(r.Context())
	if err != nil {
		s.limitsFailed(w, r, err)
		return
	}
	l, at, err := s.live.get(r.Context())
	if err != nil {
		s.limitsFailed(w, r, err)
		return
	}
	out := LimitsList{
		Now: utc(at), Version: b.Version, Rules: []LimitRule{}, Destinations: b.Destinations, Total: l.total,
		Reactions:   len(b.Reactions),
		Suspensions: append([]shaping.Suspension{}, b.Suspensions...),
		Live:        append([]LiveLimit{}, l.live[:min(max, len(l.live))]...),
	}
	for _, x := range []struct {
		layer shaping.Layer
		rules []shaping.Rule
	}{{shaping.LayerSet, b.Set}, {shaping.LayerFile, b.File}} {
		for _, rule := range x.rules {
			out.Rules = append(out.Rules, LimitRule{rule, x.layer})
		}
	}
	answer(w, http.StatusOK, out)
}

// explainLimits is GET /v1/limits/explain?domain=…: what bounds mail to a domain,
// and why. mx names the hosts to assume instead of those that DNS gives.
func (s *Server) explainLimits(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if err := known(r, "domain", "mx", "source", "tenant"); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	b, err := s.c.Limits.Book(r.Context())
	if err != nil {
		s.limitsFailed(w, r, err)
		return
	}
	t, err := b.Table()
	if err != nil {
		s.limitsFailed(w, r, err)
		return
	}
	domain := strings.TrimSpace(q.Get("domain"))
	// Asked first without its hosts, so that nobody is looked up who is no domain.
	if _, err := t.Explain(domain, nil, "", ""); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var note string
	mx := strings.FieldsFunc(q.Get("mx"), func(r rune) bool { return r == ',' || r == ' ' })
	if _, named := b.Destinations[domain]; !named && len(mx) == 0 {
		if mx, err = s.c.Limits.MX(r.Context(), mail.CanonicalDomain(domain)); err != nil {
			note = fmt.Sprintf("its MX could not be looked up (%v); the answer is for a domain without MX", err)
		}
	}
	e, err := t.Explain(domain, mx, strings.TrimSpace(q.Get("source")), strings.TrimSpace(q.Get("tenant")))
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if note != "" {
		e.Notes = append(e.Notes, note)
	}
	answer(w, http.StatusOK, LimitExplanation{Now: utc(s.c.Now()), Explanation: e, Defaults: s.c.Defaults})
}

// limitHistory is GET /v1/limits/history.
func (s *Server) limitHistory(w http.ResponseWriter, r *http.Request) {
	err := known(r, "max")
	max, err2 := rows(r)
	if err = errors.Join(err, err2); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	b, err := s.c.Limits.Book(r.Context())
	if err != nil {
		s.limitsFailed(w, r, err)
		return
	}
	out := LimitHistory{Now: utc(s.c.Now()), Version: b.Version, Oldest: b.Version, More: len(b.History) > max}
	if len(b.History) > 0 {
		out.Oldest = b.History[0].Version - 1
	}
	out.Entries = append([]shaping.Entry{}, b.History[len(b.History)-min(max, len(b.History)):]...)
	slices.Reverse(out.Entries)
	answer(w, http.StatusOK, out)
}

// limitsFailed answers when nobody who knows could be asked.
func (s *Server) limitsFailed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	s.c.Log.Error("limits could not be asked for", "path", r.URL.Path, "error", err)
	fail(w, http.StatusServiceUnavailable, fmt.Sprintf("the limits could not be asked for: %v; see /v1/nodes", err))
}
