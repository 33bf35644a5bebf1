package deliverer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp"
)

// carrier is one connection and the goroutine that works it: it connects, takes
// the next delivery of its path by itself, sends it, settles it, and waits a
// little for more before it hangs up.
type carrier struct {
	d    *Deliverer
	lane *lane // on whose behalf it connects
	path *path // nil until the hosts are known

	client *smtp.Client
	host   target
	used   int // transactions on this connection

	rested  time.Time // idle since
	serving *lane     // whose delivery is under way
	cur     *held
	wake    chan start // a delivery for an idle carrier; cap 1
	timer   *time.Timer

	t    smtp.Transaction // reused, with its recipients
	left []int            // reused: recipients without an outcome
}

func (c *carrier) run() {
	c.t.BeforeDot = c.beforeDot
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

// open connects on behalf of c.lane, with no delivery in hand: until a connection
// stands, nothing has been started. false: it has left.
func (c *carrier) open() bool {
	d, l := c.d, c.lane
	ctx := d.soft
	site, targets, err := d.targets(ctx, l.dest)
	if err != nil {
		c.noHosts(err)
		return false
	}
	d.mu.Lock()
	c.join(l, site)
	if c.path.open > l.limit.Connections {
		// Others were faster: they will take what waits.
		l.opening--
		d.mu.Unlock()
		c.leave()
		return false
	}
	c.path.opening++
	d.wake(l, time.Now(), false) // the hosts are known now, so others may follow
	d.mu.Unlock()

	fail := c.connect(ctx, targets, nil)

	now := time.Now()
	d.mu.Lock()
	l.opening--
	c.path.opening--
	if fail == nil {
		l.gate.pass()
		again := c.path.gate.failures > 0
		c.path.gate.pass()
		d.wake(l, now, false)
		d.mu.Unlock()
		if again {
			d.met.reopened.Add(1)
			d.c.Log.Info("destination answers again", "destination", c.path.name(), "host", c.host.label)
			d.c.Queue.Kick()
		}
		return true
	}
	if d.stopping || ctx.Err() != nil {
		d.mu.Unlock()
		c.leave()
		return false
	}
	// One delivery is the attempt; the others have not been tried.
	victim, charged := start{}, false
	if c.path.connected == 0 && c.path.opening == 0 && !now.Before(c.path.gate.until) {
		if l.path == c.path {
			c.path.enlist(l)
		}
		if l.len() > 0 {
			victim, charged = d.start(l, now), true
		}
	}
	dead := d.shutPath(c.path, now)
	d.mu.Unlock()
	d.shut(dead, fail)
	if charged {
		c.charge(&victim, fail, mail.Deferred)
	}
	c.leave()
	return false
}

// join leads the carrier and l to the site's path. With mu held.
func (c *carrier) join(l *lane, site string) {
	p := c.d.join(l, site)
	if c.path == p {
		return
	}
	if c.path != nil {
		c.path.open--
		if c.client != nil {
			c.path.connected--
		}
	}
	c.path = p
	p.open++
}

// noHosts settles what waits for a domain without hosts, and leaves.
func (c *carrier) noHosts(err error) {
	d, l := c.d, c.lane
	fail := &failure{reply: mail.R(451, "4.4.3", "hosts of the domain could not be looked up: "+err.Error())}
	var no *NoHosts
	if errors.As(err, &no) {
		fail.reply = no.Reply
	}
	if d.soft.Err() != nil {
		d.mu.Lock()
		l.opening--
		d.mu.Unlock()
		c.leave()
		return
	}
	if fail.reply.Permanent() {
		c.bounceAll(fail)
		c.leave()
		return
	}
	now := time.Now()
	d.mu.Lock()
	l.opening--
	var victim start
	charged := l.len() > 0
	if charged {
		victim = d.start(l, now)
	}
	dead := d.shutLane(l, now)
	d.mu.Unlock()
	d.shut(dead, fail)
	if charged {
		c.charge(&victim, fail, mail.Deferred)
	}
	c.leave()
}

// bounceAll fails everything that waits for c.lane, one by one: each is an
// attempt, and each sender is told.
func (c *carrier) bounceAll(fail *failure) {
	d, l := c.d, c.lane
	for {
		d.mu.Lock()
		d.endService(&c.serving)
		if d.stopping || l.len() == 0 {
			l.opening--
			d.mu.Unlock()
			return
		}
		s := d.start(l, time.Now())
		d.mu.Unlock()
		c.charge(&s, fail, mail.Failed)
	}
}

// charge settles a delivery whose attempt got no further than fail.
func (c *carrier) charge(s *start, fail *failure, status mail.Status) {
	c.serving = s.lane
	a := attempt{started: time.Now().Add(-fail.took), host: fail.host, outs: make([]mail.Outcome, len(s.env.Recipients))}
	for i, r := range s.env.Recipients {
		a.outs[i] = mail.Outcome{Recipient: r, Status: status, Host: fail.said(), Reply: fail.reply}
	}
	c.d.settle(&s.held, &a)
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
	if d.stopping {
		d.mu.Unlock()
		return start{}, false
	}
	if s, ok := d.pick(c.path, now); ok {
		kick := s.lane.backlog && s.lane.aged <= s.lane.low
		if kick {
			s.lane.low = -1 // once, until the queue asks again
		}
		d.mu.Unlock()
		if kick {
			d.c.Queue.Kick()
		}
		return s, true
	}
	if d.c.IdleClose < 0 {
		d.mu.Unlock()
		return start{}, false
	}
	c.path.idle = append(c.path.idle, c)
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
		return c.awake(s), true
	case <-c.timer.C:
	case <-d.stop:
		c.timer.Stop()
	}
	d.mu.Lock()
	i := slices.Index(c.path.idle, c)
	if i >= 0 {
		c.path.idle = slices.Delete(c.path.idle, i, i+1)
	}
	d.mu.Unlock()
	if i < 0 { // somebody was faster: a delivery is on its way
		return c.awake(<-c.wake), true
	}
	return start{}, false
}

