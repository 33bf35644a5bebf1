package deliverer

import (
	"context"
	"slices"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// fits is how many of the recipients that are left the next transaction may have.
func (c *carrier) fits() int {
	n := min(len(c.left), c.d.c.MaxRecipients)
	if c.most > 0 {
		n = min(n, c.most)
	}
	if c.rcptMax > 0 { // RFC 9422 §4.2
		n = min(n, c.rcptMax)
	}
	return n
}

// clear sees to it that a further transaction of the attempt may start. Once
// something has been tried it waits for a moment for the permit: the connection
// stands, and the other recipients of the message have theirs.
func (c *carrier) clear(ctx context.Context, q *line, a *attempt) bool {
	d := c.d
	if d.c.Scheduler == nil {
		return true
	}
	until := time.Now()
	if a.began > 0 {
		until = until.Add(soon)
	}
	for {
		now := time.Now()
		d.mu.Lock()
		d.keepUp(now)
		p, hold, err := c.purseFor(q, now)
		if err == nil && p.limited() {
			var h Hold
			if c.permit, h = p.take(d.batch(len(c.left), p, c)); c.permit == nil {
				hold = &h
			}
		}
		if c.version = d.version; p != nil {
			c.most = p.maxRecipients
		}
		wait := hold != nil && now.Before(until) && !hold.NotBefore.After(until)
		if wait {
			p.urgent++
			p.urgentHead = max(p.urgentHead, d.batch(len(c.left), p, c))
			d.lacking(p, *hold, now)
		} else if hold != nil && !p.held(now) {
			d.lacking(p, *hold, now)
		}
		d.mu.Unlock()
		switch {
		case err != nil:
			c.giveUp(a, err)
			return false
		case hold == nil:
			if c.permit != nil {
				d.met.permitsTaken.Add(1)
			}
			return true
		case !wait || ctx.Err() != nil || a.voids > maxVoids:
			c.giveUp(a, &notNow{*hold})
			return false
		}
		d.await(ctx, p.account, earlier(until, hold.NotBefore, now))
		d.mu.Lock()
		if p.urgent--; p.urgent == 0 {
			p.urgentHead = 0
		}
		d.mu.Unlock()
	}
}

// maxVoids is how many permits may be void at the start of one attempt's
// transactions before we stop trying: something is slow, and not at the host.
const maxVoids = 3

// purseFor finds where the permit for q's next transaction comes from. A hold: from
// nowhere before then; an error: not on this connection. With mu held.
func (c *carrier) purseFor(q *line, now time.Time) (*purse, *Hold, error) {
	p := q.purse
	switch {
	case !c.d.live(now):
		return nil, nil, errNotLive
	case p == nil || p.account != c.path.account:
		return nil, nil, errRules
	case !c.mayStart():
		return nil, nil, errSlotEnds
	case p.held(now):
		return p, &Hold{p.until, p.why}, nil
	}
	return p, nil, nil
}

// giveUp leaves the recipients that are left untried; unless a host has broken on
// them in this attempt, which is an outcome.
func (c *carrier) giveUp(a *attempt, why error) {
	if a.fault.host != "" {
		for _, i := range c.left {
			a.set(i, mail.Deferred, a.fault.said(), a.fault.reply)
		}
	} else {
		a.rest = slices.Clone(c.left)
		a.hold = Hold{Why: why.Error()}
		if no, ok := why.(*notNow); ok {
			a.hold.NotBefore = no.NotBefore
		}
	}
	c.left = c.left[:0]
}

// untried tells whether the attempt has come to nothing at all for want of a permit.
func (a *attempt) untried() bool { return a.began == 0 && len(a.rest) == len(a.outs) }

// returnPermit gives back a permit that was not used, and tells whether there was none.
func (c *carrier) returnPermit() bool {
	p := c.permit
	if p == nil {
		return true
	}
	c.permit = nil
	p.Return()
	c.d.met.permitsReturned.Add(1)
	c.gaveBack()
	return false
}

// gaveBack notes that what was said of the window may be better now.
func (c *carrier) gaveBack() {
	c.d.mu.Lock()
	if p := c.line.purse; p != nil {
		p.returned = time.Now()
	}
	c.d.mu.Unlock()
}

// beforeMail is the last look before MAIL FROM leaves: what it allows counts as
// started, so it comes right before.
func (c *carrier) beforeMail() error {
	s := c.d.c.Scheduler
	switch p := c.permit; {
	case c.slot != nil && !c.slot.MayStart():
		return errSlotEnds
	case p != nil:
		err := p.Begin()
		if err != nil {
			c.permit = nil
			c.d.met.permitsExpired.Add(1)
			c.gaveBack()
		}
		return err
	case !s.Live():
		return errNotLive
	case s.Version() != c.version:
		return errRules
	}
	c.checked = time.Now()
	return nil
}

// afterMail reports the start. Where no permit is needed it looks whether a limit
// has come between the check and the write, and so long ago that it should have
// been kept.
func (c *carrier) afterMail() {
	d := c.d
	if p := c.permit; p != nil {
		c.permit = nil
		d.began(p)
		return
	}
	if d.c.Scheduler.Version() != c.version && time.Since(c.checked) > beganWithin {
		d.met.lateStarts.Add(1)
		d.c.Log.Warn("started by rules that were replaced meanwhile; a limit may have been exceeded", "destination", c.path.name())
	}
}
