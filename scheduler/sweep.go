package scheduler

// sweep forgets what is not used any more, a little with each entry, so that no turn
// is long and memory is for what is in use. The log's counters are forgotten by a
// record, so that every node forgets the same ones.
func (l *Leader) sweep(c *Command, now Time) {
	for n := min(sweepMost, len(l.laneList)); n > 0 && len(l.laneList) > 0; n-- {
		if l.sweptLane >= len(l.laneList) {
			l.sweptLane = 0
		}
		if !l.sweepLane(l.laneList[l.sweptLane], now) {
			l.sweptLane++
		}
	}
	for n := min(sweepMost, len(l.list)); n > 0 && len(l.list) > 0; n-- {
		if l.swept >= len(l.list) {
			l.swept = 0
		}
		if !l.sweepCounter(l.list[l.swept], now) {
			l.swept++
		}
	}
	l.forgetTrials(now)
	past := l.f.order
	for n := min(sweepMost, len(past)); n > 0; n-- {
		if l.sweptPast >= len(past) {
			l.sweptPast = 0
		}
		h := past[l.sweptPast]
		l.sweptPast++
		if h.gone || !h.idle(c.Clock) || l.forgetting[h.id] || l.counters[h.name] != nil || l.slots.uses(h.name) {
			continue
		}
		l.forgetting[h.id] = true
		c.Recs = append(c.Recs, Rec{ID: h.id, Forget: true})
	}
}

// sweepLane drops demands of nothing, and the lane when none is left.
func (l *Leader) sweepLane(ln *lane, now Time) bool {
	if ln.state != laneIdle && ln.state != laneShut || ln.used+dropAfter > now {
		return false
	}
	for i := len(ln.wants) - 1; i >= 0; i-- {
		if w := ln.wants[i]; w.n == 0 && !w.stale {
			w.drop()
		}
	}
	if len(ln.wants) > 0 {
		return false
	}
	ln.unbind()
	l.forgetLane(ln)
	last := l.laneList[len(l.laneList)-1]
	l.laneList[ln.at], last.at = last, ln.at
	l.laneList[len(l.laneList)-1] = nil
	l.laneList = l.laneList[:len(l.laneList)-1]
	return true
}

// sweepCounter drops a counter whose whole past is in the log.
func (l *Leader) sweepCounter(c *counter, now Time) bool {
	if c.lanes > 0 || c.open != 0 || c.asked != 0 || c.inUse != 0 || len(c.pending) > 0 || c.flights > 0 ||
		c.dirty || c.pooled || c.touched || c.index >= 0 || c.waiting() > 0 || c.last+dropAfter > now {
		return false
	}
	delete(l.counters, c.name)
	last := l.list[len(l.list)-1]
	l.list[c.at], last.at = last, c.at
	l.list[len(l.list)-1] = nil
	l.list = l.list[:len(l.list)-1]
	return true
}
