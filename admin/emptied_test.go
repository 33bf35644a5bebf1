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
