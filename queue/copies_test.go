package queue

import (
	"strings"
	"testing"
	"time"
)

// A copy that is behind for a moment is no fault; one that stays behind, or is silent, is.
func TestCopiesThatLag(t *testing.T) {
	type step struct {
		after        time.Duration
		lag          uint64
		silent, gone bool
		want         string
	}
	for name, steps := range map[string][]step{
		"a little, always":   {{0, 1000, false, false, ""}, {time.Minute, 900, false, false, ""}},
		"much, for a moment": {{0, 5000, false, false, ""}, {4 * time.Second, 5000, false, false, ""}, {time.Second, 10, false, false, ""}, {time.Second, 5000, false, false, ""}},
		"much, and long":     {{0, 5000, false, false, ""}, {5 * time.Second, 4000, false, false, "is 4000 operations behind"}},
		"silent":             {{0, 0, true, false, "has not been heard of for 6s"}},
		"offline":            {{0, 0, true, true, "is offline"}},
	} {
		var l lagging
		now := time.Now()
		for i, x := range steps {
			now = now.Add(x.after)
			p := &streamPlaces{Leader: "a"}
			p.Replicas = append(p.Replicas, replicaPlace{Name: "b", Lag: x.lag, Offline: x.gone})
			if x.silent {
				p.Replicas[0].Active = 6 * time.Second
			}
			got := l.judge("READY", p, now)[0].Problem
			if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
				t.Errorf("%s, step %d: %q", name, i+1, got)
			}
		}
	}
}

// What operators are shown as mail is mail, not the fences that stand between.
func TestFencesAreNoMail(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	m := f.join("node1")
	f.give(m, 3, 4, 5)
	st, err := m.streamState(t.Context(), streamWait, "")
	if err != nil || st.Msgs == 0 {
		t.Fatal(st.Msgs, err)
	}
	for _, c := range m.Copies(t.Context()) {
		if c.Err != nil || c.Stream == streamWait && c.Messages != 0 {
			t.Errorf("%+v", c)
		}
	}
}
