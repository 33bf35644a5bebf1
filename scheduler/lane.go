package scheduler

import (
	"hash/maphash"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// States of a lane.
const (
	laneIdle    = iota // nobody wants anything, or it is being served
	laneReady          // in Leader.ready
	laneWaiting        // in the queue of the counter on
	laneLater          // in Leader.noHorizon
	laneShut           // gets nothing as long as these rules and demands stand
)

// lane is one Lane with demand.
type lane struct {
	Lane
	chain   *lane // another of the same hash
	bind    *binding
	wants   []*want  // of the sessions, in turn
	on      *counter // the one it waits for
	used    Time     // when it last had a demand
	next    int32
	at      int32 // in Leader.laneList
	quantum uint8
	weight  uint8 // of its tenant
	state   uint8
}

// binding is what bounds a lane under one version of the rules. Grants keep theirs:
// they are settled where they were counted.
type binding struct {
	version  uint64
	lane     *lane
	counters []*counter
	rare     *rareBinding // nil: none of it
}

// rareBinding is what few lanes have.
type rareBinding struct {
	shut   string // why nothing may be sent; empty: it may
	trials []*trial
}

// shut is why nothing may be sent; empty: it may.
func (b *binding) shut() string {
	if b.rare == nil {
		return ""
	}
	return b.rare.shut
}

// want is the demand of one session in one lane.
type want struct {
	s          *session
	ln         *lane // nil: over
	held       Time  // NotBefore of the last Hold
	n          int32
	recipients int32
	head       int32
	refused    int32 // a head that no window ever has room for; 0: none was refused
	inLane     int32 // positions in ln.wants and s.wants
	inSession  int32
	stale      bool // in Leader.rehold
}

// laneFor finds a lane and binds it by the rules in force.
func (l *Leader) laneFor(key Lane, now Time) *lane {
	h := l.hash(&key)
	ln := l.lanes[h]
	for ln != nil && ln.Lane != key {
		ln = ln.chain
	}
	if ln == nil {
		ln = &lane{Lane: key, at: int32(len(l.laneList)), chain: l.lanes[h]}
		l.lanes[h] = ln
		l.laneList = append(l.laneList, ln)
	}
	if ln.bind == nil || ln.bind.version != l.version {
		l.bind(ln, now)
	}
	return ln
}

func (l *Leader) bind(ln *lane, now Time) {
	bounds := l.table.Bounds(ln.Dest, ln.Source, ln.Tenant)
	b := &binding{version: l.version, lane: ln}
	ln.unbind()
	quantum := int64(32)
	ln.weight = uint8(l.table.Shares().Weight(ln.Tenant))
	for i := range bounds.Counters {
		x := &bounds.Counters[i]
		if (x.Unit == shaping.NewConnections) != (ln.Kind == Connection) {
			continue
		}
		c := l.counterFor(x, now)
		c.lanes++
		c.from = l.origin(x.From, x.Lowered)
		b.counters = append(b.counters, c)
		if x.Unit == shaping.Recipients {
			continue
		}
		// Lanes that share a small window take small turns.
		for k := range c.windows {
			quantum = min(quantum, max(1, c.windows[k].max/16))
		}
	}
	var rare rareBinding
	for i := range bounds.Shadows {
		if x := &bounds.Shadows[i]; (x.Unit == shaping.NewConnections) == (ln.Kind == Connection) {
			rare.trials = append(rare.trials, l.trialFor(x, now))
		}
	}
	// So do tenants of little weight, where there are others of more.
	ln.quantum = uint8(max(1, quantum*int64(ln.weight)/int64(l.heaviest)))
	if s := bounds.Suspended; s != nil {
		rare.shut = "suspended"
		if s.Reason != "" {
			rare.shut += ": " + s.Reason
		}
	}
	if rare.shut != "" || rare.trials != nil {
		r := rare // not for every lane
		b.rare = &r
	}
	ln.bind = b
}

// hash is of what mostly tells lanes apart.
func (l *Leader) hash(key *Lane) uint64 {
	h := maphash.String(l.seed, key.Dest.Key) + uint64(key.Kind) + uint64(key.Class)<<8
	for _, s := range [...]string{key.Tenant, key.Source} {
		if h *= 0x9e3779b97f4a7c15; s != "" {
			h += maphash.String(l.seed, s)
		}
	}
	return h
}

// forgetLane takes a lane out of the map.
func (l *Leader) forgetLane(ln *lane) {
	h := l.hash(&ln.Lane)
	if l.lanes[h] == ln {
		if l.lanes[h] = ln.chain; ln.chain == nil {
			delete(l.lanes, h)
		}
		return
	}
	for o := l.lanes[h]; o != nil; o = o.chain {
		if o.chain == ln {
			o.chain = ln.chain
		}
	}
}

// unbind lets the lane's counters be forgotten.
func (ln *lane) unbind() {
	if ln.bind != nil {
		for _, c := range ln.bind.counters {
			c.lanes--
		}
	}
}

// want sets what a session wants of a lane.
func (l *Leader) want(s *session, x *Want, now Time) {
	ln := l.laneFor(x.Lane, now)
	ln.used = now
	var w *want
	for _, o := range ln.wants {
		if o.s == s {
			w = o
			break
		}
	}
	if w == nil {
		if x.N <= 0 {
			return
		}
		w = &want{s: s, ln: ln, inLane: int32(len(ln.wants)), inSession: int32(len(s.wants))}
		ln.wants = append(ln.wants, w)
		s.wants = append(s.wants, w)
	}
	w.n = clip(x.N)
	w.recipients, w.head = max(clip(x.Recipients), w.n), max(clip(x.Head), 1)
	if w.refused > 0 && w.head >= w.refused {
		w.n = 0
	}
	switch {
	case w.n == 0:
		if ln.state == laneWaiting {
			l.touch(ln.on) // it may have been the first of the queue
		}
	case ln.state == laneIdle, ln.state == laneShut:
		l.push(ln)
	case ln.state == laneWaiting && w.held <= now && !w.stale:
		w.stale = true
		l.rehold = append(l.rehold, w)
	}
}

// clip makes a number that somebody sent one that can be reckoned with.
func clip(n int) int32 { return int32(min(max(n, 0), 1<<30)) }

// origin is the one copy of a rule's name that all its counters share.
func (l *Leader) origin(r shaping.RuleRef, lowered []shaping.Lowered) *origin {
	if len(lowered) > 0 {
		return &origin{r, lowered}
	}
	p := l.origins[r]
	if p == nil {
		p = &origin{rule: r}
		l.origins[r] = p
	}
	return p
}

// push has the lane served in the next Turn.
func (l *Leader) push(ln *lane) {
	ln.state = laneReady
	l.ready[ln.Class] = append(l.ready[ln.Class], ln)
}

// serveReady serves the lanes that need not wait, class by class, each in turn.
func (l *Leader) serveReady(now Time) {
	var at [len(l.ready)]int
	for i := 0; i < len(mail.Classes); {
		c := mail.Classes[i]
		if at[c] == len(l.ready[c]) {
			i++
			continue
		}
		ln := l.ready[c][at[c]]
		l.ready[c][at[c]] = nil
		at[c]++
		ln.state = laneIdle
		l.serve(ln, nil, now)
	}
	for c := range l.ready {
		l.ready[c] = l.ready[c][:0]
	}
}

// peek is the demand that comes next; nil: there is none.
func (ln *lane) peek() *want {
	for range ln.wants {
		if int(ln.next) >= len(ln.wants) {
			ln.next = 0
		}
		if w := ln.wants[ln.next]; w.n > 0 {
			return w
		}
		ln.next++
	}
	return nil
}

// drop takes a demand out of its lane and session.
func (w *want) drop() {
	ln, s := w.ln, w.s
	last := ln.wants[len(ln.wants)-1]
	ln.wants[w.inLane], last.inLane = last, w.inLane
	ln.wants[len(ln.wants)-1] = nil
	ln.wants = ln.wants[:len(ln.wants)-1]
	last = s.wants[len(s.wants)-1]
	s.wants[w.inSession], last.inSession = last, w.inSession
	s.wants[len(s.wants)-1] = nil
	s.wants = s.wants[:len(s.wants)-1]
	w.n, w.ln = 0, nil
}

// forgetWants drops all demands; who still wants something says so anew.
func (l *Leader) forgetWants() {
	for _, s := range l.roll {
		for len(s.wants) > 0 {
			s.wants[len(s.wants)-1].drop()
		}
		for _, w := range s.slotWants {
			l.setSlotWant(w, 0)
		}
	}
	for _, ln := range l.laneList {
		ln.state, ln.on = laneIdle, nil
	}
	for _, c := range l.list {
		c.queue, c.starved, c.index = nil, false, -1
	}
	clear(l.sleep)
	clear(l.noHorizon)
	for c := range l.ready {
		clear(l.ready[c])
		l.ready[c] = l.ready[c][:0]
	}
	l.sleep, l.noHorizon, l.rehold = l.sleep[:0], l.noHorizon[:0], l.rehold[:0]
}
