package deliverer

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// said is what plugins have said of a delivery before an attempt.
type said struct {
	goes    bool      // on its way
	release bool      // we are about to stop: they have not answered
	until   time.Time // put off until then
	status  mail.Status
	reply   mail.Reply // deferred or failed by this
	hook    plugin.Hook
	by      string // the plugin
}

// ask asks send_email and get_mx about h. It takes as long as they do.
func (d *Deliverer) ask(h *held) said {
	ch := d.c.Plugins.Take()
	defer ch.Release()
	if ch.Has(plugin.SendEmail) {
		v, _ := d.run(d.soft, ch, h, &plugin.Event{Hook: plugin.SendEmail})
		switch s, decided := d.refusal(h, plugin.SendEmail, v); {
		case d.soft.Err() != nil:
			return said{release: true}
		case v.Code == plugin.Delay:
			return said{until: d.putOff(h, delayOf(v)), hook: plugin.SendEmail, by: v.Plugin}
		case decided:
			return s
		}
	}
	if !ch.Has(plugin.GetMX) || d.c.Routes.known(h.env.Route) != "" {
		return said{goes: true}
	}
	v, _ := d.run(d.soft, ch, h, &plugin.Event{Hook: plugin.GetMX, Name: string(h.env.Destination)})
	s, decided := d.refusal(h, plugin.GetMX, v)
	switch {
	case d.soft.Err() != nil:
		return said{release: true}
	case v.Code == plugin.Delay:
		return said{until: d.putOff(h, delayOf(v)), hook: plugin.GetMX, by: v.Plugin}
	case decided:
		return s
	case v.Code != plugin.OK:
		return said{goes: true}
	}
	var err error
	if h.via, err = d.readVia(v.Value); err != nil {
		d.c.Log.Error("what a plugin answers to get_mx is no use; the delivery waits", "plugin", v.Plugin, "delivery", h.env.ID(), "error", err)
		return said{status: mail.Deferred, hook: plugin.GetMX, by: v.Plugin,
			reply: mail.R(451, "4.3.5", "not tried in this attempt: what plugin "+v.Plugin+" says of its hosts is no use: "+err.Error())}
	}
	return said{goes: true}
}

// refusal reads a verdict of DENY and DENYSOFT, in all their forms; not decided: it is
// something else.
func (d *Deliverer) refusal(h *held, hook plugin.Hook, v plugin.Verdict) (s said, decided bool) {
	s = said{hook: hook, by: v.Plugin, reply: v.Reply}
	switch v.Code {
	case plugin.Refuse, plugin.RefuseDisconnect:
		s.status = mail.Failed
		s.reply = orUsual(v.Reply, hook, 550, "5.7.1", "5.1.2", h.env.Destination)
	case plugin.Defer, plugin.DeferDisconnect, plugin.Hangup:
		s.status = mail.Deferred
		s.reply = orUsual(v.Reply, hook, 450, "4.7.1", "4.1.2", h.env.Destination)
	default:
		return s, false
	}
	return s, true
}

// orUsual makes a plugin's reply one of the class of code.
func orUsual(r mail.Reply, hook plugin.Hook, code int, sending, hosts string, to mail.Domain) mail.Reply {
	enhanced, text := sending, "refused by our own rules"
	if hook == plugin.GetMX {
		enhanced, text = hosts, "no host takes mail for "+string(to)
	}
	usual := mail.R(code, enhanced, text)
	if r.Code/100 == code/100 {
		usual.Code = r.Code
		if int(r.Enhanced[0]) == code/100 {
			usual.Enhanced = r.Enhanced
		}
	}
	if r.Text != "" {
		usual.Text = r.Text
	}
	return usual
}

