package deliverer

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
)

// storePatience is how long a notice may take to be stored before the delivery it
// is about is deferred instead.
const storePatience = 30 * time.Second

// wants tells whether the sender is to be told: event is SUCCESS, FAILURE or DELAY
// (RFC 3461 §4.1). Without NOTIFY failures are told, and delays too.
func wants(r *mail.Recipient, event string) bool {
	if r.Notify == "" {
		return event != "SUCCESS"
	}
	for v := range strings.SplitSeq(r.Notify, ",") {
		if strings.EqualFold(strings.TrimSpace(v), event) {
			return true
		}
	}
	return false
}

// wantsSuccess tells whether a report of success is owed: the host that took the
// message knows no DSN, so ours is the last word (RFC 3461 §5.2.2).
func wantsSuccess(env *mail.Delivery, a *attempt, outs []mail.Outcome) bool {
	if a.dsn || env.Message.Sender.IsNull() {
		return false
	}
	for i := range outs {
		if outs[i].Status == mail.Delivered && wants(&outs[i].Recipient, "SUCCESS") {
			return true
		}
	}
	return false
}

// report stores the notice that an attempt's outcomes ask for, all recipients in
// one. causes are the outcomes as the hosts gave them; mute: a plugin
// wants nobody told of failures.
func (d *Deliverer) report(job Job, env *mail.Delivery, a *attempt, outs, causes []mail.Outcome, attempts int, now time.Time, mute string) error {
	var failed, passed []verdict
	for i := range outs {
		o := &outs[i]
		switch {
		case o.Status == mail.Failed && (mute != "" || o.Action == ActionDrop):
			d.met.swallowed.Add(1)
			d.c.Log.Warn("delivery failed and nobody is told, as a plugin wants", "delivery", env.ID(),
				"recipient", o.Recipient.Raw, "sender", env.Message.Sender.Raw, "reply", o.Reply.String(), "notes", strings.Join(a.notes, "; "))
		case o.Status == mail.Failed:
			if env.Message.Sender.IsNull() || !wants(&o.Recipient, "FAILURE") {
				// RFC 5321 §4.5.5: nothing is ever sent about mail from <>, or two mailers talk for ever.
				d.met.swallowed.Add(1)
				d.c.Log.Warn("delivery failed and nobody is told", "delivery", env.ID(),
					"recipient", o.Recipient.Raw, "sender", env.Message.Sender.Raw, "notify", o.Recipient.Notify, "reply", o.Reply.String())
				continue
			}
			v := verdict{recipient: o.Recipient, action: actionFailed, reply: causes[i].Reply, host: causes[i].Host, class: causes[i].Class}
			if causes[i].Status != o.Status { // given up by us
				v.status = o.Reply.Enhanced
			}
			failed = append(failed, v)
		case o.Status == mail.Delivered && !a.dsn && !env.Message.Sender.IsNull() && wants(&o.Recipient, "SUCCESS"):
			done := actionRelayed
			if a.lmtp {
				done = actionDelivered
			}
			passed = append(passed, verdict{recipient: o.Recipient, action: done, reply: o.Reply, host: o.Host})
		}
	}
	for _, n := range []struct {
		kind string
		vs   []verdict
	}{{"failed", failed}, {"relayed", passed}} {
		if len(n.vs) == 0 {
			continue
		}
		if err := d.storeNotice(job, env, n.kind, attempts, n.vs, now); err != nil {
			return err
		}
		d.met.notices.Add(1)
	}
	return nil
}

