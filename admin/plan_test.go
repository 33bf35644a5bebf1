package admin_test

import (
	"encoding/json"
	"testing"

	"github.com/tarishi/tarishi/admin"
)

// A plan tells what would become of today's mail, refuses what apply would refuse, and
// changes nothing.
func TestPlan(t *testing.T) {
	s, l, _ := limited(t)
	before, _ := l.Book(t.Context())
	w := ask(s, "POST", "/v1/limits/plan", `{"rules":[{"to":"gmail.example","messages":[{"max":1,"window":"1h"}]},{"to":"nobody.example","connections":1},{"to":"evil.example","messages":[{"max":0,"window":"1h"}]}]}`)
	var p admin.LimitPlan
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 {
		t.Fatalf("HTTP %d %s", w.Code, w.Body)
	}
	by := map[string]admin.PlanLine{}
	for _, d := range p.Destinations {
		by[d.Destination] = d
	}
	g, e := by["gmail.example"], by["evil.example"]
	if g.Waiting != 3 || g.After.Seconds == nil || *g.After.Seconds != 2*3600 || g.Before.Suspended || g.After.Limits == g.Before.Limits {
		t.Errorf("%+v", g)
	}
	if e.Waiting != 1 || !e.After.Suspended || e.After.Seconds != nil {
		t.Errorf("%+v", e)
	}
	if len(p.Destinations) < 2 || len(p.Differences) == 0 || p.Version != before.Version {
		t.Errorf("%s", w.Body)
	}
	if after, _ := l.Book(t.Context()); after != before {
		t.Error("the plan has changed the limits")
	}
	if w := ask(s, "POST", "/v1/limits/plan", `{"rules":[{"to":"gogle","connections":1}]}`); w.Code != 400 {
		t.Errorf("a destination that nobody defined: HTTP %d %s", w.Code, w.Body)
	}
}
