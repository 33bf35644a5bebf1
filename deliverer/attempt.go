package deliverer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp"
)

// attempt is one try to deliver a delivery, as it goes and then as it went.
type attempt struct {
	started time.Time
	host    string         // the last one talked to
	outs    []mail.Outcome // one a recipient, in order
	notes   []string
	tls     bool
	reused  bool
	release bool // nothing was tried: give back untouched
	pause   bool // our own side is in trouble; do not hurry
	lmtp    bool // the last hop: what it takes is delivered, not relayed (RFC 2033)
	dsn     bool // the host that took it sends DSNs itself (RFC 3461)

	tried []string // addresses that broke in this attempt
	fault failure  // how the last of them did
}

func (a *attempt) note(format string, args ...any) {
	a.notes = append(a.notes, fmt.Sprintf(format, args...))
}

// set gives recipient i its outcome.
func (a *attempt) set(i int, s mail.Status, host string, r mail.Reply) {
	a.outs[i].Status, a.outs[i].Host, a.outs[i].Reply = s, host, r
}

var (
	errClaimOld   = errors.New("the claim on the delivery was not confirmed lately; another node may have it")
	replyBroke    = mail.R(451, "4.4.2", "")
	replyNotReady = mail.R(451, "4.3.0", "our own queue could not follow; trying again")
)

// attempt tries host after host and transaction after transaction until every
// recipient has an outcome. A 4yz or 5yz to a recipient is its outcome and no
// other host is asked; a connection that breaks, or is ended with 421, before the
// message was completed is the connection's fault, and the next host gets what is open.
func (c *carrier) attempt(s *start) *attempt {
	env := s.env
	a := &attempt{started: time.Now(), outs: make([]mail.Outcome, len(env.Recipients)), reused: c.used > 0}
	c.left = c.left[:0]
	for i, r := range env.Recipients {
		a.outs[i].Recipient = r
		c.left = append(c.left, i)
	}
	ctx, cancel := context.WithTimeout(c.d.hard, c.d.c.AttemptTimeout)
	defer cancel()
	c.prepare(ctx, s)
	for len(c.left) > 0 && !a.release {
		if c.client == nil && !c.reconnect(ctx, s.lane, a) {
			break
		}
		c.transaction(ctx, s, a)
	}
	clear(c.t.Recipients)
	c.t.Bytes, c.t.Data = nil, nil
	return a
}

// prepare fills in what all transactions of the attempt share.
func (c *carrier) prepare(ctx context.Context, s *start) {
	m := s.env.Message
	c.t.Sender, c.t.BodyType, c.t.SMTPUTF8 = m.Sender, m.Body, m.SMTPUTF8
	c.t.Ret, c.t.EnvelopeID = m.Ret, m.EnvelopeID
	c.t.Size = m.Size
	c.t.Bytes = s.job.Bytes()
	if c.t.Bytes == nil {
		c.t.Data = func() (io.Reader, error) { return s.job.Open(ctx) }
	}
}

// transaction offers the message to the recipients that are left, as many as fit,
// and keeps in c.left those that still have no outcome.
func (c *carrier) transaction(ctx context.Context, s *start, a *attempt) {
	d := c.d
	n := min(len(c.left), d.c.MaxRecipients)
	if m := c.client.Extensions().RcptMax; m > 0 { // RFC 9422 §4.2
		n = min(n, m)
	}
	batch, rest := c.left[:n], c.left[n:]
	c.t.Recipients = c.t.Recipients[:0]
	for _, i := range batch {
		c.t.Recipients = append(c.t.Recipients, s.env.Recipients[i])
	}
	if c.used > 0 {
		d.met.reused.Add(1)
	}
	c.used++
	a.host, a.lmtp = c.host.label, c.host.lmtp
	_, a.tls = c.client.TLS()
	a.dsn = c.client.Extensions().DSN

	res, err := c.client.Send(ctx, &c.t)
	if !res.Reusable {
		c.lost()
	}
	if res.Stale {
		// It died while it lay idle: nobody's attempt. The new connection is not stale.
		d.met.stale.Add(1)
		a.reused = false
		return
	}
	open := c.read(a, batch, &res, err)
	// What stays open moves up to the rest, in place: read has returned a prefix of batch.
	c.left = append(c.left[:len(open)], rest...)
	if open != nil && a.fault.host == c.host.label && c.client != nil {
		c.hangUp() // a host that says 421 is about to leave
	}
}

