package scheduler

import (
	stdflag "flag"
	"fmt"
	"testing"
)

var (
	seeds   = stdflag.Int("seeds", 50, "seeds of the simulator")
	seed0   = stdflag.Int64("seed", 0, "the first seed")
	mixName = stdflag.String("mix", "", "of faults, see mixes")
	mutant  = stdflag.String("mutant", "", "a broken variant, see mutants")
	minutes = stdflag.Int64("minutes", 3, "minutes of each run")
)

func TestFaults(t *testing.T) {
	for i := range *seeds {
		seed := *seed0 + int64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			o := options{seed: seed, length: *minutes * 60 * sec, faults: mixFor(seed), changes: true, broken: mutants[*mutant].broken}
			if *seeds == 1 && testing.Verbose() {
				o.trace = t.Logf
			}
			s := newSim(o, worldFor(o.faults))
			s.run()
			for _, p := range s.check() {
				t.Error(p)
			}
			if *seeds == 1 && testing.Verbose() {
				t.Logf("%+v", s.count)
			}
		})
	}
}

// mixFor has every other seed suffer from everything, and the others from one kind.
func mixFor(seed int64) string {
	if *mixName != "" {
		return *mixName
	}
	if seed%2 == 0 {
		return "storm"
	}
	return []string{"elections", "restarts", "freezes", "cuts"}[seed/2%4]
}

func TestNoFaults(t *testing.T) {
	s := newSim(options{seed: 1, length: *minutes * 60 * sec}, theWorld())
	s.run()
	for _, p := range s.check() {
		t.Error(p)
	}
	t.Logf("%+v", s.count)
	for _, l := range s.world.lanes {
		t.Logf("%v %s %d", l.Dest, l.Tenant, len(s.starts[l.Lane]))
	}
}
