package deliverer

import (
	"context"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
)

// Suppressions is the list of those who are sent nothing. Safe for concurrent use.
type Suppressions interface {
	// Maybe tells whether an address may be on the list for a tenant's mail. It must
	// not block. false is certain.
	Maybe(to mail.Address, tenant string) bool
	// Look asks the list itself. why is what the sender is told; empty: it is not on it.
	Look(ctx context.Context, to mail.Address, tenant string) (why string, err error)
	// Bounced tells of a recipient whom a host has refused in an attempt (from 1) with
	// words that put him on the list. It must not block.
	Bounced(env *mail.Delivery, attempt int, o *mail.Outcome)
}

// suspect tells whether some of its recipients may be on the list.
func (d *Deliverer) suspect(env *mail.Delivery) bool {
	if d.c.Suppressions == nil {
		return false
	}
	for i := range env.Recipients {
		if d.c.Suppressions.Maybe(env.Recipients[i].Address, env.Message.Tenant) {
			return true
		}
	}
	return false
}

const (
	lookTime  = 10 * time.Second
	lookPause = time.Minute // until the list is asked again that did not answer
)

// examine asks the list about a delivery under suspicion. Those who are on it fail, and
// nobody connects anywhere for them; the others of the same delivery are stored anew
// without them. cleared: nobody is, and the delivery may go on its way.
func (d *Deliverer) examine(h *held) (cleared bool) {
	env := h.env
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.soft), lookTime)
	defer cancel()
	a := &attempt{started: time.Now(), host: env.LastHost, outs: make([]mail.Outcome, len(env.Recipients))}
	for i, r := range env.Recipients {
		a.outs[i].Recipient = r
		why, err := d.c.Suppressions.Look(ctx, r.Address, env.Message.Tenant)
		switch {
		case err != nil:
			// Sent to one who must not be is worse than late.
			d.c.Log.Warn("the suppression list does not answer; the delivery waits", "delivery", env.ID(), "error", err)
			d.giveBack(parked{held: *h, due: time.Now().Add(lookPause)})
			return false
		case why == "":
			a.rest = append(a.rest, i)
		default:
			a.set(i, mail.Failed, "", mail.R(550, "5.7.1", why))
			a.outs[i].Class, a.outs[i].Action = string(replies.Suppressed), string(replies.Return)
		}
	}
	if len(a.rest) == len(a.outs) {
		return true
	}
	a.hold = Hold{Why: "others of the delivery are on the suppression list, and it is stored anew without them"}
	d.met.suppressed.Add(uint64(len(a.outs) - len(a.rest)))
	d.end(h, a, env.Attempts)
	return false
}

// lastLook is right before an attempt: while the delivery waited in memory, its hours
// may have ended, or a recipient may have come on the list.
func (d *Deliverer) lastLook(h *held, now time.Time) (back parked, goes bool) {
	if from, _ := d.chance(h.env.Message, now); from.After(now) {
		return parked{held: *h}, true
	}
	return parked{held: *h, suspect: true}, !h.cleared && d.suspect(h.env)
}

// tellBounces passes on who was refused by a host with words about his mailbox.
func (d *Deliverer) tellBounces(env *mail.Delivery, attempt int, outs []mail.Outcome) {
	if d.c.Suppressions == nil {
		return
	}
	for i := range outs {
		if outs[i].Status == mail.Failed && outs[i].Host != "" && outs[i].Action == string(replies.Suppress) {
			d.c.Suppressions.Bounced(env, attempt, &outs[i])
		}
	}
}
