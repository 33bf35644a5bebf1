package deliverer

import (
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// account is one destination as its limits see it, and what the scheduler lets this
// process have there. Several paths may lead to it, and several domains. Without a
// scheduler there is none. Guarded by Deliverer.mu.
type account struct {
	to     shaping.Destination
	limits Limits // what is the same for all tenants
	purses map[party]*purse
	paths  map[*path]struct{}

	slots    Slots   // nil: a connection needs none
	dials    Permits // nil: a new connection needs none
	asked    int     // slots wanted, as said last
	dialling int     // new connections wanted, as said last
	weights  int     // of the purses that have something to spend on
	lightest int     // of these

	rate   rate      // of starts
	passed int       // starts of higher classes since bulk mail had one
	bulkAt time.Time // when that was

	jobs      int // in the hand
	open      int // carriers, those on their way included
	connected int // of these, those with a connection
	idle      int // and of these, those with nothing to do
	held      int // slots of its carriers
	slotted   int // connected carriers with a slot
	knocking  int // carriers that have no permit for their new connection yet

	tendAt time.Time // when the ticker is to look after it

	news chan struct{} // closed at the next news of it; nil: nobody waits for that
}

// account returns the account of a destination, made when needed. With mu held.
func (d *Deliverer) account(to shaping.Destination) *account {
	a := d.accounts[to]
	if a == nil {
		a = &account{to: to, purses: map[party]*purse{}, paths: map[*path]struct{}{}}
		d.accounts[to] = a
		d.refresh(a, time.Now())
	}
	return a
}

// purse returns a party's purse, made when needed. With mu held.
func (d *Deliverer) purse(a *account, of party, now time.Time) *purse {
	p := a.purses[of]
	if p == nil {
		p = &purse{account: a, party: of, weight: d.weight(of.tenant)}
		a.purses[of] = p
		d.refreshPurse(p, now)
	}
	return p
}

// refresh reads the limits of a anew. With mu held.
func (d *Deliverer) refresh(a *account, now time.Time) {
	s := d.c.Scheduler
	a.limits = s.Limits(a.to, "", mail.Normal)
	if a.limits.Slots == (a.slots == nil) {
		if a.slots != nil {
			a.slots.Want(0)
			a.slots = nil
		} else {
			a.slots = s.Slots(a.to)
		}
		a.asked = 0
	}
	if a.limits.Dials == (a.dials == nil) {
		if a.dials != nil {
			a.dials.Want(0, 0, 0)
			a.dials = nil
		} else {
			a.dials = s.Dials(a.to)
		}
		a.dialling = 0
	}
	for _, p := range a.purses {
		d.refreshPurse(p, now)
	}
	if a.slots != nil || a.dials != nil || a.limits.Suspended {
		d.due(a)
	}
}

func (d *Deliverer) refreshPurse(p *purse, now time.Time) {
	a, s := p.account, d.c.Scheduler
	if w := d.weight(p.tenant); w != p.weight {
		if p.counted {
			a.weights += w - p.weight
		}
		p.weight = w
	}
	limits := s.Limits(a.to, p.tenant, p.class)
	p.maxRecipients = limits.MaxRecipients
	switch {
	case limits.Permits:
		if p.permits == nil {
			p.told = want{}
		}
		p.permits = s.Permits(a.to, p.tenant, p.class) // the same, perhaps by other limits
	case p.permits != nil:
		p.permits.Want(0, 0, 0)
		p.permits, p.told = nil, want{}
	}
	p.reopen() // the scheduler will say so if it is still shut
	if p.suspended = limits.Suspended; p.suspended {
		until := limits.Until
		if until.IsZero() || until.After(now.Add(suspendedLook)) {
			until = now.Add(suspendedLook)
		}
		if until.Before(now.Add(soon)) {
			until = now.Add(soon) // its time is up, and the rules will say so in a moment
		}
		d.hold(p, Hold{NotBefore: until, Why: limits.Why}, now)
	}
	if p.permits != nil || limits.Suspended {
		d.due(a)
	}
	d.tell(p, now)
}

// suspendedLook is how often a suspension is asked about again without news.
const suspendedLook = time.Minute

// binds tells whether a lane of a is bound by more than the process's own rules.
func (a *account) binds(l *lane) bool {
	return a != nil && (a.slots != nil || a.dials != nil || a.limits.Suspended || a.limits.Tenants || l.limited())
}

// coming is how many carriers are on their way to a connection.
func (a *account) coming() int { return a.open - a.connected }

// bare is how many connections stand without the slot they need: they were opened
// before there was a limit.
func (a *account) bare() int {
	if a.slots == nil {
		return 0
	}
	return a.connected - a.slotted
}

// short says that n more slots are wanted than there are. With mu held.
func (a *account) short(n int) {
	if n = min(a.held+n, a.limits.Connections); n > a.asked {
		a.asked = n
		a.slots.Want(n)
	}
}

// relax says that no more slots and new connections are wanted when nothing waits
// for them. With mu held.
func (a *account) relax() {
	if a.jobs > 0 {
		return
	}
	for _, p := range a.purses {
		if len(p.asking) > 0 && p.until.IsZero() {
			return
		}
	}
	if a.slots != nil && a.asked != a.held {
		a.asked = a.held
		a.slots.Want(a.held)
	}
	if a.dials != nil && a.dialling > 0 && a.knocking == 0 {
		a.dialling = 0
		a.dials.Want(0, 0, 0)
	}
}

// mayDial tells whether the destination's window for new connections has room for
// a carrier beside those that have not dialled yet, own left out. While it is shut
// for long and no connection stands, all mail waits as for a window of its own.
// With mu held.
func (d *Deliverer) mayDial(a *account, own int, now time.Time) bool {
	if a.dials == nil {
		return true
	}
	others := a.knocking - own
	n, h := a.dials.Ready()
	if n > others {
		return true
	}
	a.wantDials(others + 1)
	if n == 0 && a.connected == 0 && h.NotBefore.After(now.Add(soon)) {
		for _, p := range a.purses {
			if !p.held(now) {
				d.hold(p, h, now)
				p.undialled = true
			}
		}
	}
	return false
}

// knock counts c among the carriers that need a permit to dial. With mu held.
func (c *carrier) knock() {
	if a := c.path.account; a != nil && a.dials != nil && c.knocking == nil {
		c.knocking = a
		a.knocking++
	}
}

// knocked is the end of that: it has one, or needs none any more. With mu held.
func (c *carrier) knocked() {
	if a := c.knocking; a != nil {
		c.knocking = nil
		a.knocking--
	}
}

// due has the ticker look after a. With mu held.
func (d *Deliverer) due(a *account) {
	a.tendAt = time.Time{}
	d.limited[a] = struct{}{}
}

func (a *account) wantDials(n int) {
	if n != a.dialling {
		a.dialling = n
		a.dials.Want(n, 0, 0)
	}
}

// dismiss says that nothing is wanted any more. With mu held.
func (a *account) dismiss() {
	if a.slots != nil {
		a.slots.Want(0)
	}
	if a.dials != nil {
		a.dials.Want(0, 0, 0)
	}
	for _, p := range a.purses {
		if p.limited() {
			p.permits.Want(0, 0, 0)
		}
	}
}
