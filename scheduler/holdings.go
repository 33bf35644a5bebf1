package scheduler

import (
	"maps"
	"slices"
)

// Holdings is the session's side of the promise: what a deliverer holds, and whether
// it may be used now. It is pure, as Leader is; the simulator drives both. x is the
// local clock (BootTime) throughout. One goroutine at a time.
type Holdings struct {
	p       Params
	session SessionID

	term   uint64 // the newest leader it has spoken to
	conn   uint64 // the newest connection
	seq    uint64
	clocks map[uint64]*Interval // of the newest terms

	leaseTerm uint64
	lease     Time
	leaseAt   int64 // when it came: the mutant slotRecvLease counts from it
	leaseFrom Time

	lanes  map[Lane][]*holding // permits, those that came first in front
	grants []*holding          // whose use is not settled
	slots  map[SlotID]Lane
	parts  map[uint32]uint64
	closed []said[SlotID] // to be reported until they are known to be heard
	gone   []said[Part]
	acked  uint64
}

// said is something to be reported, and the beat that did so first; 0: none yet.
type said[T any] struct {
	what T
	seq  uint64
}

// NewHoldings begins a session that has joined.
func NewHoldings(p Params, session SessionID) *Holdings {
	return &Holdings{
		p: p, session: session, clocks: map[uint64]*Interval{}, lanes: map[Lane][]*holding{},
		slots: map[SlotID]Lane{}, parts: map[uint32]uint64{},
	}
}

// Session is the one it was made for.
func (h *Holdings) Session() SessionID { return h.session }

// Term is the newest leader's that it has spoken to.
func (h *Holdings) Term() uint64 { return h.term }

// Hello opens a connection to the leader of a term, as soon as the term is known.
// From now on nothing of an older term, or of an older connection, is taken. False:
// a newer term is known already, so that this leader is none.
func (h *Holdings) Hello(term uint64, version uint64) (Hello, bool) {
	if term < h.term {
		return Hello{}, false
	}
	if term > h.term {
		h.term = term
		h.forgetReports()
	}
	h.conn++
	h.seq, h.acked = 0, 0
	h.closed, h.gone = nil, nil // the claims say it all
	for _, g := range h.grants {
		g.said = Use{Grant: g.ID}
	}
	hello := Hello{Session: h.session, Term: term, Conn: h.conn, Version: version}
	for _, id := range slices.Sorted(maps.Keys(h.slots)) {
		hello.Slots = append(hello.Slots, SlotClaim{id, h.slots[id]})
	}
	for _, n := range slices.Sorted(maps.Keys(h.parts)) {
		hello.Parts = append(hello.Parts, Part{n, h.parts[n]})
	}
	return hello, true
}

// forgetReports drops what only older leaders could make use of.
func (h *Holdings) forgetReports() {
	h.grants = slices.DeleteFunc(h.grants, func(g *holding) bool { return g.Term != h.term && g.done() })
	for term := range h.clocks {
		if term+4 < h.term {
			delete(h.clocks, term)
		}
	}
}

// Met works in what the leader of a term has said before Hello; as in Answer.
func (h *Holdings) Met(term uint64, q int64, stamp Time, x int64) (behind Time) {
	v := h.clocks[term]
	if v == nil {
		v = new(Interval)
		h.clocks[term] = v
	}
	return v.Observe(h.p, q, stamp, x)
}

// Answer works in one answer of the leader: the request was sent at q, and the answer,
// stamped by the leader's clock, came at x; the session may work until lease. acked
// is the Seq of the last beat that the leader has worked in, and committed Leader.Led.
// behind is Interval.Observe's.
func (h *Holdings) Answer(term, conn uint64, q int64, stamp Time, x int64, lease Time, acked uint64, committed Time) (behind Time) {
	behind = h.Met(term, q, stamp, x)
	v := h.clocks[term]
	v.Prove(h.p, committed)
	if conn != h.conn || term != h.term {
		return behind
	}
	// A leader that has not promised anything yet counts with the older lease.
	if lease > 1 && v.proven && (term > h.leaseTerm || lease > h.lease) {
		h.leaseTerm, h.lease, h.leaseAt, h.leaseFrom = term, lease, x, stamp
	}
	h.acked = max(h.acked, acked)
	h.closed = heard(h.closed, h.acked)
	h.gone = heard(h.gone, h.acked)
	return behind
}

