package deliverer

import (
	"context"
	"slices"
	"time"

	"github.com/tarishi/tarishi/smtp"
)

// carrier is one connection and the goroutine that works it: it connects, takes
// the next delivery of its path by itself, sends it, settles it, and waits a
// little for more before it hangs up.
type carrier struct {
	d    *Deliverer
	lane *lane // on whose behalf it connects
	path *path // nil until the hosts are known

	client  *smtp.Client
	host    target
	used    int  // transactions on this connection
	rcptMax int  // recipients the host takes in one; 0: it has not said
	parting bool // a reply wants the connection closed after the transaction

	// All guarded by mu; see slot.go and account.go.
	slot     Slot     // nil: its connection needs none
	slotOf   *account // whose it is
	knocking *account // it has no permit for its new connection yet
	cut      context.CancelCauseFunc
	slam     bool // sent home without QUIT

	closed  time.Time // when its last connection was
	rested  time.Time // idle since
	serving *lane     // whose delivery is under way
	cur     *held
	wake    chan start // a delivery for an idle carrier, or none: go home; cap 1
	timer   *time.Timer

	t       smtp.Transaction // reused, with its recipients
	left    []int            // reused: recipients without an outcome
	line    *line            // whose delivery it is
	permit  Permit           // for the next transaction; nil: none is needed, or none is in hand
	most    int              // recipients it may have; 0: any number
	version uint64           // of the rules that say so
	checked time.Time        // when it was last made sure that the transaction may start
}

func (c *carrier) run() {
	c.t.BeforeDot = c.beforeDot
	if c.d.c.Scheduler != nil {
		c.t.BeforeMail, c.t.AfterMail = c.beforeMail, c.afterMail
	}
	for c.open() {
		for c.client != nil {
			s, ok := c.next()
			if !ok {
				c.hangUp()
				c.leave()
				return
			}
			c.work(&s)
		}
		if !c.again() {
			return
		}
	}
}

// next ends the service under way and returns the next delivery for the
// connection, waiting for one while the connection may lie idle.
func (c *carrier) next() (start, bool) {
	d, now := c.d, time.Now()
	d.mu.Lock()
	if c.serving != nil {
		c.path.broken = 0 // the connection has survived a transaction
		d.endService(&c.serving)
	}
	d.keepUp(now)
	if d.stopping || !c.keeps() {
		d.mu.Unlock()
		return start{}, false
	}
	if s, ok := d.pick(c, now); ok {
		d.mu.Unlock()
		return s, true
	}
	if d.c.IdleClose < 0 {
		d.mu.Unlock()
		return start{}, false
	}
	c.path.rest(c)
	d.tellFree(c.path, now)
	d.mu.Unlock()
	c.rested = now

	if c.timer == nil {
		c.timer = time.NewTimer(d.c.IdleClose)
	} else {
		c.timer.Reset(d.c.IdleClose)
	}
	select {
	case s := <-c.wake:
		c.timer.Stop()
		return c.awake(s)
	case <-c.timer.C:
	case <-d.stop:
		c.timer.Stop()
	}
	d.mu.Lock()
	i := slices.Index(c.path.idle, c)
	if i >= 0 {
		c.path.unrest(i)
	}
	d.mu.Unlock()
	if i < 0 { // somebody was faster: a delivery is on its way
		return c.awake(<-c.wake)
	}
	return start{}, false
}

// awake looks whether the connection has survived its rest (I6). After a short one
// it is not worth the system calls: a host that left meanwhile makes the
// transaction stale, which costs a connection and no attempt either.
func (c *carrier) awake(s start) (start, bool) {
	if s.line == nil {
		return s, false
	}
	if time.Since(c.rested) >= time.Second && !c.client.Usable() {
		c.lost()
	}
	return s, true
}

