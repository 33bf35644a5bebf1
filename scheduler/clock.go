package scheduler

// LeaderClock is the cluster clock of one leader, run by its own local clock. It is a
// value; a copy reads the same.
type LeaderClock struct {
	base  Time
	local int64
}

// StartClock makes the clock read base when the local clock reads local. base is the
// node's own Follower bound at its election, never more.
func StartClock(base Time, local int64) LeaderClock { return LeaderClock{base, local} }

// At is cluster time at an instant of the local clock.
func (k LeaderClock) At(local int64) Time { return k.base + Time(local-k.local) }

// Follower is a scheduler node's lower bound of cluster time. The zero value knows
// nothing and answers 0.
//
// Every leader stamps its entries, and an entry is received after it was stamped, so
// that the stamp and the time since its receipt, counted as slowly as a clock may
// run, is never ahead of the leader. The bound is of the latest term only: a new
// leader's clock begins at or behind the old one's, so an older term's stamp may be
// ahead of the present leader.
type Follower struct {
	stamp Time
	local int64
	term  uint64
	known bool
}

// At is the bound at an instant of the local clock.
func (c *Follower) At(p Params, local int64) Time {
	if !c.known {
		return 0
	}
	return c.stamp + p.slow(local-c.local)
}

// Observe works in a stamp (see FSM.Stamp) that is known since local. It returns by
// how much the bound of the same term was ahead of the stamp: more than some 20 ms
// beyond the time that an entry takes says that the leader's clock has stood still,
// and it must abdicate.
func (c *Follower) Observe(p Params, term uint64, stamp Time, local int64) (ahead Time) {
	mixed := p.broken == clockMax
	if c.known && term < c.term && !mixed {
		return 0
	}
	now := c.At(p, local)
	if c.known && term == c.term {
		ahead = max(0, now-stamp)
	}
	if !c.known || term > c.term && !mixed || stamp > now {
		c.stamp, c.local, c.known = stamp, local, true
	}
	c.term = max(term, c.term)
	return ahead
}
