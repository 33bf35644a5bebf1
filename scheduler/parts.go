package scheduler

// Partitions of WAIT are leases: each belongs to one session at a time, and each
// holder has a higher epoch than the one before. They are dealt evenly to the
// sessions that drain WAIT.

// partDesk knows who holds which partition.
type partDesk struct {
	owners  []partOwner
	checked Time
}

type partOwner struct {
	s       *session // nil: nobody
	epoch   uint64
	revoked bool // the session is asked to let go
}

func (d *partDesk) init(p Params) { d.owners = make([]partOwner, p.Partitions) }

// claimParts makes what a session claims what it holds. What it does not claim it
// does not hold.
func (l *Leader) claimParts(s *session, claims []Part) {
	for n := range l.parts.owners {
		o := &l.parts.owners[n]
		if o.s == s {
			l.freePart(o)
		}
	}
	for _, p := range claims {
		if int(p.N) >= len(l.parts.owners) {
			continue
		}
		// Of two claims the higher epoch is right: the lower one was let go of, or its
		// lease was over, before the higher was given.
		o := &l.parts.owners[p.N]
		if o.s != nil && o.epoch >= p.Epoch {
			continue
		}
		if o.s != nil {
			o.s.parts--
		}
		*o = partOwner{s: s, epoch: p.Epoch}
		s.parts++
	}
}

func (l *Leader) freePart(o *partOwner) {
	o.s.parts--
	*o = partOwner{}
}

// partGone works in that a session has let go of a partition.
func (l *Leader) partGone(s *session, p Part) {
	if int(p.N) >= len(l.parts.owners) {
		return
	}
	if o := &l.parts.owners[p.N]; o.s == s && o.epoch == p.Epoch {
		l.freePart(o)
	}
}

// endParts frees all partitions of a session.
func (l *Leader) endParts(s *session) {
	for n := range l.parts.owners {
		if o := &l.parts.owners[n]; o.s == s {
			l.freePart(o)
		}
	}
}

// claimed tells whether every session of older terms has said what it holds, or its
// lease is over: only then is a partition that nobody claims free.
func (l *Leader) claimed() bool {
	for _, s := range l.roll {
		if s.old && !s.over {
			return false
		}
	}
	return true
}

// turnParts deals the partitions out, and asks for those that are somebody else's share.
func (l *Leader) turnParts(now Time) {
	if now-l.parts.checked < rotateEvery {
		return
	}
	l.parts.checked = now
	shares := l.partShares(now)
	revoked := map[*session]int{}
	for n := range l.parts.owners {
		o := &l.parts.owners[n]
		switch {
		case o.s == nil:
		case o.revoked && l.p.broken == partsAtOnce:
			l.freePart(o)
		case o.revoked:
			revoked[o.s]++
		case o.s.parts-revoked[o.s] > shares[o.s] && o.s.heard && !o.s.cut:
			o.revoked = true
			revoked[o.s]++
			l.emit(o.s.id, Order{EndPart: &Part{uint32(n), o.epoch}})
		}
	}
	if !l.claimed() {
		return
	}
	for n := range l.parts.owners {
		o := &l.parts.owners[n]
		if o.s != nil {
			continue
		}
		var poorest *session
		for _, s := range l.roll {
			if s.parts < shares[s] && (poorest == nil || s.parts-shares[s] < poorest.parts-shares[poorest]) {
				poorest = s
			}
		}
		if poorest == nil {
			return
		}
		l.nextEpoch++
		*o = partOwner{s: poorest, epoch: l.nextEpoch}
		poorest.parts++
		l.emit(poorest.id, Order{Part: &Part{uint32(n), o.epoch}})
	}
}

// partShares is how many partitions each session is to have. Where they can not be
// dealt evenly, those who hold more keep it.
func (l *Leader) partShares(now Time) map[*session]int {
	var takers []*session
	for _, s := range l.roll {
		if s.drains && l.lasts(s, now) {
			takers = append(takers, s)
		}
	}
	shares := make(map[*session]int, len(takers))
	if len(takers) == 0 {
		return shares
	}
	each, extra := len(l.parts.owners)/len(takers), len(l.parts.owners)%len(takers)
	for _, s := range takers {
		shares[s] = each
	}
	for _, holders := range []bool{true, false} {
		for _, s := range takers {
			if extra > 0 && shares[s] == each && (s.parts > each) == holders {
				shares[s]++
				extra--
			}
		}
	}
	return shares
}
