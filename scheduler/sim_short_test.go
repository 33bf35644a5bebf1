//go:build !soak

package scheduler

const defaultSeeds, defaultMinutes = 50, 3
