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
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// diffVerb asks what an apply would do; it changes nothing.
const diffVerb LimitVerb = "diff"

// limitKeys are the keys an order of each verb may have, besides author, reason and base.
var limitKeys = map[LimitVerb][]string{
	SetLimit: {"rule"}, UnsetLimit: {"to", "per", "fields", "shadow"}, ApplyLimits: {"rules"},
	SuspendLimit: {"to", "for"}, ResumeLimit: {"to"}, RollbackLimit: {"version"}, diffVerb: {"rules"},
}

// maxLimitOrder has room for as many rules as a Book has.
const maxLimitOrder = 8 << 20

// readLimitOrder reads the body of a POST and makes a change of it.
func (s *Server) readLimitOrder(w http.ResponseWriter, r *http.Request, v LimitVerb) (shaping.Change, error) {
	var c shaping.Change
	var keys map[string]json.RawMessage
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxLimitOrder))
	if err := dec.Decode(&keys); err != nil {
		return c, fmt.Errorf(`the order is not understood: %w; it looks like {"rule":{"to":"example.org","connections":5},"author":"you"}`, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("something follows the order; send one JSON object and nothing else")
	}
	allowed := append([]string{"author", "reason", "base"}, limitKeys[v]...)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(allowed, k) {
			return c, fmt.Errorf("%s takes no %q; it takes %s", v, k, strings.Join(allowed, ", "))
		}
	}
	if need := limitKeys[v][0]; keys[need] == nil {
		return c, fmt.Errorf("%s needs %q", v, need)
	}
	var o LimitOrder
	whole, err := json.Marshal(keys)
	if err != nil {
		return c, err
	}
	strict := json.NewDecoder(strings.NewReader(string(whole)))
	strict.DisallowUnknownFields() // a misspelt key of a rule must not widen it
	if err := strict.Decode(&o); err != nil {
		return c, fmt.Errorf("the order is not understood: %w", err)
	}
	if err := checkWho(o.Author, o.Reason); err != nil {
		return c, err
	}
	if o.Author == "" {
		o.Author = unnamed
	}
	c = shaping.Change{
		Op: shaping.Op(v), Author: o.Author, At: utc(s.c.Now()), Reason: o.Reason, Base: o.Base,
		Rule: o.Rule, To: strings.TrimSpace(o.To), Per: o.Per, Fields: o.Fields, Shadow: o.Shadow, Rules: o.Rules, Version: o.Version,
	}
	if v == diffVerb {
		c.Op = shaping.OpApply
	}
	if o.For != "" {
		d, err := shaping.ParseLength(o.For)
		if err != nil || d < time.Second {
			return c, fmt.Errorf("for %.40q is no length of time; write one such as 30m, 2h or 1d", o.For)
		}
		c.Until = c.At.Add(d)
	}
	return c, nil
}

// unnamed is the author of what nobody put his name to.
const unnamed = "someone unnamed"

// checkWho bounds what people say of themselves and their reasons.
func checkWho(author, reason string) error {
	for _, t := range []struct {
		name, text string
		max        int
	}{{"author", author, maxAuthor}, {"reason", reason, maxReason}} {
		if len(t.text) > t.max || !oneLine(t.text) {
			return fmt.Errorf("the %s must be one line of at most %d octets of printable UTF-8", t.name, t.max)
		}
	}
	return nil
}

// rehearse makes the change of an order on the present Book, so that a bad one is
// refused at once, and tells it in words. The one that counts is made by the leader.
func (s *Server) rehearse(ctx context.Context, c shaping.Change) (was, next *shaping.Book, what string, err error) {
	if was, err = s.c.Limits.Book(ctx); err != nil {
		return nil, nil, "", err
	}
	if next, err = was.Apply(c); err != nil {
		return nil, nil, "", err
	}
	if next != was {
		what = next.History[len(next.History)-1].What
	}
	return was, next, what, nil
}

// diffLimits is POST /v1/limits/diff.
func (s *Server) diffLimits(w http.ResponseWriter, r *http.Request) {
	c, err := s.readLimitOrder(w, r, diffVerb)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	was, next, _, err := s.rehearse(r.Context(), c)
	if err != nil {
		s.changeFailed(w, r, err)
		return
	}
	out := LimitDiff{Version: was.Version, Differences: shaping.Diff(was.Set, next.Set)}
	if out.Differences == nil {
		out.Differences = []shaping.Difference{}
	}
	answer(w, http.StatusOK, out)
}

// changeLimits is POST /v1/limits/<verb>.
func (s *Server) changeLimits(w http.ResponseWriter, r *http.Request, v LimitVerb) {
	c, err := s.readLimitOrder(w, r, v)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	s.change(w, r, string(v), c)
}

// change makes a change of the limits. It answers with one JSON line as soon as it is
// made, one whenever the nodes it still waits for are others, and a final one when
// none is left. A client that goes away changes nothing of it.
func (s *Server) change(w http.ResponseWriter, r *http.Request, verb string, c shaping.Change) {
	ctx := r.Context()
	log := s.c.Log.With("change", verb, "author", c.Author, "reason", c.Reason, "remote", r.RemoteAddr)
	_, _, what, err := s.rehearse(ctx, c)
	var version uint64
	if err == nil {
		version, err = s.c.Limits.Change(ctx, c)
	}
	if err != nil {
		log.Info("limits not changed", "error", err)
		s.changeFailed(w, r, err)
		return
	}
	log.Info("limits changed", "version", version, "what", what)

	// Lines come from here alone: InForce calls back on a goroutine of its own.
	lines := make(chan LimitProgress)
	go func() {
		p := LimitProgress{Version: version, What: what, Final: true}
		since, err := s.c.Limits.InForce(ctx, version, func(ls []Laggard) {
			select {
			case lines <- LimitProgress{Version: version, What: what, Waiting: sortedLaggards(ls)}:
			case <-ctx.Done():
			}
		})
		p.Since = utc(since)
		if err != nil {
			p.Since, p.Error = time.Time{}, fmt.Sprintf("version %d is made, but not known to be in force on every node: %v; a node that does not work by it stops within half a minute", version, err)
		}
		select {
		case lines <- p:
		case <-ctx.Done():
		}
	}()
	out := newLines(w)
	out.line(LimitProgress{Version: version, What: what})
	for {
		select {
		case p := <-lines:
			out.line(p)
			if p.Final {
				log.Info("limits in force", "version", version, "since", p.Since, "error", p.Error)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func sortedLaggards(ls []Laggard) []Laggard {
	out := slices.Clone(ls)
	slices.SortFunc(out, func(a, b Laggard) int { return strings.Compare(a.Node, b.Node) })
	for i := range out {
		out[i].Until = utc(out[i].Until)
	}
	return out
}

// changeFailed answers for a change that was not made, or perhaps was.
func (s *Server) changeFailed(w http.ResponseWriter, r *http.Request, err error) {
	var refused *shaping.RefusedError
	switch {
	case errors.As(err, &refused):
		fail(w, http.StatusBadRequest, refused.Error())
	case errors.Is(err, ErrUnknown):
		fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%v; see /v1/limits/history before asking again", err))
	default:
		s.limitsFailed(w, r, err)
	}
}
