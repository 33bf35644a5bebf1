package scheduler

// InForce tells whether every start from now on obeys the rules of that version: all
// sessions work by them or have lapsed, grants of older rules are dead, and no limit
// of connections is exceeded. waiting are the sessions it waits for.
//
// The promise, then: every window that ends later holds no more than the rules allow,
// with all starts in it that were counted before, whatever limits they were made
// under. Of a destination that had no limit, starts are counted from now on.
func (l *Leader) InForce(version uint64, now Time) (done bool, waiting []SessionID) {
	if version > l.version {
		return false, nil
	}
	done = true
	for _, e := range l.versions {
		if e.version >= version {
			done = now > e.dead
			break
		}
	}
	for _, s := range l.roll {
		switch {
		case s.over, now > s.lease: // it starts nothing; a lease it gets for these rules alone
		case !s.heard, s.version < version && l.p.broken != forceEarly, s.excess():
			waiting = append(waiting, s.id)
		}
	}
	for _, c := range l.slots.counters {
		// Those closed a moment ago are open for a receiver that has not noticed.
		done = done && (c.max < 0 || c.taken() <= c.max)
	}
	for _, h := range l.slots.shares {
		done = done && (h.s.over || h.held <= h.committed) // or a later leader would not know
	}
	return done && len(waiting) == 0, waiting
}

// excess tells whether the session holds a slot that it was asked to end because a
// limit has come down.
func (s *session) excess() bool {
	for _, x := range s.slots {
		for _, c := range x.bound {
			if x.ending && c.max >= 0 && len(c.held) > c.max {
				return true
			}
		}
	}
	return false
}
