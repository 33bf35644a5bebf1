package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// saturated is a world where every window is asked for more than it allows.
func saturated(limits ...string) *simWorld {
	w := &simWorld{deliverers: 5}
	for i, l := range limits {
		d := fmt.Sprintf("w%d.test", i)
		w.book = append(w.book, messages(d, l))
		w.lanes = append(w.lanes, mailTo(d, 40))
	}
	return w
}

// used is the share of what a window allows that was sent from then on: every start
// is followed by the one that had to wait for it, at once if nothing is wasted.
func (s *sim) used(l Lane, w shaping.Window, from int64) float64 {
	t := s.starts[l]
	sum, n := 0.0, 0
	for i := 0; i+w.Max < len(t); i++ {
		if t[i].at >= from {
			sum += float64(t[i+w.Max].at - t[i].at)
			n++
		}
	}
	return float64(w.Length) * float64(n) / sum
}

// A window that is asked for more than it allows is used up, but for its guard; so it
// is, nearly, when the leader dies every twelve minutes.
func TestWindowsAreUsedUp(t *testing.T) {
	for _, c := range []struct {
		kills  bool
		bar    float64
		limits []string
	}{
		{false, 0.98, []string{"20/1s", "1000/1s", "100/10s", "500/1m", "50/1m", "20/1s,900/1m"}},
		{true, 0.97, []string{"500/1m", "50/1m", "20/1s,900/1m", "1000/5m", "17/1s,10000/10m"}},
	} {
		t.Run(fmt.Sprintf("kills %v", c.kills), func(t *testing.T) {
			t.Parallel()
			w, minutes := saturated(c.limits...), int64(7)
			if c.kills {
				minutes = 25
			}
			s := newSim(options{seed: 3, length: minutes * 60 * sec}, w)
			if c.kills {
				for i := int64(0); i < 2; i++ {
					s.at((7+12*i)*60*sec, func() {
						n := s.elected
						s.crash(n)
						s.in(1500*ms, s.elect)
						s.in(20*sec, func() { s.restart(n) })
					})
				}
			}
			s.run()
			for _, p := range s.check() {
				t.Error(p)
			}
			for i, l := range c.limits {
				ws := windows(l)
				long := slices.MaxFunc(ws, func(a, b shaping.Window) int { return cmp.Compare(a.Length, b.Length) })
				share := s.used(w.lanes[i].Lane, long, int64(10*time.Second))
				t.Logf("%-16s %.4f", l, share)
				if !(share >= c.bar) {
					t.Errorf("%s: %.4f of it was used", l, share)
				}
			}
		})
	}
}

// jain is 1 when all have the same, and 1/n when one has everything.
func jain(xs []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range xs {
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(xs)) * squares)
}

// Tenants, and the nodes that send their mail, share windows and connections fairly.
func TestSharesAreFair(t *testing.T) {
	t.Parallel()
	w := &simWorld{deliverers: 4}
	two := 2
	w.book = []*shaping.Change{
		messages("small.test", "12/1s"), messages("large.test", "400/1s"), messages("slow.test", "30/1m"),
		setRule(shaping.Rule{To: "two.test", Connections: &two}),
	}
	for _, d := range []string{"small.test", "large.test", "slow.test"} {
		for _, tenant := range []string{"t1", "t2", "t3"} {
			w.lanes = append(w.lanes, mailTo(d, 40).tenant(tenant))
		}
	}
	for _, tenant := range []string{"t1", "t2"} {
		w.lanes = append(w.lanes, mailTo("two.test", 2).conns().tenant(tenant))
	}
	s := newSim(options{seed: 5, length: 15 * 60 * sec}, w)
	s.run()
	for _, p := range s.check() {
		t.Error(p)
	}
	for i := 0; i < 9; i += 3 {
		var shares []float64
		for _, l := range w.lanes[i : i+3] {
			shares = append(shares, float64(len(s.starts[l.Lane])))
		}
		t.Logf("%s: %v, %.4f", w.lanes[i].Dest, shares, jain(shares))
		if jain(shares) < 0.98 {
			t.Errorf("%s is shared as %v", w.lanes[i].Dest, shares)
		}
	}
	tenants, nodes := map[string]float64{}, map[int]float64{}
	for _, c := range s.connections {
		tenants[c.lane.Tenant] += sec3(c.to - c.from)
		nodes[c.name] += sec3(c.to - c.from)
	}
	for what, x := range map[string]struct {
		of  []float64
		bar float64
	}{"tenants": {[]float64{tenants["t1"], tenants["t2"]}, 0.98}, "nodes": {[]float64{nodes[1], nodes[2], nodes[3], nodes[4]}, 0.95}} {
		t.Logf("two.test: %s %.0f, %.4f", what, x.of, jain(x.of))
		if jain(x.of) < x.bar {
			t.Errorf("two connections are shared among %s as %.0f", what, x.of)
		}
	}
	if open := tenants["t1"] + tenants["t2"]; open < 0.5*2*15*60 {
		t.Errorf("two connections were open for %.0f s in all", open)
	}
}
