package admin_test

import (
	"encoding/json"
	"slices"
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
	suspended := func() (out []string) {
		for _, r := range rows().Lanes {
			if r.Suspended {
				out = append(out, r.Destination)
			}
		}
		return out
	}
	if got := suspended(); !slices.Equal(got, []string{"example.org"}) {
		t.Errorf("suspended are %q", got)
	}
	if _, err := l.Change(t.Context(), shaping.Change{Op: shaping.OpSuspend, To: "example.com", Author: "ann"}); err != nil {
		t.Fatal(err)
	}
	if got := suspended(); !slices.Equal(got, []string{"example.org", "example.com"}) {
		t.Errorf("suspended are %q after another", got)
	}
}