// read gives the recipients of one transaction their outcomes and returns those
// that have none yet, in place.
func (c *carrier) read(a *attempt, batch []int, res *smtp.Result, err error) []int {
	var broken error // the connection's fault
	fault := false
	var notCompleted *smtp.NotCompletedError
	var source *smtp.SourceError
	switch {
	case errors.As(err, &notCompleted):
		a.note("not sent: %v", notCompleted.Err)
		a.pause = true
	case errors.As(err, &source):
		a.note("message cannot be read: %v", source.Err)
		a.pause = true
	case err != nil:
		broken = err
	}
	tooMany, settled := 0, 0
	open := batch[:0]
	for k, i := range batch {
		r := &res.Recipients[k]
		said := c.host.label
		if r.Stage == smtp.StageLocal {
			said = ""
		}
		switch {
		case r.Stage == smtp.StageTooMany:
			tooMany++
			open = append(open, i)
			a.set(i, mail.Deferred, said, r.Reply) // in case there is no next transaction
			continue
		case r.Delivered():
			a.set(i, mail.Delivered, said, r.Reply)
		case r.Reply.Permanent():
			a.set(i, mail.Failed, said, r.Reply)
		case r.Reply.Code == 421 && r.Stage != smtp.StageDot && !res.DotSent:
			// RFC 5321 §3.8: the host is leaving; its state says nothing about the recipient.
			a.fault = failure{reply: r.Reply, host: c.host.label, remote: true}
			fault = true
			open = append(open, i)
			continue
		case r.Reply.Transient():
			a.set(i, mail.Deferred, said, r.Reply)
		case notCompleted != nil || source != nil:
			a.set(i, mail.Deferred, "", replyNotReady)
			continue
		case res.DotSent:
			// RFC 5321 §4.5.3.2.6: the host may have it. Sending again may make two, not
			// sending may lose it: again, but later and by the schedule.
			a.note("connection broke after the final dot; the host may have the message")
			r := replyBroke
			r.Text = "no reply to the final dot from " + c.host.label + ": " + causeText(broken)
			a.set(i, mail.Deferred, "", r)
		case broken != nil:
			r := replyBroke
			r.Text = "conversation with " + c.host.label + " broke: " + causeText(broken)
			a.fault = failure{reply: r, host: c.host.label}
			fault = true
			open = append(open, i)
			continue
		default:
			// A reply that answers nothing, such as 250 to RCPT and no more.
			a.set(i, mail.Deferred, said, mail.R(451, "4.5.0", "unexpected reply: "+r.Reply.String()))
		}
		settled++
	}
	if (notCompleted != nil || source != nil) && settled+tooMany == 0 && !a.anySettled() {
		a.release = notCompleted != nil
	}
	if fault {
		if c.d.hard.Err() != nil && settled+tooMany == 0 && !a.anySettled() {
			a.release = true // cut by our own shutdown
			return nil
		}
		a.tried = append(a.tried, c.host.addr)
		return open
	}
	if tooMany > 0 && settled == 0 {
		// Not even one fits: another transaction would go the same way.
		return nil
	}
	return open
}

// anySettled tells whether a recipient has a final outcome, or a host's word.
func (a *attempt) anySettled() bool {
	for i := range a.outs {
		if a.outs[i].Status != mail.Deferred || a.outs[i].Host != "" {
			return true
		}
	}
	return false
}

func causeText(err error) string {
	if err == nil {
		return "nothing was said"
	}
	return err.Error()
}

// reconnect makes a connection in the middle of an attempt; without one the
// recipients that are left get the reason as their outcome.
func (c *carrier) reconnect(ctx context.Context, l *lane, a *attempt) bool {
	d := c.d
	status, fail := mail.Deferred, (*failure)(nil)
	site, targets, err := d.targets(ctx, l.dest)
	var no *NoHosts
	switch {
	case errors.As(err, &no):
		fail = &failure{reply: no.Reply}
		if no.Reply.Permanent() {
			status = mail.Failed
		}
	case err != nil:
		fail = &failure{reply: mail.R(451, "4.4.3", "hosts of the domain could not be looked up: "+err.Error())}
	default:
		d.mu.Lock()
		c.join(l, site)
		d.mu.Unlock()
		fail = c.connect(ctx, targets, a.tried)
	}
	if fail == nil {
		return true
	}
	if ctx.Err() != nil && d.hard.Err() != nil && len(a.tried) == 0 && !a.anySettled() {
		a.release = true
		return false
	}
	now := time.Now()
	if fail.host == "" && a.fault.host != "" { // all were tried in this attempt
		fail = &a.fault
	} else {
		a.host = fail.host
		a.fault = failure{}
	}
	for _, i := range c.left {
		a.set(i, status, fail.said(), fail.reply)
	}
	c.left = c.left[:0]

	d.mu.Lock()
	var dead shutting
	if status == mail.Deferred && c.path != nil {
		// Hosts that let us in and then break are not dead at once; hosts that do not let us in are.
		if c.path.broken++; a.fault.host == "" || c.path.broken >= brokenLimit {
			c.path.broken = 0
			dead = d.shutPath(c.path, now)
		}
	}
	d.mu.Unlock()
	d.shut(dead, fail)
	return false
}

// beforeDot is the last look before the octets that complete the message leave.
func (c *carrier) beforeDot(ctx context.Context) error {
	// A process that was frozen wakes up here believing that no time has passed; the
	// monotonic clock knows better. The journal's confirmation comes after this check,
	// and the queue makes its own.
	if j, ok := c.cur.job.(Claimed); ok && time.Since(j.ClaimedAt()) >= c.d.c.ClaimAge {
		return errClaimOld
	}
	return c.cur.job.Dot(ctx, c.host.label)
}
