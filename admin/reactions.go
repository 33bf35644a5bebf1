package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// ReactionsList answers GET /v1/reactions.
type ReactionsList struct {
	Now       time.Time      `json:"now"`
	Version   uint64         `json:"version"`   // of the limits
	Reactions []ReactionLine `json:"reactions"` // oldest first
}

// ReactionLine is one reaction, and what it does in words.
type ReactionLine struct {
	shaping.Reaction
	Whom string `json:"whom"`
	What string `json:"what"`
}

// ReactionVerb is an operator's verb for reactions.
type ReactionVerb string

// The verbs.
const (
	AddReaction   ReactionVerb = "add"
	UndoReactions ReactionVerb = "undo"
)

// ReactionOrder is the body of POST /v1/reactions/<verb>. It is answered as a
// LimitOrder is.
type ReactionOrder struct {
	To     string   `json:"to,omitempty"`     // add: a domain, or a destination that is defined
	MX     []string `json:"mx,omitempty"`     // add: its hosts; absent: those that DNS gives
	Source string   `json:"source,omitempty"` // add, with a remedy per source
	Tenant string   `json:"tenant,omitempty"` // add, with a remedy per tenant
	Remedy string   `json:"remedy,omitempty"` // add: "slow 0.5 for 2h"
	IDs    []uint64 `json:"ids,omitempty"`    // undo
	Author string   `json:"author,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

// listReactions is GET /v1/reactions.
func (s *Server) listReactions(w http.ResponseWriter, r *http.Request) {
	if err := known(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	b, err := s.c.Limits.Book(r.Context())
	if err != nil {
		s.limitsFailed(w, r, err)
		return
	}
	out := ReactionsList{Now: utc(s.c.Now()), Version: b.Version, Reactions: make([]ReactionLine, len(b.Reactions))}
	for i, x := range b.Reactions {
		out.Reactions[i] = ReactionLine{x, x.Whom(), x.What()}
	}
	answer(w, http.StatusOK, out)
}

// changeReactions is POST /v1/reactions/<verb>.
func (s *Server) changeReactions(w http.ResponseWriter, r *http.Request, v ReactionVerb) {
	o, err := readReactionOrder(w, r, v)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	c := shaping.Change{Op: shaping.OpUndo, Author: o.Author, At: utc(s.c.Now()), Reason: o.Reason, IDs: o.IDs}
	if v == AddReaction {
		t, err := s.trigger(r, o)
		var refused *shaping.RefusedError
		switch {
		case errors.As(err, &refused):
			fail(w, http.StatusBadRequest, err.Error())
			return
		case err != nil:
			s.limitsFailed(w, r, err)
			return
		}
		c.Op, c.Triggers = shaping.OpReact, []shaping.Trigger{t}
	}
	s.change(w, r, "reactions "+string(v), c)
}

func readReactionOrder(w http.ResponseWriter, r *http.Request, v ReactionVerb) (o ReactionOrder, err error) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		return o, fmt.Errorf(`the order is not understood: %w; it looks like {"to":"example.org","remedy":"slow 0.5 for 2h","author":"you"} or {"ids":[7],"author":"you"}`, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return o, errors.New("something follows the order; send one JSON object and nothing else")
	}
	add := o.To != "" || o.Remedy != "" || o.Source != "" || o.Tenant != "" || len(o.MX) > 0
	switch {
	case v == AddReaction && (o.To == "" || o.Remedy == ""):
		return o, errors.New(`add needs "to" and "remedy"`)
	case v == AddReaction && len(o.IDs) > 0:
		return o, errors.New(`add takes no "ids"`)
	case v == UndoReactions && (add || len(o.IDs) == 0):
		return o, errors.New(`undo needs "ids", and takes "author" and "reason" besides`)
	}
	if err := checkWho(o.Author, o.Reason); err != nil {
		return o, err
	}
	if o.Author == "" {
		o.Author = unnamed
	}
	return o, nil
}

// trigger finds whom an operator's reaction is about.
func (s *Server) trigger(r *http.Request, o ReactionOrder) (t shaping.Trigger, err error) {
	t = shaping.Trigger{Cause: o.Reason, Source: strings.TrimSpace(o.Source), Tenant: strings.TrimSpace(o.Tenant)}
	if t.Remedy, err = shaping.ParseRemedy(o.Remedy); err != nil {
		return t, err
	}
	for _, x := range []struct {
		name, value string
		per         shaping.Per
	}{{"source", t.Source, shaping.Source}, {"tenant", t.Tenant, shaping.Tenant}} {
		if counts := t.Remedy.Per&x.per != 0; counts != (x.value != "") {
			return t, &shaping.RefusedError{Field: x.name, What: "a remedy per " + x.name + " goes with one, and no other does", Mend: fmt.Sprintf("give both or neither of %q and \"per %s\"", x.name, x.name)}
		}
	}
	b, err := s.c.Limits.Book(r.Context())
	if err != nil {
		return t, err
	}
	table, err := b.Table()
	if err != nil {
		return t, err
	}
	to := strings.TrimSpace(o.To)
	if _, err := table.Explain(to, nil, "", ""); err != nil {
		return t, err
	}
	mx := o.MX
	if _, named := b.Destinations[to]; !named && len(mx) == 0 {
		if mx, err = s.c.Limits.MX(r.Context(), mail.CanonicalDomain(to)); err != nil {
			return t, &shaping.RefusedError{Field: "to", What: fmt.Sprintf("the MX of %s could not be looked up (%v), so that it is not known whom it counts with", to, err), Mend: `try again, or give its hosts as "mx"`}
		}
	}
	e, err := table.Explain(to, mx, "", "")
	t.To = e.Destination
	return t, err
}
