package scheduler

import "slices"

// session is one session as this leader knows it.
type session struct {
	id       SessionID
	old      bool // joined before this term, and not heard of since: may hold what the log allows
	heard    bool // has said Hello in this term
	over     bool // lapsed or gone; the log is still to say so
	cut      bool // its connection is broken
	conn     uint64
	seq      uint64
	version  uint64
	born     Time
	beat     Time // when it was last heard
	bound    Time // what the log says its lease may be
	lease    Time // it may hold what it has until then
	promised Time // by this leader, within what the log says; 0: nothing
	draining bool

	wants     []*want
	slots     map[SlotID]*slot
	slotWants []*slotWant
	shares    map[*slotCounter]*slotShare

	drains bool // it takes partitions of WAIT
	parts  int
}

// join adds a session of the log.
func (l *Leader) join(id SessionID, old bool) *session {
	s := &session{id: id, old: old, born: l.start, slots: map[SlotID]*slot{}, shares: map[*slotCounter]*slotShare{}}
	s.bound = l.f.sessions[id].lease
	l.sessions[id] = s
	l.roll = append(l.roll, s)
	if old {
		// An older leader may have promised it as much as the log says, on a clock
		// that may come to lag behind this one until then.
		s.lease = s.bound + l.p.drift(l.p.Lease+Second)
		l.loadShares(s)
	}
	return s
}

// Hello opens a session's connection. False: the session is not known (any more) and
// must join anew, or the Hello is for another term.
func (l *Leader) Hello(now Time, h Hello) bool {
	s := l.sessions[h.Session]
	if s == nil || s.over || h.Term != l.term || s.heard && h.Conn <= s.conn {
		return false
	}
	l.dropWants(s)
	s.conn, s.seq, s.version, s.cut = h.Conn, 0, h.Version, false
	l.claimSlots(s, h.Slots, now)
	l.claimParts(s, h.Parts)
	s.old, s.heard, s.beat = false, true, now
	l.hungry = true             // an entry shows it that this leader is one, see Interval
	s.drains = len(h.Parts) > 0 // its first beat says so; a Turn before that must not take them away
	l.renew(s, now)
	return true
}

// renew prolongs the lease of a session that works by the rules in force; one that
// does not take them lapses, so that a change comes into force in any case.
//
// Nor does anybody get one before there are any rules: each scheduler brings those of
// its configuration file, be it none, and a deliverer that is there first must not
// take that for leave to send without limits.
//
// A lease never goes beyond what the log says: a leader that comes after this one
// waits as long for those it does not hear of.
func (l *Leader) renew(s *session, now Time) {
	if l.version == 0 {
		return
	}
	if s.version == l.version || l.p.broken == forceEarly {
		lasted := l.lasts(s, now)
		// The log's bound may be of before a long stop. What is over is no promise: it
		// would end the session that it is made to.
		if until := min(now+l.p.Lease, s.bound); until > now {
			s.promised = max(s.promised, until)
		}
		if !lasted && l.lasts(s, now) {
			for _, w := range s.slotWants {
				if w.on != nil {
					l.look(w.on)
				}
			}
		}
		s.lease = max(s.lease, s.promised)
		if s.bound < now+l.p.Lease/2 { // it is new, or was absent and is back
			l.back, l.hungry = true, true
		}
	}
}

// absentAfter is how long a session is silent until the log no longer prolongs what
// its lease may be, so that its end does not move on with each leader that comes.
const absentAfter = 2500 * Millisecond

// absent lists the silent sessions.
func (l *Leader) absent(now Time) (out []SessionID) {
	for _, s := range l.roll {
		if s.over || !s.heard || s.beat+absentAfter < now {
			out = append(out, s.id)
		}
	}
	return out
}

// leased works in what the log says of leases.
func (l *Leader) leased() {
	for _, s := range l.roll {
		if seat := l.f.sessions[s.id]; seat != nil {
			s.bound = seat.lease
		}
	}
}

// lasts tells whether the session's lease leaves it time to make use of anything.
func (l *Leader) lasts(s *session, now Time) bool {
	return s.heard && !s.over && !s.cut && s.promised-now > l.p.Quit
}

// Able tells whether a session works by the rules in force, with time to make use of
// what it is given; of one that does not, the leader drops what it wants.
func (l *Leader) Able(id SessionID, now Time) bool {
	s := l.sessions[id]
	return s != nil && l.lasts(s, now) && s.version == l.version
}