// awake looks whether the connection has survived its rest (I6). After a short one
// it is not worth the system calls: a host that left meanwhile makes the
// transaction stale, which costs a connection and no attempt either.
func (c *carrier) awake(s start) start {
	if time.Since(c.rested) >= time.Second && !c.client.Usable() {
		c.lost()
	}
	return s
}

// work makes one attempt and settles it.
func (c *carrier) work(s *start) {
	d := c.d
	c.serving = s.lane
	if d.c.Permits != nil {
		now := time.Now()
		if p := d.c.Permits.Acquire(s.lane.dest, 1); p.N < 1 {
			d.mu.Lock()
			s.lane.gate.hold(p.NotBefore)
			waiting := s.lane.takeAll(nil)
			d.mu.Unlock()
			d.met.refusedPermits.Add(1)
			until := p.NotBefore
			if !until.After(now) {
				until = time.Time{}
			}
			d.parkAll(append(waiting, s.held), until)
			return
		}
	}
	c.cur = &s.held
	a := c.attempt(s)
	c.cur = nil
	if a.pause {
		// Our own side is in trouble. Before the delivery is given back, not after: it
		// comes again at once.
		pause(d.soft, time.Second)
	}
	d.settle(&s.held, a)
	if c.client != nil && c.used >= c.mayCarry(s.lane) {
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
	if !d.stopping && c.path.open <= c.path.openLimit() {
		for _, l := range c.path.waiting {
			if _, shut := l.shut(now); l.len() > 0 && !shut && l.opening < l.len() {
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.d.hard), 2*time.Second)
	_ = c.client.Quit(ctx)
	cancel()
	c.lost()
}

// lost notes that the connection is gone.
func (c *carrier) lost() {
	_ = c.client.Close()
	c.client = nil
	c.d.met.open.Add(-1)
	c.d.mu.Lock()
	c.path.connected--
	c.d.mu.Unlock()
}

// leave ends the carrier: its place is free, and another may be due.
func (c *carrier) leave() {
	d := c.d
	d.mu.Lock()
	d.endService(&c.serving)
	if c.path != nil {
		c.path.open--
		for _, l := range slices.Clone(c.path.waiting) {
			d.wake(l, time.Now(), false)
		}
	} else if l := c.lane; l.path == nil {
		d.wake(l, time.Now(), false)
	}
	d.mu.Unlock()
}
