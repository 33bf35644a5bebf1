package deliverer

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// slotRest is how long a slot rests between two connections of ours: the receiver
	// may notice the end of the first after the beginning of the second, and would
	// then count one too many.
	slotRest = time.Second
	// cutLead is how long before its lease ends a connection is cut: longer than a
	// QUIT may take that is under way then.
	cutLead = 3 * time.Second
)

// errLeaseOver is why a connection was cut whose slot could not be renewed.
var errLeaseOver = errors.New("the lease of the connection's slot ran out")

// slotFor takes the slot that another connection for l needs, nil when it needs
// none; not ok: there is none now. With mu held.
func (d *Deliverer) slotFor(l *lane, impatient bool) (s Slot, ok bool) {
	a := l.account()
	if a == nil || a.slots == nil {
		return nil, true
	}
	if a.bare() == 0 { // else a connection that stands has it first
		if s := a.slots.Take(); s != nil {
			return s, true
		}
		d.spare(l.path)
	}
	n := (l.len()+3)/4 - l.path.open
	if impatient {
		n = l.len() - l.opening
	}
	a.short(max(n, 1))
	return nil, false
}

// spare sends an idle connection home whose slot another path of its destination
// could use. With mu held.
func (d *Deliverer) spare(p *path) {
	if len(p.idle) > 0 {
		return
	}
	for x := range p.account.paths {
		if x != p && len(x.idle) > 0 && x.idle[0].slot != nil {
			d.sendHome(x.idle[0], false)
			return
		}
	}
}

// give hands c a slot. With mu held.
func (d *Deliverer) give(c *carrier, s Slot) {
	if s == nil {
		return
	}
	a := c.path.account
	c.slot, c.slotOf = s, a
	a.held++
	if c.client != nil {
		a.slotted++
	}
	d.slotted[c] = struct{}{}
}

// dropSlot gives c's slot back: its socket is closed. With mu held.
func (c *carrier) dropSlot() {
	if c.slot == nil {
		return
	}
	a := c.slotOf
	a.held--
	if c.client != nil {
		a.slotted--
	}
	c.slot.Close()
	c.slot, c.slotOf = nil, nil
	delete(c.d.slotted, c)
	if a.slots != nil {
		a.asked = max(a.asked-1, a.held)
		a.slots.Want(a.asked)
	}
}

// mayStart tells whether the connection may carry another transaction.
func (c *carrier) mayStart() bool {
	if c.slot == nil {
		return c.path.account == nil || c.path.account.slots == nil
	}
	return !c.slot.Ending() && c.slot.MayStart()
}

// keeps tells whether a free connection may stay: it has the slot it needs, or gets
// one, and nobody waits for it. With mu held.
func (c *carrier) keeps() bool {
	a := c.path.account
	if a == nil {
		return true
	}
	if c.path.lanes == 0 {
		return false // its domains have become another destination's
	}
	if c.slotOf != nil && (c.slotOf != a || a.slots == nil) {
		c.dropSlot()
	}
	if a.slots == nil {
		return true
	}
	if c.slot == nil {
		c.d.give(c, a.slots.Take())
		if c.slot == nil {
			a.short(1)
		}
	}
	return c.slot != nil && !c.slot.Ending()
}

// sendHome has an idle carrier hang up. With mu held.
func (d *Deliverer) sendHome(c *carrier, slam bool) {
	if i := slices.Index(c.path.idle, c); i >= 0 {
		c.path.unrest(i)
		c.slam = slam
		c.wake <- start{}
	}
}

// dismissEnding sends home the idle connections of a that are not to stay. With mu held.
func (d *Deliverer) dismissEnding(a *account) {
	for p := range a.paths {
		for _, c := range slices.Clone(p.idle) {
			if !c.keeps() {
				d.sendHome(c, false)
			}
		}
	}
}

// cutLeases closes the connections whose slots are about to belong to others. With mu held.
func (d *Deliverer) cutLeases(now time.Time) {
	for c := range d.slotted {
		if now.Before(c.slot.Deadline().Add(-cutLead)) {
			continue
		}
		if c.cut != nil {
			c.cut(errLeaseOver)
			c.cut = nil
			d.met.leasesCut.Add(1)
		} else {
			d.sendHome(c, true)
		}
	}
}

// cuttable ties what the carrier does until end is called to its slot: the context
// ends with errLeaseOver when the lease does. Without a slot it is parent.
func (c *carrier) cuttable(parent context.Context) (ctx context.Context, end func()) {
	if c.slot == nil {
		return parent, func() {}
	}
	ctx, cut := context.WithCancelCause(parent)
	c.d.mu.Lock()
	c.cut = cut
	c.d.mu.Unlock()
	return ctx, func() {
		c.d.mu.Lock()
		c.cut = nil
		c.d.mu.Unlock()
		cut(nil)
	}
}
