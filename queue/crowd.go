package queue

import (
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// crowd decides at the door which mail goes to WAIT at once instead of READY, so that
// READY stays as short as what is sent in about a second and a single message is never
// behind somebody's half a million: mail of a line that deliverers lately gave back
// without an attempt, since it would only be stored twice; and, while READY is longer
// than it should be, mail of the tenants that fill it. It never needs to be right: mail
// that waits is read as soon as there is room for it. Time is a value.
type crowd struct {
	mu    sync.Mutex
	lines map[mail.Line]*refused

	// READY as it was measured last, and what we have stored there since.
	at      time.Time
	length  float64 // records that nobody has in hand
	rate    float64 // records a second that leave it
	removed uint64
	put     int

	// What was stored in READY lately, by tenant: in this period and the last one.
	period    time.Time
	now, last map[string]int
	sum       int // of both
}

// refused is a line whose mail came back from deliverers without an attempt.
type refused struct {
	second int64
	n      int           // in this second
	until  time.Time     // it goes to WAIT at once
	length time.Duration // for so long
}

const (
	// refusedAt is how many deliveries of a line must come back within a second, before
	// the next ones are not offered at all: for refusedFor, then some are offered again.
	refusedAt = 100
	// refusedFor doubles up to refusedMost while it is always the same.
	refusedFor, refusedMost = 2 * time.Second, 30 * time.Second
	// refusedLines bounds how many lines are known.
	refusedLines = 20000

	// readyLeast and readyMost bound how many records READY should hold, whatever leaves it in a second.
	readyLeast, readyMost = 1000, 20000
	// crowdPeriod is over how long it is counted who fills READY; twice that at most.
	crowdPeriod = 5 * time.Second
)

func newCrowd() *crowd {
	return &crowd{lines: map[mail.Line]*refused{}, now: map[string]int{}, last: map[string]int{}}
}

// gaveBack notes that a delivery came back from a deliverer without an attempt. It
// returns for how long the line's mail goes to WAIT when that has just been decided.
func (c *crowd) gaveBack(l mail.Line, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.line(l, now)
	if r == nil {
		return 0
	}
	if s := now.Unix(); s != r.second {
		r.second, r.n = s, 0
	}
	if r.n++; r.n != refusedAt || now.Before(r.until) {
		return 0
	}
	if now.Sub(r.until) > refusedMost {
		r.length = 0
	}
	r.length = min(max(2*r.length, refusedFor), refusedMost)
	r.until = now.Add(r.length)
	return r.length
}

// refuse takes another node's word for it.
func (c *crowd) refuse(l mail.Line, until, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.line(l, now); r != nil && until.After(r.until) {
		r.until = until
	}
}

// line finds what is known of a line, or begins it; nil: too many are known. The caller holds mu.
func (c *crowd) line(l mail.Line, now time.Time) *refused {
	r := c.lines[l]
	if r != nil {
		return r
	}
	if len(c.lines) >= refusedLines {
		return nil
	}
	r = &refused{}
	c.lines[l] = r
	return r
}

// measured takes in how long READY is: removed counts what has left it since whenever.
func (c *crowd) measured(length int64, removed uint64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if dt := now.Sub(c.at).Seconds(); !c.at.IsZero() && dt > 0 && removed >= c.removed {
		// A second in which a disk was slow is no reason to think less of it.
		c.rate = max(float64(removed-c.removed)/dt, c.rate*0.8)
	}
	c.at, c.length, c.removed, c.put = now, float64(max(length, 0)), removed, 0
	for l, r := range c.lines {
		if now.Sub(r.until) > refusedMost && now.Unix()-r.second > 1 {
			delete(c.lines, l)
		}
	}
}

// behind is about how many records lie in READY and in nobody's hand. The caller holds mu.
func (c *crowd) behind(now time.Time) float64 {
	return max(c.length+float64(c.put)-c.rate*now.Sub(c.at).Seconds(), 0)
}

// waits tells whether a delivery that comes in should go to WAIT at once.
func (c *crowd) waits(l mail.Line, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.lines[l]; r != nil && now.Before(r.until) {
		return true
	}
	most := min(max(c.rate, readyLeast), readyMost)
	switch l.Class {
	case mail.High:
		most *= 2
	case mail.Bulk:
		most /= 2
	}
	behind := c.behind(now)
	if behind <= most {
		return false
	}
	if c.sum == 0 {
		return true // an earlier run left it, or other nodes fill it
	}
	tenants := len(c.now)
	for t := range c.last {
		if _, ok := c.now[t]; !ok {
			tenants++
		}
	}
	mine := float64(c.now[l.Tenant] + c.last[l.Tenant])
	return mine/float64(c.sum)*behind > most/float64(max(tenants, 1))
}

// goes notes that a record of a tenant goes to READY.
func (c *crowd) goes(tenant string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.period) >= crowdPeriod {
		if now.Sub(c.period) >= 2*crowdPeriod {
			clear(c.now)
		}
		c.period = now
		c.now, c.last = c.last, c.now
		clear(c.now)
		c.sum = 0
		for _, n := range c.last {
			c.sum += n
		}
	}
	c.now[tenant]++
	c.sum++
	c.put++
}
