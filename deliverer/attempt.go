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
	permit  string // what the last transaction counted under
	began   int    // transactions
	release bool   // give back untouched
	pause   bool   // our own side is in trouble; do not hurry
	lmtp    bool   // the last hop: what it takes is delivered, not relayed (RFC 2033)
	decided bool   // in an earlier life; nothing was attempted now
	dsn     bool   // the host that took it sends DSNs itself (RFC 3461)
	login   bool   // we have proved who we are

	tried []string // addresses that broke in this attempt
	fault failure  // how the last of them did

	rest  []int // recipients of which nothing was tried, for want of a permit
	hold  Hold  // and when they may be
	voids int   // permits that were void when they were to be used

	wishes map[int]wish     // what replies ask for recipients; nil: nothing
	later  []mail.Recipient // left out: their mailboxes want more time
}

func (a *attempt) note(format string, args ...any) {
	a.notes = append(a.notes, fmt.Sprintf(format, args...))
}

// set gives recipient i its outcome.
func (a *attempt) set(i int, s mail.Status, host string, r mail.Reply) {
	a.outs[i].Status, a.outs[i].Host, a.outs[i].Reply = s, host, r
	a.outs[i].Class, a.outs[i].Action = "", ""
	delete(a.wishes, i)
}

var (
	errClaimOld   = errors.New("the claim on the delivery was not confirmed lately; another node may have it")
	replyBroke    = mail.R(451, "4.4.2", "")
	replyNotReady = mail.R(451, "4.3.0", "our own queue could not follow; trying again")
)

// attempt tries host after host and transaction after transaction until every
// recipient has an outcome. A 4yz or 5yz to a recipient is its outcome and no
// other host is asked; a connection that breaks, or is ended with 421, before the
// message was completed is the connection's fault, and the next host gets what is
// open. Each transaction needs a permit of its own where there is a limit; those
// for whom none is left stay untried.
func (c *carrier) attempt(s *start) *attempt {
	env := s.env
	a := &attempt{started: time.Now(), outs: make([]mail.Outcome, len(env.Recipients)), reused: c.used > 0}
	c.left = c.left[:0]
	for i, r := range env.Recipients {
		a.outs[i].Recipient = r
		c.left = append(c.left, i)
	}
	hard, end := c.cuttable(c.d.hard)
	defer end()
	ctx, cancel := context.WithTimeout(hard, c.d.c.AttemptTimeout)
	defer cancel()
	c.prepare(ctx, s)
	c.line, c.permit, c.version, c.most = s.line, s.permit, s.version, s.most
	cleared := true // admit has seen to the first
	for len(c.left) > 0 && !a.release {
		if context.Cause(ctx) == errLeaseOver {
			c.giveUp(a, errLeaseOver)
			break
		}
		if c.client == nil {
			cleared = c.returnPermit() && cleared
			if !c.reconnect(ctx, s.line.lane, a) {
				break
			}
		}
		if !cleared && !c.clear(ctx, s.line, a) {
			break
		}
		cleared = false
		c.transaction(ctx, s, a)
	}
	c.returnPermit()
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
	n := c.fits()
	batch, rest := c.left[:n], c.left[n:]
	c.t.Recipients = c.t.Recipients[:0]
	for _, i := range batch {
		c.t.Recipients = append(c.t.Recipients, s.env.Recipients[i])
	}
	if c.permit != nil {
		a.permit = c.permit.Limits()
	}
	client := c.client
	res, err := client.Send(ctx, &c.t)
	if !res.Reusable {
		c.lost()
	}
	var not *smtp.NotStartedError
	if errors.As(err, &not) {
		a.voids++
		c.returnPermit()
		return
	}
	c.returnPermit() // nothing was worth a MAIL
	a.began++
	if c.used > 0 {
		d.met.reused.Add(1)
	}
	c.used++
	a.host, a.lmtp = c.host.label, c.host.lmtp
	a.login = c.host.manner != nil && c.host.manner.login != nil
	_, a.tls = client.TLS()
	a.dsn = client.Extensions().DSN
	if res.Stale {
		// It died while it lay idle: nobody's attempt. The new connection is not stale.
		d.met.stale.Add(1)
		a.reused = false
		return
	}
	open := c.read(a, batch, &res, err)
	if open != nil && context.Cause(ctx) == errLeaseOver {
		// We have cut it ourselves: no host's fault, and nobody's attempt.
		a.fault, a.tried = failure{}, a.tried[:max(len(a.tried)-1, 0)]
	}
	// What stays open moves up to the rest, in place: read has returned a prefix of batch.
	c.left = append(c.left[:len(open)], rest...)
	if c.client != nil && (open != nil && a.fault.host == c.host.label || c.parting) {
		c.hangUp() // a host that says 421 is about to leave; or a rule wants another connection
	}
	c.parting = false
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
	var j judging
	for k, i := range batch {
		r := &res.Recipients[k]
		said := c.host.label
		if r.Stage == smtp.StageLocal {
			said = ""
		}
		v := c.judge(&j, r.Reply, r.Stage, c.host, c.cur.env.Destination, c.cur.env.Message.Tenant)
		switch {
		case r.Stage == smtp.StageTooMany:
			tooMany++
			open = append(open, i)
			a.set(i, mail.Deferred, said, r.Reply) // in case there is no next transaction
			a.judged(i, v)
			continue
		case r.Delivered():
			a.set(i, mail.Delivered, said, r.Reply)
		case r.Reply.Permanent():
			a.set(i, mail.Failed, said, r.Reply)
			a.judged(i, v)
		case r.Reply.Code == 421 && r.Stage != smtp.StageDot && !res.DotSent:
			// RFC 5321 §3.8: the host is leaving; its state says nothing about the recipient.
			a.fault = failure{reply: r.Reply, host: c.host.label, remote: true, verdict: v}
			fault = true
			open = append(open, i)
			continue
		case r.Reply.Transient():
			a.set(i, mail.Deferred, said, r.Reply)
			a.judged(i, v)
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
	where, err := l.hosts(ctx, d)
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
		if fail = c.rejoin(l, where); fail == nil {
			fail = c.connect(ctx, where.targets, a.tried)
		}
	}
	if fail == nil {
		return true
	}
	if fail.ours != nil {
		c.giveUp(a, fail.ours)
		return false
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
		a.judged(i, fail.verdict)
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

// rejoin leads the carrier to where l's mail goes now, and sees to its slot.
func (c *carrier) rejoin(l *lane, w hosting) *failure {
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keepUp(time.Now())
	c.join(l, w)
	a := c.path.account
	if c.slot != nil && c.slotOf != a {
		c.dropSlot()
	}
	if a != nil && a.slots != nil && c.slot == nil {
		return &failure{ours: errSlotEnds} // not in the middle of an attempt
	}
	if !c.mayStart() {
		return &failure{ours: errSlotEnds}
	}
	return nil
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