// heard drops what the leader has heard.
func heard[T any](list []said[T], acked uint64) []said[T] {
	return slices.DeleteFunc(list, func(s said[T]) bool { return s.seq > 0 && s.seq <= acked })
}

// Lease is until when the session may work, on the clock of the newest leader.
func (h *Holdings) Lease() Time { return h.lease }

// Order works in an order that came on a connection. It returns false for one that is
// not to be taken.
func (h *Holdings) Order(term, conn uint64, o Order) bool {
	if (term != h.term || conn != h.conn) && h.p.broken != noFence && h.p.broken != noFenceNoMax {
		return false
	}
	switch {
	case o.Grant != nil:
		h.takeGrant(o.Grant)
	case o.Slot != nil:
		h.slots[o.Slot.ID] = o.Slot.Lane
	case o.EndSlot != 0:
		_, ok := h.slots[o.EndSlot]
		return ok
	case o.Part != nil:
		h.parts[o.Part.N] = o.Part.Epoch
	case o.EndPart != nil:
		return h.parts[o.EndPart.N] == o.EndPart.Epoch
	}
	return true
}

// Live tells whether the session may work at all; until is when the local clock ends
// that, as things stand.
func (h *Holdings) Live(x int64) (ok bool, until int64) {
	v := h.clocks[h.leaseTerm]
	if v == nil || h.lease <= 1 {
		return false, 0
	}
	end := h.lease - h.p.Margin
	if h.p.broken == slotRecvLease {
		until = h.leaseAt + int64(end-h.leaseFrom)
	} else {
		until = v.when(h.p, end)
	}
	return x < until, until
}

// MayStart tells whether a transaction may be started: Live, with time to end it in.
func (h *Holdings) MayStart(x int64) bool {
	ok, _ := h.Live(x + int64(h.p.Quit))
	return ok
}

// Lapse drops all that is held when the lease is over. Every connection must be closed
// by now, and nothing of a partition under way. False: the lease is not over.
func (h *Holdings) Lapse(x int64) bool {
	if ok, _ := h.Live(x); ok {
		return false
	}
	for _, id := range slices.Sorted(maps.Keys(h.slots)) {
		h.Closed(id)
	}
	for _, n := range slices.Sorted(maps.Keys(h.parts)) {
		h.Gone(Part{n, h.parts[n]})
	}
	return true
}

// Closed says that the connection of a slot is closed, for certain.
func (h *Holdings) Closed(s SlotID) {
	if _, ok := h.slots[s]; ok {
		delete(h.slots, s)
		h.closed = append(h.closed, said[SlotID]{what: s})
	}
}

// Gone says that nothing of a revoked partition is under way any more.
func (h *Holdings) Gone(p Part) {
	if h.parts[p.N] == p.Epoch {
		delete(h.parts, p.N)
		h.gone = append(h.gone, said[Part]{what: p})
	}
}

// Slots lists the slots that are held.
func (h *Holdings) Slots() map[SlotID]Lane { return h.slots }

// Parts lists the partitions that are held, with their epochs.
func (h *Holdings) Parts() map[uint32]uint64 { return h.parts }

// Report fills in what a beat has to say: session, connection, Seq, uses, closed
// slots and partitions let go of. Expired permits go back.
func (h *Holdings) Report(b *Beat, x int64) {
	h.expire(x)
	h.seq++
	b.Session, b.Conn, b.Seq = h.session, h.conn, h.seq
	kept := h.grants[:0]
	for _, g := range h.grants {
		if g.Term == h.term && g.use != g.said {
			b.Uses = append(b.Uses, g.use)
			g.said, g.seq = g.use, h.seq
		}
		if !g.done() || g.Term == h.term && g.seq > h.acked {
			kept = append(kept, g)
		}
	}
	clear(h.grants[len(kept):])
	h.grants = kept
	for i := range h.closed {
		b.Closed = append(b.Closed, h.closed[i].what)
		h.closed[i].said(h.seq)
	}
	for i := range h.gone {
		b.Gone = append(b.Gone, h.gone[i].what)
		h.gone[i].said(h.seq)
	}
}

func (s *said[T]) said(seq uint64) {
	if s.seq == 0 {
		s.seq = seq
	}
}
