package deliverer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/smtp"
)

// hosting is where mail for a domain goes.
type hosting struct {
	site    string   // the name of the set of hosts
	mx      []string // their names; nil: a route, or the domain's own address
	targets []target // what to dial, best first
}

// hosts finds out where mail for a domain goes. Hosts that cannot be reached from
// source are left out; not valid: from anywhere.
func (d *Deliverer) hosts(ctx context.Context, dest mail.Domain, source netip.Addr) (hosting, error) {
	if r, ok := d.c.Routes.For(dest); ok {
		// One path a domain, not one a next hop: see path.
		return hosting{site: "route " + string(dest), targets: []target{r.target}}, nil
	}
	if d.c.Hosts == nil {
		return hosting{}, &NoHosts{mail.R(550, "5.4.4", "no route to "+string(dest))}
	}
	site, hosts, err := d.c.Hosts.MailHosts(ctx, dest)
	if err != nil {
		return hosting{}, err
	}
	w := hosting{site: "mx " + site}
	unreachable := false
	for _, h := range hosts {
		w.mx = append(w.mx, h.Name)
		for _, a := range h.Addrs {
			if source.IsValid() && source.Unmap().Is4() != a.Unmap().Is4() {
				unreachable = true
				continue
			}
			w.targets = append(w.targets, target{
				name:  h.Name,
				addr:  net.JoinHostPort(a.String(), d.c.Port),
				label: h.Name + "[" + a.String() + "]:" + d.c.Port,
			})
		}
	}
	if len(w.mx) == 1 && w.mx[0] == string(dest) {
		w.mx = nil
	}
	switch {
	case len(w.targets) > 0:
		return w, nil
	case unreachable:
		return w, &NoHosts{mail.R(451, "4.4.3", "no address of a mail host of "+string(dest)+" can be reached from "+source.String())}
	}
	return w, &NoHosts{mail.R(451, "4.4.3", "no address of a mail host of "+string(dest))}
}

// failure is why no host could be talked to.
type failure struct {
	reply  mail.Reply
	host   string        // the last one tried; empty: none
	remote bool          // the host said so
	ours   error         // not tried: why we may not; a *notNow, or the end of a lease
	took   time.Duration // how long it took to find out

	stage   smtp.Stage      // where in the dialogue the host said so
	verdict replies.Verdict // what the host's reply means; zero: it said nothing
}

// said is whom the reply is from, empty when it is our own.
func (f *failure) said() string {
	if f.remote {
		return f.host
	}
	return ""
}

// connect tries the targets in order, those in skip left out, until one lets us
// in. Connection trouble and a refusing greeting are the host's affair: the next
// one is tried (I1).
func (c *carrier) connect(ctx context.Context, targets []target, skip []string) *failure {
	began := time.Now()
	var fail *failure
	for _, t := range c.inOrder(targets) {
		if slices.Contains(skip, t.addr) {
			continue
		}
		client, err := c.reach(ctx, t)
		if err == nil {
			c.d.met.open.Add(1)
			c.d.met.opened.Add(1)
			c.d.mu.Lock()
			c.client, c.host, c.used, c.parting = client, t, 0, false
			c.rcptMax = client.Extensions().RcptMax
			c.path.connect(1)
			if c.slot != nil {
				c.slotOf.slotted++
			}
			delete(c.path.bad, t.addr)
			c.d.mu.Unlock()
			return nil
		}
		if ours := notOurs(ctx, err); ours != nil {
			return &failure{ours: ours}
		}
		fail = connectFailure(t, err)
		if fail.remote {
			fail.verdict = c.judge(&judging{}, fail.reply, fail.stage, t, c.domain(), "")
		}
		c.d.met.connectFailures.Add(1)
		if ctx.Err() != nil {
			break
		}
		if len(targets) > 1 {
			c.d.mu.Lock()
			if c.path.bad == nil {
				c.path.bad = map[string]time.Time{}
			}
			c.path.bad[t.addr] = time.Now().Add(badPause)
			c.d.mu.Unlock()
		}
	}
	if fail == nil {
		fail = &failure{reply: mail.R(451, "4.4.1", "no further host to try")}
	}
	fail.took = time.Since(began)
	return fail
}

// inOrder puts hosts that lately did not answer behind the others, so that every
// new connection does not wait for a dead first MX again.
func (c *carrier) inOrder(targets []target) []target {
	if len(targets) < 2 {
		return targets
	}
	d, now := c.d, time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(c.path.bad) == 0 {
		return targets
	}
	var good, bad []target
	for _, t := range targets {
		if now.Before(c.path.bad[t.addr]) {
			bad = append(bad, t)
		} else {
			delete(c.path.bad, t.addr)
			good = append(good, t)
		}
	}
	return append(good, bad...)
}

// reach opens an SMTP connection to one address.
func (c *carrier) reach(ctx context.Context, t target) (*smtp.Client, error) {
	o := smtp.ClientOptions{
		Hello:    c.d.c.Hostname,
		Host:     t.name,
		TLS:      c.d.c.TLS,
		LMTP:     t.lmtp,
		Timeouts: c.d.c.Timeouts,
		Debug:    c.d.c.Debug,
	}
	t.manner.apply(&o)
	for {
		client, err := c.dial(ctx, t, o)
		var noTLS *smtp.TLSError
		switch {
		case err == nil:
			return client, nil
		case errors.Is(err, smtp.ErrHelloCut) && !o.ForceHELO:
			o.ForceHELO = true
		case errors.As(err, &noTLS) && o.TLS == smtp.TLSOpportunistic && !c.d.c.RequireWorkingTLS:
			// RFC 7435: some protection beats none, and none beats no mail. On a new
			// connection, since what came over this one may be an attacker's (J1).
			o.TLS = smtp.TLSNever
			c.d.met.plaintext.Add(1)
		default:
			return nil, err
		}
	}
}

type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// connectFailure says what a host's silence or refusal means for the mail.
func connectFailure(t target, err error) *failure {
	f := &failure{host: t.label}
	var refused *smtp.RefusedError
	var noTLS *smtp.TLSError
	var auth *smtp.AuthError
	var dial *dialError
	switch {
	case errors.As(err, &refused):
		f.reply, f.remote, f.stage = refused.Reply, true, refused.Stage
	case errors.As(err, &auth):
		f.reply = mail.R(451, "4.7.0", "no login at "+t.label+": "+reason(auth.Err))
	case errors.As(err, &noTLS):
		f.reply = mail.R(451, "4.7.5", "no TLS with "+t.label+": "+reason(err))
	case errors.As(err, &dial):
		f.reply = mail.R(451, "4.4.1", "no answer from "+t.label+": "+reason(err))
	default:
		f.reply = mail.R(451, "4.4.2", "conversation with "+t.label+" broke: "+reason(err))
	}
	return f
}

// Replies that are our own words about a host begin with one of these; a stored
// LastReply is told from a host's words by them.
var ownWords = []string{"no answer from ", "conversation with ", "no TLS with ", "no login at ", "no reply to the final dot from ",
	"no further host", "no address of ", "no route to ", "hosts of the domain ", "our own queue ", "not tried "}

// isOurs tells whether a reply read back from the queue is our own.
func isOurs(r mail.Reply) bool {
	for _, w := range ownWords {
		if strings.HasPrefix(r.Text, w) {
			return true
		}
	}
	return false
}

// reason is the part of a network error that says why; where is known already.
func reason(err error) string {
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return dns.Error()
	case errors.As(err, &op) && op.Op == "dial" && op.Err != nil:
		return strings.TrimPrefix(op.Err.Error(), "connect: ")
	}
	return err.Error()
}
