package deliverer

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/tarishi/tarishi/smtp"
)

// notNow is why we may not start something: nobody's failure.
type notNow struct{ Hold }

func (e *notNow) Error() string {
	if e.Why == "" {
		return "no permit"
	}
	return e.Why
}

var (
	errNotLive  = &notNow{Hold{Why: "no live session with the scheduler"}}
	errRules    = &notNow{Hold{Why: "the rules have changed"}}
	errSlotEnds = &notNow{Hold{Why: "the connection's slot is needed elsewhere, or its lease runs out"}}
)

// notOurs returns the reason of err that is nobody's failure but a limit's; nil: it
// is one.
func notOurs(ctx context.Context, err error) error {
	var no *notNow
	switch {
	case errors.As(err, &no):
		return no
	case context.Cause(ctx) == errLeaseOver:
		return errLeaseOver
	}
	return nil
}

// dial opens an SMTP connection to t.
func (c *carrier) dial(ctx context.Context, t target, o smtp.ClientOptions) (*smtp.Client, error) {
	if c.slot != nil {
		if rest := time.Until(c.closed.Add(slotRest)); rest > 0 {
			pause(ctx, rest)
		}
	}
	dctx, cancel := context.WithTimeout(ctx, c.d.c.ConnectTimeout)
	conn, err := c.connectTo(dctx, &t)
	cancel()
	var no *notNow
	if errors.As(err, &no) {
		return nil, no
	}
	if err != nil {
		return nil, &dialError{err}
	}
	client, err := smtp.NewClient(ctx, conn, o)
	if err != nil {
		c.closed = time.Now()
	}
	return client, err
}

// connectTo opens a connection, having asked right before each address.
func (c *carrier) connectTo(ctx context.Context, t *target) (net.Conn, error) {
	k := &knock{c: c, ctx: ctx}
	defer k.after()
	if dial := c.d.c.Dial; dial != nil {
		if err := k.before(); err != nil {
			return nil, err
		}
		return dial(ctx, t.network(), t.addr)
	}
	dialer := net.Dialer{
		// Not two addresses at a time: a slot is one connection.
		FallbackDelay:  -1,
		ControlContext: func(context.Context, string, string, syscall.RawConn) error { return k.before() },
	}
	if source := c.d.sourceOf(t.manner); source.IsValid() && !t.unix {
		dialer.LocalAddr = &net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()}
	}
	return dialer.DialContext(ctx, t.network(), t.addr)
}

// knock is one dial under way: connect(2) to one address, or to several of one name.
type knock struct {
	c     *carrier
	ctx   context.Context
	began func() // the use of its permit; once
	timer *time.Timer
}

// beganWithin bounds the time between the check and connect(2) that follows it.
// Whether it has been called cannot be seen before it has an answer, which may take
// minutes; the use counts from here at the latest.
const beganWithin = 200 * time.Millisecond

// before is called right before connect(2).
func (k *knock) before() error {
	k.after() // the address before this one
	c, d := k.c, k.c.d
	d.mu.Lock()
	live := d.live(time.Now())
	a := c.path.account
	limited := a != nil && a.dials != nil
	d.mu.Unlock()
	if !live {
		return errNotLive
	}
	if c.slot != nil && !c.slot.MayStart() {
		return errSlotEnds
	}
	if !limited {
		return nil
	}
	p, err := c.dialPermit(k.ctx, a)
	if err != nil {
		return err
	}
	k.began = sync.OnceFunc(func() { d.began(p) })
	k.timer = time.AfterFunc(beganWithin, k.began)
	return nil
}

// after is called when the dial has an answer.
func (k *knock) after() {
	if k.began != nil {
		k.timer.Stop()
		k.began()
		k.began = nil
	}
}

// began reports the use of a permit.
func (d *Deliverer) began(p Permit) {
	d.met.permitsUsed.Add(1)
	if p.Began() {
		d.met.lateStarts.Add(1)
		d.c.Log.Warn("started later than the scheduler allowed; a limit may have been exceeded", "permit", p.Limits())
	}
}

// dialPermit begins the permit of one new connection. It waits for a moment, since
// nothing is held but the connection's slot.
func (c *carrier) dialPermit(ctx context.Context, a *account) (Permit, error) {
	d := c.d
	until := time.Now().Add(soon)
	for {
		d.mu.Lock()
		if a.dials == nil {
			d.mu.Unlock()
			return nil, errRules
		}
		p, h := a.dials.Take(0)
		if p == nil {
			a.wantDials(max(a.dialling, 1))
		} else {
			a.wantDials(max(a.dialling-1, 0))
			c.knocked()
		}
		d.mu.Unlock()
		now := time.Now()
		switch {
		case p != nil:
			d.met.permitsTaken.Add(1)
			if p.Begin() == nil {
				return p, nil
			}
			d.met.permitsExpired.Add(1)
		case h.NotBefore.After(until) || !now.Before(until) || ctx.Err() != nil:
			return nil, &notNow{h}
		default:
			d.await(ctx, a, earlier(until, h.NotBefore, now))
		}
	}
}

// earlier is the next time to look: at, but then when that has passed or is not given.
func earlier(then, at, now time.Time) time.Time {
	if at.After(now) && at.Before(then) {
		return at
	}
	return then
}
