package shaping

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func sighting(threshold string, count int) *Sighting {
	n := &Sighting{Rule: "r", Remedy: remedy("suspend per source for 1h"), To: google, Source: "192.0.2.1", Count: count}
	if threshold != "" {
		n.Threshold, _ = ParseThreshold(threshold)
	}
	return n
}

func TestTally(t *testing.T) {
	type step struct {
		after time.Duration
		n     *Sighting
		met   bool
	}
	other := sighting("3 in 10m", 2)
	other.Source = "192.0.2.2"
	for name, steps := range map[string][]step{
		"none is needed":     {{0, sighting("", 1), true}, {0, sighting("", 1), true}, {0, sighting("", 0), false}},
		"at once":            {{0, sighting("3 in 10m", 3), true}},
		"one after another":  {{0, sighting("3 in 10m", 1), false}, {time.Minute, sighting("3 in 10m", 1), false}, {time.Minute, sighting("3 in 10m", 1), true}},
		"then anew":          {{0, sighting("2 in 10m", 2), true}, {time.Minute, sighting("2 in 10m", 1), false}, {time.Minute, sighting("2 in 10m", 1), true}},
		"too old":            {{0, sighting("3 in 10m", 2), false}, {10 * time.Minute, sighting("3 in 10m", 1), false}, {time.Second, sighting("3 in 10m", 2), true}},
		"not quite too old":  {{0, sighting("3 in 10m", 2), false}, {10*time.Minute - time.Second, sighting("3 in 10m", 1), true}},
		"of another source":  {{0, sighting("3 in 10m", 2), false}, {time.Second, other, false}},
		"close to one other": {{0, sighting("4 in 10m", 1), false}, {time.Second, sighting("4 in 10m", 1), false}, {time.Second, sighting("4 in 10m", 2), true}},
	} {
		var tally Tally
		now := noon
		for i, s := range steps {
			if now = now.Add(s.after); tally.Add(s.n, now) != s.met {
				t.Errorf("%s: step %d", name, i)
			}
		}
	}
}

// A threshold is met when so many came within its time, and not when they did not,
// but for what is near its edge.
func TestTallySlides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		within := time.Duration(rapid.IntRange(64, 6400).Draw(t, "within")) * time.Second
		count := rapid.IntRange(2, 20).Draw(t, "count")
		var tally Tally
		var past []time.Time
		now := noon
		for range rapid.IntRange(1, 60).Draw(t, "sightings") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(within)/4).Draw(t, "pause")))
			past = append(past, now)
			in := func(d time.Duration) (n int) {
				for _, p := range past {
					if now.Sub(p) < d {
						n++
					}
				}
				return n
			}
			met := tally.Add(sighting(fmt.Sprintf("%d in %s", count, FormatLength(within)), 1), now)
			if met && in(within) < count || !met && in(within-within/64) >= count {
				t.Fatalf("met: %v; %d came within %v", met, in(within), within)
			}
			if met {
				past = nil
			}
		}
	})
}

func TestTallyIsBounded(t *testing.T) {
	var tally Tally
	n := sighting("3 in 10m", 1)
	for i := range maxTally + 10 {
		n.Source = fmt.Sprint(i)
		tally.Add(n, noon)
	}
	if len(tally.of) != maxTally {
		t.Errorf("%d are kept", len(tally.of))
	}
	n.Source = "later"
	if tally.Add(n, noon.Add(11*time.Minute)); len(tally.of) != 1 {
		t.Errorf("%d are kept after all the others are over", len(tally.of))
	}
	n = sighting("1000 in 7d", 1)
	for i := range 5000 {
		tally.Add(n, noon.Add(time.Duration(i)*time.Minute))
	}
	for _, x := range tally.of {
		if len(x.cells) > 66 {
			t.Errorf("%d cells", len(x.cells))
		}
	}
}