// storeNotice writes a notice and stores it. nil means that it is safe on disk.
func (d *Deliverer) storeNotice(job Job, env *mail.Delivery, kind string, attempt int, vs []verdict, now time.Time) error {
	// Not d.hard: a notice under way is finished even while open transactions are cut.
	ctx, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	n := notice{
		id:       noticeID(env, kind, attempt, vs),
		hostname: d.c.Hostname,
		now:      now,
		about:    env.Message,
		verdicts: vs,
		header:   d.header(ctx, job),
	}
	body, utf8 := n.write()
	m := &mail.Message{
		ID:       n.id,
		Received: now,
		SMTPUTF8: utf8,
		Size:     int64(len(body)),
		Origin:   env.Message.ID,
		// A report is its tenant's mail as what it reports on is, and not more urgent:
		// the bounces of a bulk mailing must not go before other people's mail.
		Tenant: env.Message.Tenant,
		Class:  env.Message.Class,
	}
	if utf8 {
		m.Body = mail.Body8BitMIME
	}
	to := env.Message.Sender
	err := d.c.Store.Put(ctx, m, body, []mail.Delivery{{
		Message:     m,
		Destination: to.Domain,
		Recipients:  []mail.Recipient{{Address: to, Notify: "NEVER"}},
		Expires:     now.Add(d.c.Retry.Expire),
	}})
	if err != nil {
		return fmt.Errorf("store notice %s to <%s>: %w", n.id, to.Raw, err)
	}
	d.c.Log.Info("notice", "message", n.id, "kind", kind, "origin", env.Message.ID, "delivery", env.ID(), "to", to.Raw, "recipients", len(vs))
	return nil
}

// header reads the header of the message for quoting; none when it cannot be read.
func (d *Deliverer) header(ctx context.Context, job Job) []byte {
	if b := job.Bytes(); b != nil {
		return cutHeader(bytes.Clone(b[:min(len(b), headerCap)]))
	}
	r, err := job.Open(ctx)
	if err != nil {
		d.c.Log.Warn("cannot quote the message in its notice", "delivery", job.Envelope().ID(), "error", err)
		return nil
	}
	defer r.Close()
	return readHeader(r)
}

// noticeDelay tells the sender once that next has not arrived yet, when it is old
// enough. A notice that cannot be stored is left for the next attempt: unlike a
// failure, nothing is lost without it.
func (d *Deliverer) noticeDelay(job Job, next *mail.Delivery, now time.Time) {
	if !d.owesDelay(next, now) {
		return
	}
	var vs []verdict
	for _, r := range next.Recipients {
		if wants(&r, "DELAY") {
			v := verdict{recipient: r, action: actionDelayed, reply: next.LastReply, host: next.LastHost, class: next.LastClass, until: next.Expires}
			switch {
			case v.reply.IsZero():
				v.host, v.status = "", mail.EnhancedCode{4, 4, 0}
			case isOurs(v.reply):
				v.host = ""
			}
			vs = append(vs, v)
		}
	}
	if len(vs) > 0 {
		if err := d.storeNotice(job, next, "delayed", 0, vs, now); err != nil {
			d.met.noticesFailed.Add(1)
			d.c.Log.Warn("cannot store a delay notice; at the next attempt again", "delivery", next.ID(), "error", err)
			return
		}
		d.met.delayNotices.Add(1)
	}
	next.DelayNoticed = true
}

// owesDelay tells whether the sender is to be told that the delivery is late.
func (d *Deliverer) owesDelay(env *mail.Delivery, now time.Time) bool {
	m := env.Message
	return d.c.DelayNotice >= 0 && !env.DelayNoticed && !m.Sender.IsNull() && now.Sub(d.firstChance(m)) >= d.c.DelayNotice
}

// Bounce ends a claimed delivery for good on an operator's word: its senders are
// told reply, as if a host had said it. It returns an error, and the job is not
// ended, when the notice cannot be stored.
func (d *Deliverer) Bounce(ctx context.Context, job Job, reply mail.Reply) error {
	if !reply.Permanent() {
		return fmt.Errorf("bounce with reply %q: it must be 5yz", reply)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	env, now := job.Envelope(), time.Now()
	a := &attempt{started: now, outs: make([]mail.Outcome, len(env.Recipients)), dsn: true}
	for i, r := range env.Recipients {
		a.outs[i] = mail.Outcome{Recipient: r, Status: mail.Failed, Reply: reply, Class: string(replies.ByOperator)}
	}
	if err := d.report(job, env, a, a.outs, a.outs, env.Attempts, now, ""); err != nil {
		return err
	}
	d.met.failed.Add(uint64(len(a.outs)))
	for i := range a.outs {
		d.met.countClass(&a.outs[i])
	}
	d.c.Log.Info("bounced by an operator", "delivery", env.ID(), "recipients", len(a.outs), "reply", reply.String())
	job.Done(Attempt{Started: now, Outcomes: a.outs, Note: "bounced by an operator"})
	return nil
}