// delayOf is the time that a verdict names, in seconds where a script gave a number;
// 0: none.
func delayOf(v plugin.Verdict) time.Duration {
	if v.Delay > 0 {
		return v.Delay
	}
	text := v.Reply.Text
	switch n := v.Value.(type) {
	case time.Duration:
		return max(n, 0)
	case float64:
		return seconds(n)
	case int:
		return seconds(float64(n))
	case int64:
		return seconds(float64(n))
	case string:
		text = n
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return seconds(n)
}

// longest bounds a delay that a plugin asks for; its expiry bounds a delivery's anyway.
const longest = 100 * 24 * time.Hour

func seconds(n float64) time.Duration {
	switch {
	case !(n > 0): // no number, too
		return 0
	case n >= longest.Seconds():
		return longest
	}
	return time.Duration(n * float64(time.Second))
}

// putOff is until when DELAY puts a delivery off: without a time of its own for as long
// as after a failed attempt.
func (d *Deliverer) putOff(h *held, t time.Duration) time.Time {
	if t <= 0 {
		t = d.c.Retry.Pause(h.env.ID(), h.env.Attempts+1)
	}
	return time.Now().Add(max(t, time.Second))
}

// obeyPlugins does what was said. Each way is durable: what is put off or deferred is
// stored anew before the old record goes.
func (d *Deliverer) obeyPlugins(h *held, s *said) {
	switch {
	case s.release:
		d.giveBack(parked{held: *h, release: true})
	case s.goes:
		d.proceed(*h)
	case !s.until.IsZero():
		d.met.putOff.Add(1)
		d.c.Log.Info("put off by a plugin", "delivery", h.env.ID(), "destination", string(h.env.Destination), "plugin", s.by, "until", s.until)
		d.giveBack(parked{held: *h, due: s.until})
	default:
		a := &attempt{started: time.Now(), outs: make([]mail.Outcome, len(h.env.Recipients))}
		for i, r := range h.env.Recipients {
			a.outs[i] = mail.Outcome{Recipient: r, Status: s.status, Reply: s.reply}
		}
		a.note("said by plugin %s at %s", s.by, s.hook)
		d.end(h, a, h.env.Attempts+1)
	}
}

// proceed puts a delivery about which plugins have been asked into its line, with its
// patience whole.
func (d *Deliverer) proceed(h held) {
	h.asked = true
	patience := d.c.Patience
	if h.aged {
		patience *= 10
	}
	h.until = time.Now().Add(patience)
	if back, goes := d.replace(h); goes {
		d.giveBack(back)
	}
}

// run asks one hook about a delivery. fault: some function has not answered for itself,
// and what it noted is not kept, for it may still be at work.
func (d *Deliverer) run(ctx context.Context, ch *plugin.Chain, h *held, e *plugin.Event) (v plugin.Verdict, fault bool) {
	if h.tx == nil {
		h.tx = d.transactionOf(h.env)
	}
	env := *h.env // a function that was given up may look at it for ever
	m := *env.Message
	env.Message, env.Recipients = &m, slices.Clone(env.Recipients)
	e.Delivery, e.Transaction = &env, h.tx
	e.Watch = func(s plugin.Step) { fault = fault || s.Fault != "" }
	v = ch.Run(ctx, e)
	fault = fault || ctx.Err() != nil // they may have been given up between two functions
	if fault {
		h.tx = nil
	}
	return v, fault
}

// transactionOf is what is still known of the transaction by which a delivery's message
// came in: its envelope, of that delivery alone, and the notes.
func (d *Deliverer) transactionOf(env *mail.Delivery) *plugin.Transaction {
	m := env.Message
	conn := &plugin.Connection{ID: m.ID}
	if ip, err := netip.ParseAddr(m.ClientIP); err == nil {
		conn.Remote = netip.AddrPortFrom(ip, 0)
	}
	conn.SetHello(m.Helo, "")
	tx := conn.Begin(m.ID, m.Sender)
	tx.SetRecipients(slices.Clone(env.Recipients))
	tx.SetTenant(m.Tenant)
	tx.SetClass(m.Class)
	if err := tx.Notes.Unpack(m.Notes); err != nil {
		d.c.Log.Warn("what plugins have noted of a message cannot be read", "delivery", env.ID(), "error", err)
	}
	return tx
}

// keepNotes has a delivery that is stored anew take along what plugins have noted
// since. It is the delivery's own: others of its message have theirs.
func (d *Deliverer) keepNotes(next *mail.Delivery, tx *plugin.Transaction) {
	if tx == nil {
		return
	}
	notes, err := tx.Notes.Pack()
	if err != nil {
		d.c.Log.Warn("what plugins have noted of a delivery is not kept", "delivery", next.ID(), "error", err)
		return
	}
	if !bytes.Equal(notes, next.Message.Notes) {
		m := *next.Message
		m.Notes = notes
		next.Message = &m
	}
}
