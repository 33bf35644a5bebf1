package queue

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tarishi/tarishi/mail"
)

// Actions that mean the same mail take effect in the order in which they were asked for,
// whatever node carries them out. That is no reason to let a hold wait for a release
// that is under way: the newer one goes first in each partition, the older one goes on
// after it, and passes over what the newer one has decided. Only where that would come
// to something else the older one is finished first. All of it follows from the journal
// alone, so it is the same on every node and after a restart; and never do two of them
// work on one partition at a time, or one would not see what the other is moving.

// final tells whether a verb takes mail out of the queue.
func (v Verb) final() bool { return v == Remove || v == Bounce }

// decidesHeld tells whether a verb decides if mail is held.
func (v Verb) decidesHeld() bool { return v == Hold || v == Release }

// olderFirst tells whether the older of two actions must be over before the newer may
// begin: what it takes out must not be sent, or taken out in another way, before; nor
// may the one change whether mail is held if the other chooses by that.
func olderFirst(older, newer *acting) bool {
	switch {
	case older.Verb.final():
		return newer.Verb != Hold || older.Filter.Held != nil
	case newer.Verb.final():
		return newer.Filter.Held != nil && older.Verb.decidesHeld()
	}
	return false
}

// turns lists open actions as their turns come: the newest first, unless an older one
// must be over before.
func turns(open []*acting) (out []*acting) {
	open = slices.SortedFunc(slices.Values(open), func(x, y *acting) int { return cmp.Compare(x.seq, y.seq) })
	for len(open) > 0 {
		i := len(open) - 1
		for slices.ContainsFunc(open[:i], func(x *acting) bool { return x.m.overlaps(open[i].m) && olderFirst(x, open[i]) }) {
			i--
		}
		out = append(out, open[i])
		open = slices.Delete(open, i, i+1)
	}
	return out
}

// beforeLocked lists the open actions on some of the same mail whose turn comes before x's.
func (s *actions) beforeLocked(x *acting) (ys []*acting) {
	var open []*acting
	for _, y := range s.known {
		if y.open() {
			open = append(open, y)
		}
	}
	if len(open) < 2 {
		return nil
	}
	for _, y := range turns(open) {
		if y == x {
			return ys
		}
		if y.m.overlaps(x.m) {
			ys = append(ys, y)
		}
	}
	return nil // it is over
}

// overlaps tells whether two filters may mean the same mail.
func (m *matcher) overlaps(n *matcher) bool {
	switch {
	case m.Tenant != "" && n.Tenant != "" && m.Tenant != n.Tenant,
		m.Class != nil && n.Class != nil && *m.Class != *n.Class,
		m.message != "" && n.message != "" && m.message != n.message,
		m.message != "" && n.message != "" && m.index >= 0 && n.index >= 0 && m.index != n.index:
		return false
	case m.destinations == nil || n.destinations == nil:
		return true
	}
	for d := range m.destinations {
		if n.destinations[d] {
			return true
		}
	}
	return false
}

// decides tells whether it is for a hold or a release to say if a delivery is held, also
// when it is as they want it already.
func (x *acting) decides(d *mail.Delivery) bool {
	if held := x.Filter.Held; !x.Verb.decidesHeld() || held != nil && *held == (x.Verb == Hold) {
		return false // holding what is held
	}
	return !d.Message.Received.After(x.At) && x.wide.match(d)
}

// passesOver tells whether a newer action, which went first in a partition (or in READY),
// has decided if a delivery is held, so that the older x has no say any more.
func (s *actions) passesOver(x *acting, d *mail.Delivery, part uint32, ready bool) bool {
	if !x.Verb.decidesHeld() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, y := range s.known {
		if y.seq <= x.seq || !y.Verb.decidesHeld() || y.Verb == x.Verb {
			continue
		}
		over := y.done[part]
		if ready {
			over = y.ready != nil
		}
		if d.Operator != nil && d.Operator.Action == y.ID || over && y.decides(d) {
			return true
		}
	}
	return false
}

// opposed tells whether a newer action is known that may have decided otherwise than x.
func (s *actions) opposed(x *acting) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, y := range s.known {
		if y.seq > x.seq && x.Verb.decidesHeld() && y.Verb.decidesHeld() && y.Verb != x.Verb {
			return true
		}
	}
	return false
}

// freeLocked are those partitions in which no other action goes before x.
func (s *actions) freeLocked(x *acting, parts []uint32) []uint32 {
	free := slices.Clone(parts)
	for _, y := range s.beforeLocked(x) {
		free = slices.DeleteFunc(free, func(p uint32) bool { return !y.done[p] })
	}
	return free
}

// readyBlockedLocked tells whether another action goes before x in READY.
func (s *actions) readyBlockedLocked(x *acting) bool {
	return slices.ContainsFunc(s.beforeLocked(x), func(y *acting) bool { return y.ready == nil })
}

// waitsForLocked says what an action that is not over waits for; empty: for no other.
func (s *actions) waitsForLocked(x *acting) string {
	for _, y := range s.beforeLocked(x) {
		for p := range uint32(x.parts) {
			if !x.done[p] && !y.done[p] {
				return fmt.Sprintf("it goes on when action %s (%s), which means some of the same mail, is over", y.ID, y.Verb)
			}
		}
	}
	return ""
}

// errYield ends a pass that lets another action go before it.
var errYield = errors.New("another action goes first")

// yields tells whether a pass has to end for that.
func (p *pass) yields() bool {
	s := p.q.actions
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.freeLocked(p.x, p.parts)) < len(p.parts)
}

// show lets operators see a pass while it is under way, and keeps other actions' passes
// off its partitions. false: one of them is there still.
func (s *actions) show(p *pass) (end func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := p.x.ID
	for other, passes := range s.live {
		y := s.known[other]
		if other == id || y == nil || !y.m.overlaps(p.x.m) {
			continue
		}
		for _, o := range passes {
			if len(o.parts) == 0 || len(p.parts) == 0 || slices.ContainsFunc(o.parts, func(n uint32) bool { return slices.Contains(p.parts, n) }) {
				return nil, false
			}
		}
	}
	if s.live[id] == nil {
		s.live[id] = map[string]*pass{}
	}
	s.live[id][p.id] = p
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.live[id], p.id); len(s.live[id]) == 0 {
			delete(s.live, id)
		}
		s.nudgeLocked()
	}, true
}

// nudgeLocked lets all workers see whether they may go on.
func (s *actions) nudgeLocked() {
	for _, w := range s.wakes {
		nudge(w)
	}
}
