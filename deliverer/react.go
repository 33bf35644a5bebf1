package deliverer

import (
	"slices"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/shaping"
)

// Reactor is told of replies that a rule wants something done about for the whole
// destination. It must not block. Safe for concurrent use.
type Reactor interface {
	// Sighted says that a destination has answered so. A transaction, or an address
	// that does not let us in, says each rule once at most, however many recipients it
	// was about. The Source is the Reactor's to fill in. enough: what this process has
	// seen is enough by itself, and the rules will change in a moment.
	Sighted(n shaping.Sighting) (enough bool)
}

const (
	// obeyTime is how long the process keeps to a reaction by itself that the cluster
	// has not made yet. A burst of refusals must not become a burst of attempts while
	// the word goes round.
	obeyTime = 3 * time.Second
	// mailboxPause is for a mailbox that wants to be left alone, where no rule says
	// for how long.
	mailboxPause = 30 * time.Minute
)

// react does what a rule asks for at once, and tells the Reactor of the rest.
func (c *carrier) react(v *replies.Verdict, r mail.Reply, host string) {
	tenant, whose := "", c.cur != nil // else it is about nobody's mail in particular
	if whose {
		tenant = c.cur.env.Message.Tenant
	}
	for _, h := range v.Hits {
		do := h.Remedy
		switch {
		case do.Action == shaping.Reconnect:
			c.parting = true
		case do.Action.Local(): // see judged
		case c.d.c.Reactor == nil || c.path == nil || c.path.account == nil:
		case do.Per&shaping.Tenant != 0 && !whose:
		default:
			to := c.path.to
			if h.To != "" && h.To == to.Name {
				to = shaping.Destination{Key: "name:" + h.To} // whose hosts they are has said it, not the domain
			}
			n := shaping.Sighting{Rule: h.Rule, Threshold: h.Threshold, Remedy: do, To: to, Tenant: tenant, Count: 1, Sample: host + ": " + r.String()}
			if c.d.c.Reactor.Sighted(n) {
				c.obey(&n)
			}
		}
	}
}

// obey keeps to a reaction that is on its way.
func (c *carrier) obey(n *shaping.Sighting) {
	d, now := c.d, time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keepUp(now)
	if n.Remedy.Action == shaping.FewerConns {
		c.path.full = now.Add(fullPause)
		return
	}
	a := c.path.account
	if a == nil {
		return
	}
	for _, p := range a.purses {
		if !p.held(now) && (n.Remedy.Per&shaping.Tenant == 0 || p.tenant == n.Tenant) {
			d.hold(p, Hold{NotBefore: now.Add(obeyTime), Why: "rule " + n.Rule + ": " + shaping.Cause(n.Sample)}, now)
		}
	}
	d.due(a)
}

// wish is what a reply asks for its recipient or his delivery alone.
type wish struct {
	delay time.Duration // this mailbox only
	route string
}

// judged gives an outcome its class, and keeps what is asked for its recipient.
func (a *attempt) judged(i int, v replies.Verdict) {
	a.outs[i].Class, a.outs[i].Action = string(v.Class), string(v.Action)
	var w wish
	for _, h := range v.Hits {
		switch h.Remedy.Action {
		case shaping.Delay:
			w.delay = max(w.delay, h.Remedy.For)
		case shaping.Reroute:
			w.route = h.Remedy.Route
		}
	}
	if w.delay == 0 && v.Action == replies.Delay {
		w.delay = mailboxPause
	}
	if w == (wish{}) {
		delete(a.wishes, i)
		return
	}
	if a.wishes == nil {
		a.wishes = map[int]wish{}
	}
	a.wishes[i] = w
}

// reroute finds out whether the delivery goes another way from now on: once, so that
// no two ways can send it to and fro. Who was refused for good this way has not been
// that way.
func (d *Deliverer) reroute(env *mail.Delivery, a *attempt, expired bool) (route string) {
	if env.Route != "" || expired {
		return ""
	}
	for i := range a.outs {
		name := d.c.Routes.known(a.wishes[i].route)
		if name == "" || a.outs[i].Status == mail.Delivered {
			continue
		}
		a.outs[i].Status = mail.Deferred
		route = name
	}
	if route != "" {
		a.note("goes by the route %s", route)
		d.met.rerouted.Add(1)
	}
	return route
}

// part leaves those out of the attempt whose mailboxes want more time, unless there
// are no others.
func (s *start) part(now time.Time) (later []mail.Recipient) {
	wait := func(r mail.Recipient) bool { return r.NotBefore.After(now) }
	if !slices.ContainsFunc(s.env.Recipients, wait) || !s.env.Expires.IsZero() && !now.Before(s.env.Expires) {
		return nil
	}
	env := *s.env
	env.Recipients = nil
	for _, r := range s.env.Recipients {
		if wait(r) {
			later = append(later, r)
		} else {
			env.Recipients = append(env.Recipients, r)
		}
	}
	if len(env.Recipients) == 0 {
		return nil
	}
	s.env = &env
	return later
}

// rejoin brings those back whom part left out, and has each mailbox wait for as long
// as it asked: the delivery is due when the first of them is.
func (a *attempt) rejoin(next *mail.Delivery) {
	due := next.Due
	var first time.Time
	for i, r := range next.Recipients {
		at := due
		if r.NotBefore.After(at) {
			at = r.NotBefore
		}
		if i == 0 || at.Before(first) {
			first = at
		}
	}
	for _, r := range a.later {
		if len(next.Recipients) == 0 || r.NotBefore.Before(first) {
			first = r.NotBefore
		}
		next.Recipients = append(next.Recipients, r)
	}
	if next.Due = first; !next.Expires.IsZero() && next.Due.After(next.Expires) {
		next.Due = next.Expires
	}
}
