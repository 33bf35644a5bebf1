//go:build soak

package scheduler

import (
	"maps"
	"slices"
	"testing"
)

const defaultSeeds, defaultMinutes = 5000, 10

// Every broken variant is caught by fresh seeds, too.
func TestMutantsFresh(t *testing.T) {
	const fresh, least = 20, int64(1000)
	for _, name := range slices.Sorted(maps.Keys(mutants)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caught, first := 0, ""
			for i := range fresh {
				o := options{seed: *seed0 + least + int64(i), length: 8 * 60 * sec, faults: mutants[name].mix, changes: true, broken: mutants[name].broken}
				s := newSim(o, worldFor(o.faults))
				s.run()
				if p := s.check(); len(p) > 0 {
					if caught++; first == "" {
						first = p[0]
					}
				}
			}
			t.Logf("%-17s caught by %d of %d seeds: %s", name, caught, fresh, first)
			if caught == 0 {
				t.Errorf("%s survived", name)
			}
		})
	}
}
