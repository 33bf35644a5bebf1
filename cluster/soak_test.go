//go:build soak

package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Forty more hours, with seeds that are new every time.
func TestHours(t *testing.T) {
	for range 40 {
		s := rand.Uint64()
		t.Run(fmt.Sprint(s), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { hour(t, s, time.Hour) }) })
	}
}
