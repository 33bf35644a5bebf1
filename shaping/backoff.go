package shaping

import "time"

// Backoff is the pause a destination gets while none of its hosts answers: longer
// with each failed probe, so that a dead destination costs little, and capped, so
// that one that came back is noticed within minutes.
type Backoff []time.Duration

// DefaultBackoff starts short, because most outages are restarts.
func DefaultBackoff() Backoff {
	return Backoff{5 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute}
}

// Pause returns the pause after n consecutive failures (1 is the first), ± 10 %;
// the last entry repeats. key names the destination.
func (b Backoff) Pause(key string, n int) time.Duration {
	if len(b) == 0 || n <= 0 {
		return 0
	}
	return Jitter(b[min(n, len(b))-1], 0.1, key, n)
}
