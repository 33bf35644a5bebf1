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
				if p := mutants[name].run(*seed0+least+int64(i), 8); len(p) > 0 {
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
