//go:build soak

package netlab

import (
	"flag"
	"math/rand/v2"
	"testing"
)

var seedFlag = flag.Uint64("netlab.seed", 0, "repeat the choices of a run; 0: new ones")

// newSeed picks the run's seed and says it, so that the choices can be repeated; the timing cannot.
func newSeed(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64() >> 32
	}
	t.Logf("seed %d", seed)
	return seed
}
