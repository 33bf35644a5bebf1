//go:build soak

package scheduler

import (
	"maps"
	"slices"
	"testing"
)

// Every broken variant is noticed within the seeds given.
func TestMutantsFresh(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(mutants)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caught, first := 0, ""
			firstSeed := int64(0)
			for i := range *seeds {
				o := options{seed: *seed0 + int64(i), length: *minutes * 60 * sec, faults: mutants[name].mix, changes: true, broken: mutants[name].broken}
				s := newSim(o, worldFor(o.faults))
				s.run()
				if p := s.check(); len(p) > 0 {
					if caught == 0 {
						first, firstSeed = p[0], o.seed
					}
					caught++
				}
			}
			t.Logf("%-17s caught by %d of %d seeds; %d: %s", name, caught, *seeds, firstSeed, first)
			if caught == 0 {
				t.Errorf("%s survived", name)
			}
		})
	}
}
