package deliverer

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// parked is a delivery on its way back to the queue.
type parked struct {
	held
	due     time.Time // zero: as soon as there is room
	release bool      // as if it had never been taken
	suspect bool      // the suppression list is to be asked about it
	decided *Attempt  // what it came to in an earlier life
	number  int       // of that attempt
}

// park gives deliveries back without an attempt.
func (d *Deliverer) park(back []parked) {
	for _, p := range back {
		d.parking <- p
	}
}

func (d *Deliverer) parkAll(waiting []held, due time.Time) {
	for _, h := range waiting {
		d.parking <- parked{held: h, due: due}
	}
	if !due.IsZero() {
		d.rouse() // a gate was shut: the ticker is to look when it opens
	}
}

// parkLoop gives back what could not start. Several run at once, because each
// waits until the queue has stored the delivery anew.
func (d *Deliverer) parkLoop() {
	for p := range d.parking {
		if p.decided != nil {
			d.asDecided(&p)
			continue
		}
		if !p.suspect {
			d.giveBack(p)
			continue
		}
		if !d.examine(&p.held) {
			continue
		}
		p.cleared = true
		if back, goes := d.replace(p.held); goes {
			d.giveBack(back)
		}
	}
}

// replace puts a delivery that has been looked into where it would have gone.
func (d *Deliverer) replace(h held) (back parked, goes bool) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keepUp(now)
	q := d.laneOf(&h).line(h.party())
	d.settleLine(q, now)
	return d.place(q, h, now)
}

// giveBack stores a delivery anew, without an attempt.
func (d *Deliverer) giveBack(p parked) {
	now := time.Now()
	if p.release {
		p.job.Release()
		d.met.released.Add(1)
		d.drop(p.held)
		return
	}
	if d.overAge(p.env, now) {
		// Its time is up while nothing moves: it must not wait for ever behind a dead host.
		d.expireUntried(&p.held)
		return
	}
	next := *p.env
	next.Due = p.due
	if !next.Expires.IsZero() && next.Due.After(next.Expires) {
		next.Due = next.Expires
	}
	d.postpone(&next, now)
	d.keepNotes(&next, p.tx)
	d.noticeDelay(p.job, &next, now)
	d.met.parked.Add(1)
	p.job.Wait(next, nil)
	d.drop(p.held)
}

func (d *Deliverer) overAge(env *mail.Delivery, now time.Time) bool {
	return !env.Expires.IsZero() && !now.Before(env.Expires)
}

// expireUntried fails a delivery whose time is up and that cannot be tried now.
func (d *Deliverer) expireUntried(h *held) {
	a := &attempt{started: time.Now(), outs: make([]mail.Outcome, len(h.env.Recipients)), host: h.env.LastHost}
	host := h.env.LastHost
	if isOurs(h.env.LastReply) {
		host = ""
	}
	for i, r := range h.env.Recipients {
		a.outs[i] = mail.Outcome{Recipient: r, Status: mail.Deferred, Reply: h.env.LastReply, Host: host, Class: h.env.LastClass}
	}
	d.end(h, a, h.env.Attempts)
}

// settle ends a delivery after an attempt.
func (d *Deliverer) settle(h *held, a *attempt) {
	if a.release {
		d.met.released.Add(1)
		if len(a.notes) > 0 {
			d.c.Log.Warn("delivery given back before the final dot", "delivery", h.env.ID(), "host", a.host, "why", strings.Join(a.notes, "; "))
		}
		h.job.Release()
		d.drop(*h)
		return
	}
	d.end(h, a, h.env.Attempts+1)
}

