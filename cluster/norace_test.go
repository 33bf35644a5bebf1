//go:build !race

package cluster

import "time"

const hourLength = time.Hour
