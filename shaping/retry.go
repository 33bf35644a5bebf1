// Package shaping answers "how much, and when again?": the retry schedule, the
// connection limits of a destination, the pause after failing hosts. It is pure:
// values in, values out, and time comes in as a value. It never sends, never
// sleeps, never counts what is in flight.
package shaping

import (
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// Retry is when a deferred delivery is tried again and when it is given up.
type Retry struct {
	// Schedule is the pause after the first, second, … failed attempt; the last entry repeats.
	Schedule []time.Duration
	// Expire is the age, counted from reception, at which a delivery is given up.
	Expire time.Duration
	// Jitter is the share of each pause that is left to chance: 0.1 is ± 10 %.
	Jitter float64
}

// DefaultRetry follows RFC 5321 §4.5.4.1: short pauses first, since most trouble
// passes soon (greylisting within minutes), then hours, and at least 4–5 days in all.
func DefaultRetry() Retry {
	return Retry{
		Schedule: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour},
		Expire:   5 * 24 * time.Hour,
		Jitter:   0.1,
	}
}

// Check refuses a schedule that would retry without pause or never give up.
func (r Retry) Check() error {
	if len(r.Schedule) == 0 {
		return errors.New("retry: the schedule is empty; give at least one pause, such as 15m")
	}
	for i, d := range r.Schedule {
		if d < time.Second {
			return fmt.Errorf("retry: pause %d of the schedule is %v; the shortest is 1s", i+1, d)
		}
	}
	if r.Expire <= 0 {
		return fmt.Errorf("retry: expire is %v; it must be positive, such as 5d", r.Expire)
	}
	return nil
}

// Pause returns the time between the end of attempt number n (1 is the first) of
// the delivery named id and the next one: the schedule's entry, give or take the jitter.
//
// The jitter keeps a thousand deliveries that failed together from coming back
// together. It is a function of id and n alone, so a restart, another node or a
// second look at the same delivery gives the same instant.
func (r Retry) Pause(id string, n int) time.Duration {
	if len(r.Schedule) == 0 {
		return 15 * time.Minute // an unset Retry still must not spin
	}
	i := min(max(n-1, 0), len(r.Schedule)-1)
	return Jitter(r.Schedule[i], r.Jitter, id, n)
}

// Next returns when to try again after attempt n that ended at now. It is never
// after expires: the last attempt is made at that instant and decides.
func (r Retry) Next(id string, n int, now, expires time.Time) time.Time {
	next := now.Add(r.Pause(id, n))
	if !expires.IsZero() && next.After(expires) {
		return expires
	}
	return next
}

// Jitter spreads d by ± share, the same way each time for the same key and n.
func Jitter(d time.Duration, share float64, key string, n int) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	_, _ = h.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	// FNV's high bits change little for keys that differ at their end; one round of
	// splitmix64 spreads them over the whole word.
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	f := float64(x>>11)/(1<<53)*2 - 1 // [-1, 1)
	return d + time.Duration(float64(d)*share*f)
}
