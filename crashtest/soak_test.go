//go:build soak

package crashtest

func init() { killRounds, cutRounds = 50, 50 }