// work makes one attempt and settles it.
func (c *carrier) work(s *start) {
	d := c.d
	c.serving = s.line.lane
	if s.kick {
		d.c.Queue.Kick()
	}
	if back, goes := d.lastLook(&s.held, time.Now()); goes {
		c.line, c.permit = s.line, s.permit
		c.returnPermit()
		d.parking <- back
		return
	}
	whole, later := s.env, s.part(time.Now())
	c.cur = &s.held
	a := c.attempt(s)
	a.later = later
	c.cur = nil
	if a.pause {
		// Our own side is in trouble. Before the delivery is given back, not after: it
		// comes again at once.
		pause(d.soft, time.Second)
	}
	if a.untried() {
		s.env = whole
		d.mu.Lock()
		d.putBack(s, time.Now())
		d.mu.Unlock()
	} else {
		d.settle(&s.held, a)
	}
	if c.client != nil && c.used >= c.mayCarry(c.serving) {
		c.hangUp()
	}
}

// mayCarry is how many transactions the connection is good for.
func (c *carrier) mayCarry(l *lane) int {
	n := l.limit.PerConnection
	if m := c.client.Extensions().MailMax; m > 0 { // RFC 9422 §4.1
		n = min(n, m)
	}
	return n
}

// again tells whether a carrier whose connection has ended is to make another,
// for a lane that waits; otherwise it has left.
func (c *carrier) again() bool {
	d := c.d
	d.mu.Lock()
	d.endService(&c.serving)
	now := time.Now()
	d.keepUp(now)
	if !d.stopping && d.soft.Err() == nil && d.live(now) && c.path.open <= c.path.openLimit() && (c.slot == nil || c.mayStart()) {
		for _, l := range c.path.waiting {
			if _, shut := l.shut(now); l.len() > 0 && !shut && l.opening < l.len() &&
				(c.path.account == nil || d.worthwhile(l, 1, now)) {
				c.lane = l
				l.opening++
				d.mu.Unlock()
				return true
			}
		}
	}
	d.mu.Unlock()
	c.leave()
	return false
}

// openLimit is the most connections a lane that waits may have.
func (p *path) openLimit() int {
	n := 0
	for _, l := range p.waiting {
		n = max(n, l.limit.Connections)
	}
	return n
}

// endService notes that a delivery of *l is no longer under way. With mu held.
func (d *Deliverer) endService(l **lane) {
	if *l != nil {
		(*l).busy--
		*l = nil
	}
}

// hangUp says QUIT and closes.
func (c *carrier) hangUp() {
	if c.client == nil {
		return
	}
	gone := false
	if !c.slam {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.d.hard), 2*time.Second)
		if c.slot != nil {
			gone = c.client.QuitToEnd(ctx)
		} else {
			_ = c.client.Quit(ctx)
		}
		cancel()
	}
	c.lost()
	if gone {
		c.closed = time.Time{} // the host counts it no more: the next may come at once
	}
}

// lost notes that the connection is gone. Its slot stays: see dropSlot.
func (c *carrier) lost() {
	_ = c.client.Close()
	c.d.met.open.Add(-1)
	c.d.mu.Lock()
	c.client = nil
	c.path.connect(-1)
	if c.slot != nil {
		c.slotOf.slotted--
	}
	c.d.mu.Unlock()
	c.closed = time.Now()
}

// leave ends the carrier: its place is free, and another may be due.
func (c *carrier) leave() {
	d, now := c.d, time.Now()
	d.mu.Lock()
	d.endService(&c.serving)
	c.knocked()
	c.dropSlot()
	d.keepUp(now)
	if c.path != nil {
		c.path.enter(-1)
		for _, l := range slices.Clone(c.path.waiting) {
			d.wake(l, now, false)
		}
	} else if l := c.lane; l.path == nil {
		d.wake(l, now, false)
	}
	d.mu.Unlock()
}

// tellFree says that a connection of p has become free for what waits for permits. With mu held.
func (d *Deliverer) tellFree(p *path, now time.Time) {
	if p.account == nil {
		return
	}
	for _, x := range p.account.purses {
		if x.jobs > 0 {
			d.tell(x, now)
		}
	}
}
