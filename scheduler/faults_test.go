package scheduler

import (
	cli "flag"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"

	"github.com/tarishi/tarishi/shaping"
)

// The simulator's runs; more and longer ones with -tags soak, or by hand:
//
//	go test -run TestFaults -seeds 1 -seed 17 -minutes 5 -mix storm -v ./scheduler
var (
	seeds   = cli.Int("seeds", defaultSeeds, "runs of the simulator")
	seed0   = cli.Int64("seed", 0, "the seed of the first")
	minutes = cli.Int64("minutes", defaultMinutes, "simulated minutes of each")
	mixName = cli.String("mix", "", "what goes wrong, see mixes; empty: all of them in turn")
	broken  = cli.String("mutant", "", "a broken variant, see mutants; empty: none")
)

// mixFor has every other seed suffer from everything, and the others from one kind.
func mixFor(seed int64) string {
	if *mixName != "" {
		return *mixName
	}
	if seed%2 == 0 {
		return "storm"
	}
	return []string{"elections", "restarts", "freezes", "lags", "cuts", "crowds", "thaws"}[seed/2%7]
}

// Whatever fails, no window holds more starts than it allows, no limit of connections
// is exceeded, no partition has two holders, and a change that is said to be in force
// is; by the true times of all starts.
func TestFaults(t *testing.T) {
	var mu sync.Mutex
	var sum counts
	used := map[string][]float64{} // by limit, of what it allows, in the runs where everything fails
	t.Run("seed", func(t *testing.T) {
		for i := range *seeds {
			seed := *seed0 + int64(i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				o := options{seed: seed, length: *minutes * 60 * sec, faults: mixFor(seed), changes: true, broken: mutants[*broken].broken}
				if *seeds == 1 && testing.Verbose() {
					o.trace = t.Logf
				}
				s := newSim(o, worldFor(o.faults))
				s.run()
				for _, p := range s.check() {
					t.Error(p)
				}
				mu.Lock()
				defer mu.Unlock()
				sum.add(&s.count)
				if o.faults == "storm" {
					for l, w := range map[string]string{"name:pair": "40/1s", "domain:burst.test": "120/7s", "domain:c2.test": "1000/5m"} {
						used[l] = append(used[l], s.share(l, windows(w)[0]))
					}
				}
			})
		}
	})
	t.Logf("%d runs of %d minutes: %+v", *seeds, *minutes, sum)
	if *seeds < 50 || t.Failed() {
		return
	}
	// No run proves anything in which nothing happens.
	v := reflect.ValueOf(sum)
	for i := range v.NumField() {
		if v.Field(i).Int() == 0 {
			t.Errorf("in no run there were %s", v.Type().Field(i).Name)
		}
	}
	if n := sum.Elections; n < 4**seeds {
		t.Errorf("%d elections in %d runs", n, *seeds)
	}
	for l, shares := range used {
		if m := mean(shares); m < 0.75 {
			t.Errorf("%s was used to %.3f of what it allows", l, m)
		} else {
			t.Logf("%s was used to %.3f of what it allows", l, m)
		}
	}
}

// share is how much was sent to a destination, of what the window allows.
func (s *sim) share(dest string, w shaping.Window) float64 {
	n := 0
	for l, t := range s.starts {
		if l.Dest.Key == dest {
			n += len(t)
		}
	}
	return float64(n) / (float64(w.Max) * math.Ceil(float64(s.o.length)/float64(w.Length)))
}

func mean(xs []float64) float64 {
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}

func (c *counts) add(o *counts) {
	to, from := reflect.ValueOf(c).Elem(), reflect.ValueOf(o).Elem()
	for i := range to.NumField() {
		to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
	}
}

// The same seed is the same run, whatever maps have in mind.
func TestRunsRepeat(t *testing.T) {
	t.Parallel()
	run := func() string {
		s := newSim(options{seed: 4, length: 90 * sec, faults: "storm", changes: true}, theWorld())
		s.run()
		return fmt.Sprintf("%+v", s.count)
	}
	if a, b := run(), run(); a != b {
		t.Errorf("%s\nand then\n%s", a, b)
	}
}

// Each safety rule is needed, and the simulator notices when one is missing: the run
// recorded in mutants catches the variant without it. After a change of the core or of
// the simulator that run is another one, and may not; then others are tried, and the
// one to be recorded is told.
func TestMutants(t *testing.T) {
	for name, m := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p := m.run(m.seed, m.minutes); len(p) > 0 {
				t.Log(p[0])
				return
			}
			for minutes := int64(1); minutes <= 4; minutes++ {
				for seed := int64(0); seed < 12; seed++ {
					if p := m.run(seed, minutes); len(p) > 0 {
						t.Logf("seed %d does not notice it any more; record {%d, %d}: %s", m.seed, seed, minutes, p[0])
						return
					}
				}
			}
			t.Errorf("nothing notices it any more")
		})
	}
}

// run is one run of a broken variant, and what is noticed.
func (m mutant) run(seed, minutes int64) []string {
	o := options{seed: seed, length: minutes * 60 * sec, faults: m.mix, changes: true, broken: m.broken}
	s := newSim(o, worldFor(o.faults))
	s.run()
	return s.check()
}