// finish stores what an attempt's outcomes ask for and ends the job: first the
// notices that are owed, then the delivery itself. Were the order swapped, a crash
// between the two would lose a message without telling anyone. The plugins of ch are
// asked before; nil: there are none.
func (d *Deliverer) finish(h *held, a *attempt, attempts int, ch *plugin.Chain) {
	job, env := h.job, h.env
	now := time.Now()
	a.sayUntried(now)
	outs := a.outs
	expired := d.overAge(env, now) && !a.decided
	d.classify(env.Destination, outs)
	route := d.reroute(env, a, expired)
	var causes []mail.Outcome // what is behind the outcomes we change, by index
	changed := func(int) {
		if causes == nil {
			causes = append(causes, outs...)
		}
	}
	for i := range outs {
		if outs[i].Status == mail.Deferred && expired {
			changed(i)
			outs[i].Status, outs[i].Host = mail.Failed, ""
			outs[i].Reply = expiredReply(causes[i].Reply)
			outs[i].Class = "" // that is what was behind it
		}
	}
	said := d.consult(ch, h, a, outs, attempts, now, changed)
	failed, open := 0, 0
	for i := range outs {
		switch outs[i].Status {
		case mail.Failed:
			failed++
		case mail.Deferred:
			open++
		}
	}
	if causes == nil {
		causes = outs
	} else {
		d.classify(env.Destination, outs)
	}
	if failed > 0 || wantsSuccess(env, a, outs) {
		err := d.decide(job, a, outs, attempts, now)
		if err == nil {
			err = d.report(job, env, a, outs, causes, attempts, now, said.mute)
		}
		if err != nil {
			d.met.noticesFailed.Add(1)
			d.c.Log.Error("cannot store a delivery status notification; the delivery stays until it can be",
				"delivery", env.ID(), "error", err)
			a.note("notice not stored: %v", err)
			for i := range outs {
				if outs[i].Status == mail.Failed {
					outs[i] = causes[i]
					outs[i].Status = mail.Deferred
					open++
				}
			}
		}
	}

	record := Attempt{Started: a.started, Duration: now.Sub(a.started), Host: a.host, Outcomes: outs, Note: strings.Join(a.notes, "; ")}
	d.count(outs, expired)
	if !a.lmtp { // behind LMTP are mailboxes that our own operator makes: the next mail may find one
		d.tellBounces(env, attempts, outs)
	}
	if open+len(a.later) == 0 {
		d.logAttempt(env, a, outs, attempts, now, time.Time{})
		job.Done(record)
		d.tellDelivered(h, a, outs)
		return
	}
	next := *env
	next.Attempts = attempts
	next.LastAttempt, next.LastHost = now, a.host
	next.Recipients = make([]mail.Recipient, 0, open)
	for _, i := range a.rest { // first, or they would never have their turn
		if outs[i].Status == mail.Deferred {
			next.Recipients = append(next.Recipients, outs[i].Recipient)
		}
	}
	untried := len(next.Recipients)
	for i := range outs {
		if outs[i].Status == mail.Deferred && !slices.Contains(a.rest, i) {
			if len(next.Recipients) == untried {
				next.LastReply, next.LastClass = outs[i].Reply, outs[i].Class
			}
			r := outs[i].Recipient
			if r.NotBefore = (time.Time{}); a.wishes[i].delay > 0 {
				r.NotBefore = now.Add(a.wishes[i].delay)
			}
			if at := now.Add(said.pause); untried > 0 && said.pause > 0 && at.After(r.NotBefore) {
				r.NotBefore = at // the untried do not wait for a plugin's pause
			}
			next.Recipients = append(next.Recipients, r)
		}
	}
	switch {
	case expired:
		// Only a notice that could not be stored brings us here.
		next.Due = now.Add(d.c.Retry.Pause(env.ID(), attempts))
	case untried > 0:
		// The attempt is not over before everybody had his turn.
		next.Attempts = env.Attempts
		next.Due = time.Time{}
		if a.hold.NotBefore.After(now.Add(soon)) {
			next.Due = a.hold.NotBefore
		}
		if !env.Expires.IsZero() && next.Due.After(env.Expires) {
			next.Due = env.Expires
		}
	default:
		next.Due = d.c.Retry.Next(env.ID(), attempts, now, env.Expires)
	}
	if route != "" {
		next.Route, next.Due = route, time.Time{}
	}
	if said.pause > 0 && untried == 0 && !expired {
		if next.Due = now.Add(said.pause); !env.Expires.IsZero() && next.Due.After(env.Expires) {
			next.Due = env.Expires
		}
	}
	a.rejoin(&next)
	if !expired {
		d.postpone(&next, now)
	}
	d.keepNotes(&next, h.tx)
	d.noticeDelay(job, &next, now)
	d.logAttempt(env, a, outs, attempts, now, next.Due)
	job.Wait(next, &record)
	d.tellDelivered(h, a, outs)
}

