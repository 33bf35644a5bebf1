package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// What holds a delivery is named, the weightiest first, and when it may go is reckoned
// from what is known; where something is not known, no time is given.
func TestWhy(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	live := []WhyLook{{Node: "node1", Live: true}}
	hourly := LiveLimit{Field: shaping.Messages, Max: 100, Window: "1h", Used: 100, Next: in(12 * time.Minute), From: shaping.RuleRef{Layer: shaping.LayerFile, To: "google"}}
	line := mail.Line{Destination: "d.test", Tenant: "acme"}
	for name, c := range map[string]struct {
		set      func(f *WhyFacts)
		cause    string
		says     string
		expected time.Time
		reckoned string
	}{
		"nothing":   {func(*WhyFacts) {}, WhyReady, "nothing holds it", now, "nothing goes before it"},
		"in a hand": {func(f *WhyFacts) { f.Entry.State, f.Node = "active", "node2"; f.Live = []LiveLimit{hourly} }, WhyActive, "hand of node2", now, "being sent"},
		"held": {func(f *WhyFacts) {
			f.Entry.Held = true
			f.Entry.Operator = &mail.ActionNote{Action: "01KA", Verb: "hold", Author: "ann@desk", Reason: "spam?", At: in(-time.Hour)}
			f.Entry.Due = in(time.Hour)
		}, WhyHeld, "ann@desk holds it, since 2026-11-25 11:00:00Z (1h0m0s ago) (action 01KA): spam?", time.Time{}, "nobody knows"},
		"suspended": {func(f *WhyFacts) {
			f.Suspended = &shaping.Suspension{To: "d.test", Author: "bob", Reason: "they asked", At: in(-time.Minute), Until: in(2 * time.Hour)}
			f.Live = []LiveLimit{hourly}
		}, WhySuspended, "d.test is suspended by bob, since", in(2 * time.Hour), "when what holds it ends"},
		"reaction": {func(f *WhyFacts) {
			f.Reactions = []shaping.Reaction{{ID: 7, Rule: "gmail/rate", Cause: "421 4.7.28 slow down", To: shaping.Destination{Key: "name:google"},
				Remedy: shaping.Remedy{Action: shaping.Suspend}, Until: in(10 * time.Minute)}}
		}, WhyReaction, "google is suspended by reaction r7 (rule gmail/rate: 421 4.7.28 slow down)", in(10 * time.Minute), "when what holds it ends"},
		"send-at": {func(f *WhyFacts) { f.Entry.Message.SendAt = in(time.Hour); f.Entry.Due = in(time.Hour) }, WhySendAt, "its client wants", in(time.Hour), "when what"},
		"hours": {func(f *WhyFacts) {
			f.Entry.Message.Hours = "Mon-Fri 09:00-18:00 Europe/Berlin"
			f.Opens = in(3 * time.Hour)
		}, WhyHours, "Europe/Berlin) open at", in(3 * time.Hour), "when what"},
		"retry": {func(f *WhyFacts) {
			d := &f.Entry.Delivery
			d.Attempts, d.Due, d.LastAttempt, d.LastReply, d.LastHost = 2, in(5*time.Minute), in(-time.Minute), mail.R(451, "4.7.1", "Greylisted"), "mx.d.test"
		}, WhyRetry, "attempt 3 is due at 2026-11-25 12:05:00Z (in 5m0s); the last one, at 2026-11-25 11:59:00Z (1m0s ago), came to: 451 4.7.1 Greylisted (mx.d.test)", in(5 * time.Minute), "when what"},
		"host down": {func(f *WhyFacts) { f.Looks = []WhyLook{{Live: true, Down: in(90 * time.Second), Failures: 3}} }, WhyDown, "no host of d.test answers (3 times in a row)", in(90 * time.Second), "when what"},
		"one node reaches it": {func(f *WhyFacts) {
			f.Looks = []WhyLook{{Live: true, Down: in(time.Minute)}, {Live: true, Connections: 1}}
		}, WhyReady, "nothing", now, "nothing goes"},
		"nobody":     {func(f *WhyFacts) { f.Sessions, f.Looks = 0, nil }, WhyNobody, "no deliverer", time.Time{}, "nobody knows"},
		"suppressed": {func(f *WhyFacts) { f.Suppressed = "u@d.test is on the suppression list"; f.Live = []LiveLimit{hourly} }, WhySuppressed, "will fail", time.Time{}, "nobody knows"},
		"window": {func(f *WhyFacts) {
			f.Live = []LiveLimit{hourly}
			f.Place = &WhyPlace{Line: line, Before: 300, Due: 200, Of: 1000}
			f.Bounds.Counters = []shaping.Bound{{Unit: shaping.Messages, Windows: []shaping.Window{{Max: 100, Length: time.Hour}}}}
		}, WhyWindow, "the limit messages 100/1h of google (file) is used up: 100 of 100, room again at 2026-11-25 12:12:00Z", in(2 * time.Hour), "200 go before it, at messages 100/1h"},
		"window, shared by weight": {func(f *WhyFacts) {
			f.Live = []LiveLimit{hourly}
			f.Place = &WhyPlace{Line: line, Due: 100, Of: 1000, Others: map[mail.Line]int64{{Destination: "d.test"}: 50}}
			f.Shares.Tenants = map[string]int{"acme": 3}
			f.Bounds.Counters = []shaping.Bound{{Unit: shaping.Messages, Windows: []shaping.Window{{Max: 100, Length: time.Hour}}}}
		}, WhyWindow, "used up", in(80 * time.Minute), "of which its line gets 75 %"},
		"window, and all of it once the others are done": {func(f *WhyFacts) {
			f.Live = []LiveLimit{hourly}
			f.Place = &WhyPlace{Line: line, Due: 300, Of: 301, Others: map[mail.Line]int64{{Destination: "d.test", Tenant: "zed"}: 100}}
			f.Shares.Tenants = map[string]int{"zed": 4}
			f.Bounds.Counters = []shaping.Bound{{Unit: shaping.Messages, Windows: []shaping.Window{{Max: 100, Length: time.Hour}}}}
		}, WhyWindow, "used up", in(4 * time.Hour), "300 go before it, at messages 100/1h ( ()); so do 100 of other tenants at most"},
		"host down, and what was tried in vain": {func(f *WhyFacts) {
			f.Looks = []WhyLook{{Live: true, Down: in(90 * time.Second), Failures: 3}}
			f.Place = &WhyPlace{Line: line, Due: 60, Of: 100}
			f.Ended, f.Took = 2, 30*time.Second
		}, WhyDown, "no host", time.Time{}, "60 go before it, once a host answers"},
		"a limit in shadow": {func(f *WhyFacts) { l := hourly; l.Shadow = true; f.Live = []LiveLimit{l} }, WhyReady, "nothing holds it", now, "nothing goes"},
		"connections":       {func(f *WhyFacts) { f.Live = []LiveLimit{{Field: shaping.Connections, Max: 2, Used: 2}} }, WhySlots, "connections 2", now, "nothing goes before it"},
		"turn": {func(f *WhyFacts) {
			f.Place = &WhyPlace{Line: line, Before: 60, Due: 60, Of: 100, Others: map[mail.Line]int64{{Destination: "d.test", Class: mail.High}: 40}}
			f.Ended, f.Took = 100, 10*time.Second
		}, WhyTurn, "60 of its line go before it, and 40 of a higher class", in(10 * time.Second), "as measured"},
		"turn, at no known pace": {func(f *WhyFacts) { f.Place = &WhyPlace{Line: line, Due: 60, Of: 100}; f.Took = 30 * time.Second }, WhyTurn, "60 of its line", time.Time{}, "a pace that is not known"},
		"ready":                  {func(f *WhyFacts) { f.Entry.State = "ready" }, WhyReady, "ready to go", now, "nothing goes"},
	} {
		f := WhyFacts{Now: now, Sessions: 1, Looks: live, Entry: Entry{State: "waiting", Delivery: mail.Delivery{
			Message: &mail.Message{ID: "01K9ABCDEFGH12345678", Tenant: "acme"}, Destination: "d.test"}}}
		c.set(&f)
		got := f.Why()
		if got.Cause != c.cause || !strings.Contains(got.Says, c.says) || !got.Expected.Equal(c.expected) || !strings.Contains(got.Reckoned, c.reckoned) {
			t.Errorf("%s: %s: %s; expected %v: %s", name, got.Cause, got.Says, got.Expected, got.Reckoned)
		}
	}
}

// What would hold it next is told besides, and the time is that of the last to end.
func TestWhyBesides(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f := WhyFacts{Now: now, Sessions: 1, Entry: Entry{State: "waiting", Delivery: mail.Delivery{
		Message: &mail.Message{ID: "01K9ABCDEFGH12345678"}, Destination: "d.test", Attempts: 1, Due: now.Add(time.Minute)}}}
	f.Live = []LiveLimit{{Field: shaping.Messages, Max: 5, Window: "1d", Used: 5, Next: now.Add(time.Hour)}}
	f.Suspended = &shaping.Suspension{To: "d.test", Until: now.Add(10 * time.Minute)}
	got := f.Why()
	if got.Cause != WhySuspended || len(got.Besides) != 2 || got.Besides[0].Cause != WhyRetry || got.Besides[1].Cause != WhyWindow || !got.Expected.Equal(now.Add(time.Hour)) {
		t.Errorf("%+v", got)
	}
}
