package admin

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// So many starts take that long at least in a sliding window that is empty at first.
func TestEmptied(t *testing.T) {
	w := shaping.Window{Max: 100, Length: time.Hour}
	for n, want := range map[int64]time.Duration{0: 0, 1: 0, 100: 0, 101: time.Hour, 200: time.Hour, 201: 2 * time.Hour, 1_000_000: 9999 * time.Hour, 1 << 60: maxDrain} {
		if got := emptied(n, w); got != want {
			t.Errorf("%d take %s, want %s", n, got, want)
		}
	}
}

// What is kept for class high is nothing that the others can count on.
func TestPlanMindsWhatIsKept(t *testing.T) {
	b := shaping.Book{Set: []shaping.Rule{{To: "d.test", Messages: []shaping.Window{{Max: 10, Length: time.Minute}}}}, Shares: shaping.Shares{High: 20}}
	table, err := b.Table()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		high, low int64
		want      int64 // minutes
	}{
		{0, 80, 9}, {80, 0, 7}, {20, 80, 9}, {80, 80, 15},
	} {
		g := planGroup{waiting: map[string]planCount{"": {tt.high + tt.low, tt.low}}}
		d := shaping.Destination{Key: "domain:d.test"}
		if s := g.state(table, d); s.Seconds == nil || *s.Seconds != tt.want*60 {
			t.Errorf("%d high and %d others: %+v, want %d minutes", tt.high, tt.low, s, tt.want)
		}
	}
}
