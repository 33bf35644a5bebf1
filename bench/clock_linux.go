package bench

import (
	"syscall"
	"time"
	"unsafe"
)

const clockMonotonic = 1 // CLOCK_MONOTONIC of <time.h>

// monotonicBase pairs an instant of Go's clock with CLOCK_MONOTONIC, so that stamps
// cost no system call and can still be compared with those of any other process on
// this machine. Go reads the same clock, so the pair stays exact.
func monotonicBase() (time.Time, int64) {
	var ts syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	now := time.Now()
	if errno != 0 {
		return now, 0
	}
	return now, ts.Nano()
}
