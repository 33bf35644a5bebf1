//go:build race

package cluster

import "time"

// hourLength is shorter where everything takes eight times as long.
const hourLength = 6 * time.Minute