// sayUntried gives the recipients of whom nothing was tried that as their outcome.
func (a *attempt) sayUntried(now time.Time) {
	if len(a.rest) == 0 {
		return
	}
	text := "not tried in this attempt: " + a.hold.Why
	if a.hold.NotBefore.After(now) {
		text += ", not before " + a.hold.NotBefore.UTC().Format(time.RFC3339)
	}
	for _, i := range a.rest {
		a.set(i, mail.Deferred, "", mail.R(451, "4.4.5", text))
	}
	a.note("%d recipients %s", len(a.rest), text)
}

// expiredReply is the outcome of a delivery whose time is up: RFC 3463 §3.5, X.4.7.
func expiredReply(last mail.Reply) mail.Reply {
	text := "delivery time expired"
	if !last.IsZero() {
		text += "; last reply: " + last.String()
	}
	return mail.R(451, "4.4.7", text)
}

func (d *Deliverer) count(outs []mail.Outcome, expired bool) {
	d.met.attempts.Add(1)
	var delivered, deferred, failed, old uint64
	for i := range outs {
		switch outs[i].Status {
		case mail.Delivered:
			delivered++
		case mail.Deferred:
			deferred++
			d.met.countClass(&outs[i])
		default:
			failed++
			d.met.countClass(&outs[i])
			if expired && outs[i].Reply.Enhanced == (mail.EnhancedCode{4, 4, 7}) {
				old++
			}
		}
	}
	d.met.delivered.Add(delivered)
	if deferred+failed > 0 {
		d.met.deferred.Add(deferred)
		d.met.failed.Add(failed)
		d.met.expired.Add(old)
	}
}

// logAttempt writes the one line of an attempt.
func (d *Deliverer) logAttempt(env *mail.Delivery, a *attempt, outs []mail.Outcome, attempts int, now, due time.Time) {
	ctx := context.Background()
	if !d.c.Log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	// The first that was not delivered speaks for the attempt: it is why someone looks.
	worst := &outs[0]
	var n [3]int
	for i := range outs {
		n[outs[i].Status]++
		if worst.Status == mail.Delivered && outs[i].Status != mail.Delivered {
			worst = &outs[i]
		}
	}
	var buf [20]slog.Attr
	at := append(buf[:0],
		slog.String("message", env.Message.ID),
		slog.String("delivery", env.ID()),
		slog.Int("attempt", attempts),
		slog.String("sender", env.Message.Sender.Raw),
		slog.String("recipient", worst.Recipient.Raw),
		slog.Int("recipients", len(outs)),
		slog.String("destination", string(env.Destination)),
		slog.String("host", a.host),
		slog.Bool("tls", a.tls),
		slog.String("status", worst.Status.String()),
		slog.String("reply", worst.Reply.String()),
		slog.Duration("duration", now.Sub(a.started)),
		slog.Int64("size", env.Message.Size),
		slog.Bool("reused", a.reused),
	)
	if worst.Class != "" {
		at = append(at, slog.String("class", worst.Class))
	}
	if len(outs) > 1 {
		at = append(at, slog.Int("delivered", n[mail.Delivered]), slog.Int("deferred", n[mail.Deferred]), slog.Int("failed", n[mail.Failed]))
	}
	if !due.IsZero() {
		at = append(at, slog.Time("next", due))
	}
	if a.permit != "" {
		at = append(at, slog.String("permit", a.permit))
	}
	if len(a.notes) > 0 {
		at = append(at, slog.String("note", strings.Join(a.notes, "; ")))
	}
	d.c.Log.LogAttrs(ctx, slog.LevelInfo, "attempt", at...)
}
