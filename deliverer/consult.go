package deliverer

import (
	"slices"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// ActionDrop is the Action of an outcome that a plugin has made the last one: nobody
// is told.
const ActionDrop = "drop"

// word is what plugins have said of an attempt's outcomes.
type word struct {
	pause time.Duration // until the next attempt; 0: by the schedule
	mute  string        // the plugin that wants nobody told of failures; empty: none does
}

// consultPatience is how long a delivery waits until plugins can be asked what comes of
// its attempt: a quarter of the hand may be with them at a time. After that it is
// settled without, for a plugin that is stuck must not fill the hand.
const consultPatience = 2 * time.Second

// consults tells whether plugins are to be asked what comes of an attempt.
func (d *Deliverer) consults(a *attempt) bool {
	p := d.c.Plugins
	if p == nil || !p.Has(plugin.Deferred) && !p.Has(plugin.Bounce) {
		return false
	}
	return slices.ContainsFunc(a.outs, func(o mail.Outcome) bool { return o.Status != mail.Delivered })
}

// end finishes a delivery after an attempt and takes it off the hand: beside its
// caller where plugins are asked, so that no connection waits for them.
func (d *Deliverer) end(h *held, a *attempt, attempts int) {
	if !d.consults(a) {
		d.finish(h, a, attempts, nil)
		d.drop(*h)
		return
	}
	own := *h
	d.crew.start(func() {
		if d.consultable() {
			ch := d.c.Plugins.Take()
			d.finish(&own, a, attempts, ch)
			ch.Release()
			<-d.consulting
		} else {
			d.met.unasked.Add(1)
			d.c.Log.Warn("plugins are not asked what comes of an attempt: too many deliveries wait for them", "delivery", own.env.ID())
			d.finish(&own, a, attempts, nil)
		}
		d.drop(own)
	})
}

// consultable waits for a place among those about whom plugins are asked.
func (d *Deliverer) consultable() bool {
	select {
	case d.consulting <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(consultPatience)
	defer timer.Stop()
	select {
	case d.consulting <- struct{}{}:
		return true
	case <-timer.C:
	case <-d.hard.Done():
	}
	return false
}

// consult asks deferred and bounce about the outcomes of an attempt; what they say of
// them is in outs afterwards. changed is called with the index before one is.
func (d *Deliverer) consult(ch *plugin.Chain, h *held, a *attempt, outs []mail.Outcome, attempts int, now time.Time, changed func(int)) (w word) {
	if ch == nil {
		return w
	}
	deferred := ofStatus(outs, mail.Deferred, a.rest)
	asks := len(deferred) > 0 && ch.Has(plugin.Deferred) || ch.Has(plugin.Bounce) && len(ofStatus(outs, mail.Failed, nil)) > 0
	if !asks {
		return w
	}
	if len(ofStatus(outs, mail.Delivered, nil)) > 0 && !a.decided {
		// Plugins take their time. Were the process to die meanwhile, those who have the
		// message would be sent it again.
		if d.decide(h.job, a, outs, attempts, now) != nil {
			return w // nobody is told anything then, plugins included
		}
		a.decided = true
	}
	if len(deferred) > 0 && ch.Has(plugin.Deferred) {
		w.pause = d.askDeferred(ch, h, a, outs, deferred, attempts, now, changed)
	}
	failed := ofStatus(outs, mail.Failed, nil)
	failed = slices.DeleteFunc(failed, func(i int) bool { return outs[i].Action == ActionDrop })
	if len(failed) > 0 && ch.Has(plugin.Bounce) {
		v, fault := d.run(d.hard, ch, h, &plugin.Event{Hook: plugin.Bounce, Outcomes: pick(outs, failed), Host: a.host})
		if v.Code != plugin.Cont && !fault {
			w.mute = v.Plugin
			a.note("plugin %s wants nobody told", v.Plugin)
		}
	}
	return w
}

// askDeferred asks deferred, and returns the pause it wants; 0: that of the schedule.
func (d *Deliverer) askDeferred(ch *plugin.Chain, h *held, a *attempt, outs []mail.Outcome, deferred []int, attempts int, now time.Time, changed func(int)) time.Duration {
	e := &plugin.Event{Hook: plugin.Deferred, Outcomes: pick(outs, deferred), Host: a.host,
		Pause: d.c.Retry.Next(h.env.ID(), attempts, now, h.env.Expires).Sub(now)}
	v, fault := d.run(d.hard, ch, h, e)
	switch {
	case fault:
	case v.Code == plugin.OK:
		for _, i := range deferred {
			changed(i)
			outs[i].Status, outs[i].Action = mail.Failed, ActionDrop
		}
		d.met.dropped.Add(uint64(len(deferred)))
		a.note("dropped by plugin %s", v.Plugin)
	case v.Code == plugin.Refuse, v.Code == plugin.RefuseDisconnect:
		for _, i := range deferred {
			changed(i)
			outs[i].Status, outs[i].Host = mail.Failed, ""
			outs[i].Reply = orUsual(v.Reply, plugin.Deferred, 550, "5.7.1", "", h.env.Destination)
		}
		a.note("given up by plugin %s", v.Plugin)
	case v.Code == plugin.Defer, v.Code == plugin.DeferDisconnect, v.Code == plugin.Delay:
		t := delayOf(v)
		if t > 0 {
			a.note("plugin %s wants a pause of %s", v.Plugin, t)
			t = max(t, time.Second)
		}
		return t
	}
	return 0
}

// ofStatus lists the outcomes of a status, those in but left out.
func ofStatus(outs []mail.Outcome, s mail.Status, but []int) (is []int) {
	for i := range outs {
		if outs[i].Status == s && !slices.Contains(but, i) {
			is = append(is, i)
		}
	}
	return is
}

func pick(outs []mail.Outcome, is []int) []mail.Outcome {
	out := make([]mail.Outcome, len(is))
	for k, i := range is {
		out[k] = outs[i]
	}
	return out
}
