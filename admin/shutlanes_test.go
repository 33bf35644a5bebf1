package admin_test

import (
	"encoding/json"
	"testing"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/shaping"
)

// The listing of the queue says which destinations are suspended: "now" would be no
// answer to when their mail is tried next.
func TestLanesSaySuspended(t *testing.T) {
	s, l, _ := limited(t)
	rows := func() (v admin.Lanes) {
		w := ask(s, "GET", "/v1/queue", "")
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 200 || len(v.Lanes) < 2 {
			t.Fatalf("HTTP %d %s", w.Code, w.Body)
		}
		return v
	}
	name := rows().Lanes[1].Destination
	if _, err := l.Change(t.Context(), shaping.Change{Op: shaping.OpSuspend, To: name, Author: "ann"}); err != nil {
		t.Fatal(err)
	}
	for i, r := range rows().Lanes {
		if r.Suspended != (r.Destination == name) && r.Destination != "example.org" {
			t.Errorf("row %d, %s: suspended %v", i, r.Destination, r.Suspended)
		}
	}
}
