package scheduler

import (
	"maps"
	"slices"
)

// shareIdle is how long a share stays in the log when its slots are closed: the next
// connection comes soon, mostly.
const shareIdle = 10 * Second

func sortedSlots(s *session) []SlotID { return slices.Sorted(maps.Keys(s.slots)) }

// shareOf finds the share of a session in a limit.
func (l *Leader) shareOf(s *session, c *slotCounter) *slotShare {
	h := s.shares[c]
	if h == nil {
		h = &slotShare{c: c, s: s, asked: -1}
		s.shares[c] = h
		c.shares++
		l.slots.shares = append(l.slots.shares, h)
	}
	return h
}

// loadShares takes as held what the log allows a session of an older term to hold.
func (l *Leader) loadShares(s *session) {
	slots := l.f.sessions[s.id].slots
	for _, id := range slices.Sorted(maps.Keys(slots)) {
		c := l.slotCounter(l.f.past(id).name)
		h := l.shareOf(s, c)
		h.committed = slots[id]
		if l.p.broken != slotsAtOnce {
			c.unheard += h.committed
		}
	}
}

// unhold ends counting by the log: the session has said what it holds, or its lease is
// over. What it might have held and does not may have been closed a moment ago.
func (l *Leader) unhold(s *session, now Time) {
	if !s.old || l.p.broken == slotsAtOnce {
		return
	}
	for _, h := range l.slots.shares {
		if h.s != s {
			continue
		}
		h.c.unheard -= h.committed
		h.free = now // it may want again what it had
		l.look(h.c)
		for range h.committed - h.held {
			l.rest(now, s, h.c)
		}
	}
}

// claimSlots makes what a session claims what it holds.
func (l *Leader) claimSlots(s *session, claims []SlotClaim, now Time) {
	claimed := map[SlotID]bool{}
	for _, x := range claims {
		claimed[x.ID] = true
		if s.slots[x.ID] != nil {
			continue
		}
		ln := l.slotLaneFor(x.Lane)
		w := s.slotWant(ln)
		n := &slot{id: x.ID, s: s, ln: ln, want: w, since: now}
		s.slots[x.ID] = n
		w.held++
		ln.held++
		l.bindSlot(n)
	}
	for _, id := range sortedSlots(s) {
		if !claimed[id] { // closed, or never heard of
			l.closeSlot(s.slots[id], now)
		}
	}
	l.unhold(s, now)
}

// endSlots frees all slots of a session.
func (l *Leader) endSlots(s *session, now Time) {
	l.unhold(s, now)
	for _, id := range sortedSlots(s) {
		l.closeSlot(s.slots[id], now)
	}
	for _, h := range s.shares {
		h.committed, h.want = 0, 0
	}
}

// share tells whether the log allows the session one more slot in every limit of the
// lane, and asks for it where it does not.
func (l *Leader) share(w *slotWant) bool {
	ok := true
	for _, c := range w.ln.counters {
		h := l.shareOf(w.s, c)
		used := h.held + h.resting
		if used < h.committed {
			continue
		}
		ok = false
		if need := used + min(w.n-w.held, max(1, c.max-c.taken())); h.asked < used+1 && h.want < need {
			h.want = need
			l.writeShare(h)
			l.hungry = true
		}
	}
	return ok
}

// cover has the log told of slots that it does not know the session may hold: they
// began to count under a rule that is new.
func (l *Leader) cover(h *slotShare) {
	if h.held > max(h.committed, h.asked, h.want) {
		h.want = h.held
		l.writeShare(h)
		l.hungry = true
	}
}

func (l *Leader) writeShare(h *slotShare) {
	if !h.marked {
		h.marked = true
		l.slots.write = append(l.slots.write, h)
	}
}

// restSlots has shares taken back that have not been used for a while, and forgets
// what is not used any more.
func (l *Leader) restSlots(now Time) {
	d := &l.slots
	kept := d.shares[:0]
	for _, h := range d.shares {
		idle := h.held+h.resting == 0 && h.asked < 0 && !h.marked
		if idle && (h.committed == 0 || h.s.over) {
			if h.s.over || h.free+shareIdle < now {
				delete(h.s.shares, h.c)
				h.c.shares--
				continue
			}
		}
		kept = append(kept, h)
		if !h.s.old && h.committed > h.held+h.resting && h.asked < 0 && !h.marked && h.free+shareIdle < now {
			h.committed, h.want = h.held+h.resting, h.held+h.resting // not to be used from now on
			l.writeShare(h)
		}
	}
	clear(d.shares[len(kept):])
	d.shares = kept
	for _, s := range l.roll {
		s.slotWants = slices.DeleteFunc(s.slotWants, func(w *slotWant) bool {
			return w.n == 0 && w.held == 0 && w.on == nil && l.dropSlotWant(w)
		})
	}
	for key, ln := range d.lanes {
		if ln.held == 0 && len(ln.wants) == 0 {
			for _, c := range ln.counters {
				c.lanes--
			}
			delete(d.lanes, key)
		}
	}
	for name, c := range d.counters {
		if c.lanes == 0 && c.shares == 0 && c.taken() == 0 && len(c.waiting) == 0 && !c.dirty && !c.queued {
			delete(d.counters, name)
		}
	}
}

// dropSlotWant takes a demand out of its lane.
func (l *Leader) dropSlotWant(w *slotWant) bool {
	w.ln.wants = slices.DeleteFunc(w.ln.wants, func(o *slotWant) bool { return o == w })
	return true
}

// slotRecords writes the shares that have changed.
func (l *Leader) slotRecords(c *Command) []*slotShare {
	d := &l.slots
	var out, later []*slotShare
	for _, h := range d.write {
		if h.asked >= 0 && !h.s.over {
			later = append(later, h) // one entry at a time speaks of it
			continue
		}
		h.marked = false
		if h.s.over {
			continue // it leaves with the session
		}
		r := SlotRec{ID: h.c.id, Session: h.s.id, Most: h.want}
		if h.c.id == 0 {
			l.nextCounter++
			h.c.id = l.nextCounter
			r.ID, r.Name = h.c.id, h.c.name
		}
		h.asked, h.want = h.want, 0
		c.Slots = append(c.Slots, r)
		out = append(out, h)
	}
	d.write = later
	return out
}

// slotsCommitted: the log says so now. Whoever asked gets its slots in the next Turn,
// or in one to come, when its lease is renewed: until then the share is not idle.
func (l *Leader) slotsCommitted(written []*slotShare, now Time) {
	for _, h := range written {
		if !h.s.over {
			if h.asked > h.committed {
				h.free = now
			}
			h.committed = h.asked
		}
		h.asked = -1
		l.look(h.c)
	}
}
