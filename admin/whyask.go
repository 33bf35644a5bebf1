package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// Whys finds out what is known of a message.
type Whys interface {
	Why(ctx context.Context, id string) (WhyFound, error)
}

// WhyFound is what is known of a message: of those of its deliveries that are queued
// what holds them, and what the journal tells.
type WhyFound struct {
	Queued []WhyFacts
	Past   []PastLine // Received, and times, need not be in UTC
	Whole  bool       // the journal was looked through
	Notes  []string   // what could not be found out
}

// why is GET /v1/queue/why/{id}.
func (s *Server) why(w http.ResponseWriter, r *http.Request) {
	f, err := Selection{ID: r.PathValue("id")}.Filter(s.c.Now())
	if err == nil {
		err = known(r)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if s.c.Whys == nil {
		fail(w, http.StatusServiceUnavailable, "this node cannot tell")
		return
	}
	found, err := s.c.Whys.Why(r.Context(), f.ID)
	if err != nil {
		s.queueFailed(w, r, err)
		return
	}
	if len(found.Queued)+len(found.Past) == 0 {
		says := fmt.Sprintf("nothing of id %s is queued, and the journal does not know it: it never came here, or left more than a week ago", f.ID)
		if !found.Whole {
			says = fmt.Sprintf("nothing of id %s is queued; the journal could not be looked through in time for what became of it", f.ID)
		}
		fail(w, http.StatusNotFound, says)
		return
	}
	out := Why{Now: utc(s.c.Now()), ID: f.ID, Deliveries: []WhyDelivery{}, Past: found.Past, Whole: found.Whole, Notes: found.Notes}
	if out.Past == nil {
		out.Past = []PastLine{}
	}
	for i := range found.Queued {
		x := &found.Queued[i]
		x.Now = s.c.Now()
		x.Defaults = s.c.Defaults
		out.Deliveries = append(out.Deliveries, x.Why())
	}
	for i := range out.Past {
		out.Past[i].At = utc(out.Past[i].At)
	}
	answer(w, http.StatusOK, out)
}

// Why asks what holds a message, or what became of it.
func (c *Client) Why(ctx context.Context, id string) (v Why, err error) {
	err = c.read(ctx, "/v1/queue/why/"+url.PathEscape(id), &v)
	return v, err
}
