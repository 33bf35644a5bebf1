//go:build !soak

package deliverer

const randomSeeds = 12
