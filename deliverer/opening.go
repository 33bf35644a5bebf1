package deliverer

import (
	"errors"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// open connects on behalf of c.lane, with no delivery in hand: until a connection
// stands, nothing has been started. false: it has left.
func (c *carrier) open() bool {
	d, l := c.d, c.lane
	where, err := l.hosts(d.soft, d)
	if err != nil {
		c.noHosts(err)
		return false
	}
	d.mu.Lock()
	d.keepUp(time.Now())
	c.join(l, where)
	if c.path.open > l.limit.Connections || !c.ready(l) {
		// Others were faster, and will take what waits; or a limit keeps it waiting.
		l.opening--
		d.mu.Unlock()
		c.leave()
		return false
	}
	c.path.opening++
	d.wake(l, time.Now(), false) // the hosts are known now, so others may follow
	d.mu.Unlock()

	ctx, end := c.cuttable(d.soft)
	defer end()
	fail := c.connect(ctx, where.targets, nil)

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
	if d.stopping || ctx.Err() != nil || fail.ours != nil {
		d.mu.Unlock()
		c.leave()
		return false
	}
	// One delivery is the attempt; the others have not been tried.
	victim, charged := start{}, false
	if c.path.connected == 0 && c.path.opening == 0 && !now.Before(c.path.gate.until) {
		victim, charged = d.any(l, now)
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

// ready tells whether c may connect for l: there will be something it may carry,
// and it has the slot it needs. With mu held.
func (c *carrier) ready(l *lane) bool {
	d, now := c.d, time.Now()
	a := c.path.account
	if c.slot != nil && c.slotOf != a {
		c.dropSlot()
	}
	if a == nil {
		return true
	}
	if !d.live(now) || l.len() == 0 || !d.worthwhile(l, 1, now) {
		return false
	}
	if a.slots != nil && c.slot == nil {
		s, ok := d.slotFor(l, false)
		if !ok {
			return false
		}
		d.give(c, s)
	}
	c.knock()
	return d.mayDial(a, 1, now)
}

// join leads the carrier and l to the site's path. With mu held.
func (c *carrier) join(l *lane, w hosting) {
	p := c.d.join(l, w.site, w.mx)
	if c.path == p {
		return
	}
	if c.path != nil {
		c.path.enter(-1)
	}
	c.knocked()
	c.path = p
	p.enter(1)
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
	victim, charged := d.any(l, now)
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
		s, ok := start{}, false
		if !d.stopping {
			s, ok = d.any(l, time.Now())
		}
		if !ok {
			l.opening--
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		c.charge(&s, fail, mail.Failed)
	}
}

// charge settles a delivery whose attempt got no further than fail.
func (c *carrier) charge(s *start, fail *failure, status mail.Status) {
	c.serving = s.line.lane
	a := attempt{started: time.Now().Add(-fail.took), host: fail.host, outs: make([]mail.Outcome, len(s.env.Recipients))}
	for i, r := range s.env.Recipients {
		a.outs[i] = mail.Outcome{Recipient: r, Status: status, Host: fail.said(), Reply: fail.reply}
		a.judged(i, fail.verdict)
	}
	c.d.settle(&s.held, &a)
}
