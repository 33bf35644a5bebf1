package scheduler

import (
	"errors"
	"slices"
)

// ErrExpired says that a permit can not be used any more: take another.
var ErrExpired = errors.New("the permit is no longer valid")

// holding is a grant and what became of it.
type holding struct {
	Grant
	use   Use
	said  Use    // in the last beat
	seq   uint64 // of that beat
	left  int    // permits that are neither taken nor given back
	rcpt  int    // recipients left for them
	taken int    // tickets out
	over  bool   // it has expired, or was given back: what comes back goes back
}

func (g *holding) done() bool { return g.left == 0 && g.taken == 0 }

// Ticket is one start taken from a grant.
type Ticket struct {
	Lane       Lane
	Recipients int
	grant      *holding
}

func (h *Holdings) takeGrant(g *Grant) {
	n := &holding{Grant: *g, left: g.N, rcpt: g.Recipients}
	n.use.Grant, n.said.Grant = g.ID, g.ID
	h.grants = append(h.grants, n)
	h.lanes[g.Lane] = append(h.lanes[g.Lane], n)
}

// expired tells whether the grant's end may come before a write that is begun at x.
func (h *Holdings) expired(g *holding, x int64) bool {
	if h.p.broken == noExpiry {
		return false
	}
	v := h.clocks[g.Term]
	if v == nil {
		return g.Term < h.term // nothing more will be known of its clock
	}
	return v.Upper(h.p, x)+h.p.Margin > g.NotAfter
}

// begun tells whether the grant has begun for certain.
func (h *Holdings) begun(g *holding, x int64) bool {
	v := h.clocks[g.Term]
	return v != nil && v.proven && (h.p.broken == noNotBefore || v.Lower(h.p, x) >= g.NotBefore)
}

// begins is when to look again whether a grant has begun; 0: that is not known.
func (h *Holdings) begins(g *holding, x int64) int64 {
	switch v := h.clocks[g.Term]; {
	case v == nil:
		return 0
	case !v.proven:
		return max(v.after(h.p, g.NotBefore), x+int64(5*Millisecond))
	default:
		return v.after(h.p, g.NotBefore)
	}
}

// Take takes one permit of a lane, with so many recipients. When there is none that
// may be used now, it is nil, and wait is when the local clock makes the next one in
// hand usable (0: none is in hand).
func (h *Holdings) Take(l Lane, recipients int, x int64) (t *Ticket, wait int64) {
	if !h.MayStart(x) {
		return nil, 0
	}
	list := h.lanes[l]
	kept := list[:0]
	for i, g := range list {
		if h.expired(g, x) {
			h.giveBack(g, g.left)
		}
		if g.left == 0 {
			continue
		}
		kept = append(kept, g)
		if g.rcpt < recipients {
			continue
		}
		if !h.begun(g, x) {
			if at := h.begins(g, x); at > 0 && (wait == 0 || at < wait) {
				wait = at
			}
			continue
		}
		g.left--
		g.rcpt -= recipients
		g.taken++
		t = &Ticket{l, recipients, g}
		kept = append(kept, list[i+1:]...)
		wait = 0
		break
	}
	h.setLane(l, list, kept)
	return t, wait
}

func (h *Holdings) setLane(l Lane, list, kept []*holding) {
	clear(list[len(kept):])
	if len(kept) == 0 {
		delete(h.lanes, l)
	} else if len(kept) != len(list) {
		h.lanes[l] = kept
	}
}

// Begin is called right before the first octet leaves. An error (ErrExpired) says that
// it must not; the ticket is void, then.
func (h *Holdings) Begin(t *Ticket, x int64) error {
	g := t.grant
	if !h.expired(g, x) && h.begun(g, x) {
		return nil
	}
	g.taken--
	g.use.Returned++
	g.use.ReturnedRecipients += t.Recipients
	return ErrExpired
}

// Began is called right after the write; x is read after it. It tells whether the
// start was late: after the end of the grant, by a stall longer than Params.Margin.
func (h *Holdings) Began(t *Ticket, x int64) (late bool) {
	g := t.grant
	at := h.clocks[g.Term].Upper(h.p, x)
	late = at > g.NotAfter
	g.taken--
	g.use.Started++
	g.use.Recipients += t.Recipients
	g.use.At = max(g.use.At, at)
	if late {
		g.use.Late++
	}
	return late
}

// Return gives back a ticket that was not begun: another may use it.
func (h *Holdings) Return(t *Ticket) {
	g := t.grant
	g.taken--
	if g.over {
		g.use.Returned++
		g.use.ReturnedRecipients += t.Recipients
		return
	}
	if !slices.Contains(h.lanes[g.Lane], g) {
		h.lanes[g.Lane] = append(h.lanes[g.Lane], g)
	}
	g.left++
	g.rcpt += t.Recipients
}

// giveBack returns n permits of a grant to the leader.
func (h *Holdings) giveBack(g *holding, n int) {
	g.left -= n
	g.use.Returned += n
	if g.left == 0 {
		g.over = true
		g.use.ReturnedRecipients += g.rcpt
		g.rcpt = 0
	}
}

// Release gives back all permits of a lane but keep, for want of mail.
func (h *Holdings) Release(l Lane, keep int) {
	list := h.lanes[l]
	kept := list[:0]
	for _, g := range list {
		n := max(0, g.left-keep)
		keep = max(0, keep-g.left)
		if n > 0 {
			h.giveBack(g, n)
		}
		if g.left > 0 {
			kept = append(kept, g)
		}
	}
	h.setLane(l, list, kept)
}

// InHand counts the permits of a lane that are neither taken nor expired.
func (h *Holdings) InHand(l Lane, x int64) (n, recipients int) {
	for _, g := range h.lanes[l] {
		if !h.expired(g, x) {
			n += g.left
			recipients += g.rcpt
		}
	}
	return n, recipients
}

// expire gives back what has expired.
func (h *Holdings) expire(x int64) {
	for _, g := range h.grants {
		if g.left > 0 && h.expired(g, x) {
			h.giveBack(g, g.left)
		}
	}
	for l, list := range h.lanes {
		kept := list[:0]
		for _, g := range list {
			if g.left > 0 {
				kept = append(kept, g)
			}
		}
		h.setLane(l, list, kept)
	}
}
