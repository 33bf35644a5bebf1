//go:build !linux

package bench

import (
	"net"
	"time"
)

var processStart = time.Now()

// rawNow counts from the start of the process where CLOCK_MONOTONIC_RAW has no portable
// door: stamps of one sink still compare with each other.
func rawNow() int64 { return int64(time.Since(processStart)) }

func stampArrivals(net.Listener) {}

func accepted(net.Conn) int64 { return rawNow() }

func withArrivals(conn net.Conn) (net.Conn, func() int64) { return conn, rawNow }
