package queue

import "testing"

// A failover leaves a few that were on their way; more than that is worth a warning.
func TestBigDifference(t *testing.T) {
	for _, x := range []struct {
		counted, there int
		big            bool
	}{{0, 100, false}, {0, 101, true}, {500, 450, false}, {100_000, 95_000, false}, {100_000, 80_000, true}, {3, 0, false}} {
		if got := (difference{counted: x.counted, there: x.there}).big(); got != x.big {
			t.Errorf("%d counted, %d there: %v", x.counted, x.there, got)
		}
	}
}
