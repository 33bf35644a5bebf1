package scheduler

import "errors"

// Holdings is the session's side of the promise: what a deliverer holds, and whether
// it may be used now. It is pure, as Leader is; the simulator drives both. x is the
// local clock (BootTime) throughout. One goroutine at a time.
type Holdings struct {
	p Params
}

// ErrExpired says that a permit can not be used any more: take another.
var ErrExpired = errors.New("the permit is no longer valid")

// NewHoldings begins a session that has joined.
func NewHoldings(p Params, session SessionID) *Holdings { return &Holdings{p: p} }

// Session is the one it was made for.
func (h *Holdings) Session() SessionID { return 0 }

// Hello opens a connection to the leader of a term, as soon as the term is known.
// From now on nothing of an older term, or of an older connection, is taken. False:
// a newer term is known already, so that this leader is none.
func (h *Holdings) Hello(term uint64, version uint64) (Hello, bool) { return Hello{}, false }

// Answer works in one answer of the leader: the request was sent at q, and the answer,
// stamped by the leader's clock, came at x; the session may work until lease. acked
// is the Seq of the last beat that it has worked in. behind is Interval.Observe's.
func (h *Holdings) Answer(term, conn uint64, q int64, stamp Time, x int64, lease Time, acked uint64) (behind Time) {
	return 0
}

// Order works in an order that came on a connection. It returns false for one that is
// not to be taken.
func (h *Holdings) Order(term, conn uint64, o Order) bool { return false }

// Live tells whether the session may work at all; until is when the local clock ends
// that, as things stand.
func (h *Holdings) Live(x int64) (ok bool, until int64) { return false, 0 }

// MayStart tells whether a transaction may be started: Live, with time to end it in.
func (h *Holdings) MayStart(x int64) bool { return false }

// Ticket is one start taken from a grant.
type Ticket struct {
	Lane       Lane
	Recipients int
	grant      *holding
}

// holding is a grant and what became of it.
type holding struct {
	Grant
	use  Use
	left int // neither started, returned nor taken
	rcpt int // recipients of those left
}

// Take takes one permit of a lane, with so many recipients. When there is none that
// may be used now, it is nil, and wait is when the local clock makes the next one in
// hand usable (0: none is in hand).
func (h *Holdings) Take(l Lane, recipients int, x int64) (t *Ticket, wait int64) { return nil, 0 }

// Begin is called right before the first octet leaves. An error (ErrExpired) says that
// it must not; the ticket is void, then.
func (h *Holdings) Begin(t *Ticket, x int64) error { return nil }

// Began is called right after the write; x is read after it. It tells whether the
// start was late: after the end of the grant, by a stall longer than Params.Margin.
func (h *Holdings) Began(t *Ticket, x int64) (late bool) { return false }

// Return gives back a ticket that was not begun.
func (h *Holdings) Return(t *Ticket) {}

// Release gives back all permits of a lane but keep, for want of mail.
func (h *Holdings) Release(l Lane, keep int) {}

// InHand counts the permits of a lane that are neither used nor expired.
func (h *Holdings) InHand(l Lane, x int64) (n, recipients int) { return 0, 0 }

// Closed says that the connection of a slot is closed, for certain.
func (h *Holdings) Closed(s SlotID) {}

// Gone says that nothing of a revoked partition is under way any more.
func (h *Holdings) Gone(p Part) {}

// Report fills in what a beat has to say: session, connection, Seq, uses, closed
// slots and partitions let go of. Expired permits go back.
func (h *Holdings) Report(b *Beat, x int64) {}
