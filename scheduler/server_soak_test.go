//go:build soak

package scheduler

import (
	"flag"
	"fmt"
	"testing"
)

var worlds = flag.Uint64("worlds", 300, "seeds of the session layer's storm")

// The storm of TestWindowsHold, over many seeds.
func TestManyStorms(t *testing.T) {
	for seed := range *worlds {
		t.Run(fmt.Sprint(1000+seed), func(t *testing.T) { inWorld(t, 1000+seed, storm) })
	}
}