// Knows tells whether the log has the session still, or will have.
func (l *Leader) Knows(id SessionID) bool { return l.sessions[id] != nil }

// live finds a session that has said Hello.
func (l *Leader) live(id SessionID) *session {
	if s := l.sessions[id]; s != nil && s.heard && !s.over {
		return s
	}
	return nil
}

// Beat works in what a session says. A session that is not known, or has not said
// Hello, is ignored.
func (l *Leader) Beat(now Time, b Beat) {
	s := l.live(b.Session)
	if s == nil || b.Conn != s.conn || b.Seq <= s.seq && l.p.broken != dupReturn {
		return
	}
	s.seq = max(s.seq, b.Seq)
	s.version = max(s.version, b.Version)
	s.beat = now
	l.renew(s, now)
	for i := range b.Uses {
		l.use(&b.Uses[i], now)
	}
	for _, id := range b.Closed {
		if x := s.slots[id]; x != nil {
			l.closeSlot(x, now)
		}
	}
	for _, p := range b.Gone {
		l.partGone(s, p)
	}
	s.draining = b.Draining
	s.drains = b.Parts && !b.Draining
	if l.drained || s.draining || s.version != l.version {
		// Under other rules than its own the same lane may be bounded by something
		// else. It says all it wants anew when it has taken the rules in force.
		l.dropWants(s)
		return
	}
	for i := range b.Wants {
		l.want(s, &b.Wants[i], now)
	}
	for _, w := range b.Slots {
		l.wantSlots(s, w, now)
	}
}

// dropWants drops all that a session wants.
func (l *Leader) dropWants(s *session) {
	for len(s.wants) > 0 {
		w := s.wants[len(s.wants)-1]
		if w.ln.state == laneWaiting {
			l.touch(w.ln.on)
		}
		w.drop()
	}
	for _, w := range s.slotWants {
		l.setSlotWant(w, 0)
	}
}

// Cut says that a session's connection is broken: what it wanted is dropped, what it
// holds stands until it comes back or its lease is over.
func (l *Leader) Cut(now Time, id SessionID, conn uint64) {
	if s := l.live(id); s != nil && s.conn == conn {
		s.cut = true
		l.dropWants(s)
	}
}

// Bye ends a session that holds nothing any more.
func (l *Leader) Bye(now Time, id SessionID) {
	if s := l.live(id); s != nil {
		l.end(s, now)
	}
}

// Dead ends a session whose process has ended, whatever it held: what it was permitted
// counts as started, its connections were closed by its system, and nobody reads its
// partitions any more.
func (l *Leader) Dead(now Time, id SessionID) {
	if s := l.sessions[id]; s != nil && !s.over {
		s.old = false
		l.end(s, now)
	}
}

// end takes everything back from a session.
func (l *Leader) end(s *session, now Time) {
	s.over = true
	l.dropWants(s)
	l.endSlots(s, now)
	l.endParts(s)
	l.leavers = append(l.leavers, s.id)
}

// lapse ends the sessions whose lease is over. One that this leader has not promised
// anything yet gets the time of a lease for it, but holds nothing any more.
func (l *Leader) lapse(now Time) {
	for _, s := range l.roll {
		if s.over || now <= s.lease {
			continue
		}
		if s.promised > 0 || now > max(s.born, s.beat)+l.p.Lease {
			l.end(s, now)
			continue
		}
		if s.old || len(s.slots) > 0 {
			l.endSlots(s, now)
		}
		if s.parts > 0 {
			l.endParts(s)
		}
		s.old = false
	}
}

// removed says that the log knows the session no more.
func (l *Leader) removed(id SessionID) {
	if s := l.sessions[id]; s != nil && s.over {
		delete(l.sessions, id)
		l.roll = slices.DeleteFunc(l.roll, func(o *session) bool { return o == s })
	}
}

// Lease renews nothing: it is until when the session may work. Every answer to a
// session carries it. 0: the session is not known and must join anew. 1: it may not
// work yet; it gets a lease once it works by the rules in force.
func (l *Leader) Lease(id SessionID) Time {
	if s := l.live(id); s != nil {
		return max(s.promised, 1)
	}
	return 0
}
