//go:build !linux

package bench

import "time"

// monotonicBase counts from the start of the process where CLOCK_MONOTONIC has no
// portable door: stamps of one sink still compare with each other.
func monotonicBase() (time.Time, int64) { return time.Now(), 0 }
