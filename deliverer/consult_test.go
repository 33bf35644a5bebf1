package deliverer

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// Each row is what plugins say of an attempt that has deferred one recipient, refused
// another and reached a third, and what becomes of them.
func TestAskedAfterAnAttempt(t *testing.T) {
	const usual = "wait: yes delivered 250 later deferred 450 no failed 550"
	var over chan struct{}
	for _, row := range []struct {
		name   string
		fns    fns
		want   string
		pause  time.Duration // until the next attempt; 0: there is none
		notice string        // who is in the one there is: "no", "later no"; empty: there is none
	}{
		{"nothing", fns{plugin.Deferred: says(plugin.Verdict{}), plugin.Bounce: says(plugin.Verdict{})}, usual, time.Minute, "no"},
		{"another pause", fns{plugin.Deferred: says(plugin.Verdict{Code: plugin.Defer, Delay: 17 * time.Minute})}, usual, 17 * time.Minute, "no"},
		{"a script's seconds", fns{plugin.Deferred: says(plugin.Verdict{Code: plugin.Defer, Value: 90.0})}, usual, 90 * time.Second, "no"},
		{"a pause that is none", fns{plugin.Deferred: says(plugin.Verdict{Code: plugin.Defer, Value: "soon"})}, usual, time.Minute, "no"},
		{"a pause beyond its expiry", fns{plugin.Deferred: says(plugin.Verdict{Code: plugin.Defer, Value: 1e300})}, usual, 5 * 24 * time.Hour, "no"},
		{"dropped", fns{plugin.Deferred: says(plugin.Verdict{Code: plugin.OK})}, "done: yes delivered 250 later failed 450 no failed 550", 0, "no"},
		{"given up", fns{plugin.Deferred: says(plugin.Verdict{Code: plugin.Refuse, Reply: mail.R(554, "5.4.7", "Not again")})},
			"done: yes delivered 250 later failed 554 no failed 550", 0, "later no"},
		{"nobody told", fns{plugin.Bounce: says(plugin.Verdict{Code: plugin.OK})}, usual, time.Minute, ""},
		{"nobody told, by another code", fns{plugin.Bounce: says(plugin.Verdict{Code: plugin.Defer})}, usual, time.Minute, ""},
		{"given up, and nobody told", fns{plugin.Deferred: says(plugin.Verdict{Code: plugin.Refuse}), plugin.Bounce: says(plugin.Verdict{Code: plugin.OK})},
			"done: yes delivered 250 later failed 550 no failed 550", 0, ""},
		{"bounce does not come back: they are told", fns{plugin.Bounce: never(&over)}, usual, time.Minute, "no"},
		{"bounce panics: they are told", fns{plugin.Bounce: func(context.Context, *plugin.Event) plugin.Verdict { panic("oh") }}, usual, time.Minute, "no"},
		{"deferred does not come back", fns{plugin.Deferred: never(&over)}, usual, time.Minute, "no"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tell(t, func(s *story) {
				sink := &smtptest.Sink{}
				defer sink.Close()
				sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
				sink.On("RCPT", "<later@", smtptest.Answer{Reply: "450 4.2.1 Mailbox busy", Times: 1})
				s.mx("there.test", 1)
				s.sink(1, sink)
				s.c.Retry.Jitter = 0
				var p *own
				p, over = s.plugged(row.fns)
				s.start()
				began := time.Now()
				id := s.send("yes@there.test", "later@there.test", "no@there.test")
				s.after(10 * time.Second)
				es := s.expect(id, row.want)
				if len(es) == 1 && row.pause > 0 && es[0].next.Due.Sub(began).Round(time.Second) != row.pause {
					s.Errorf("due after %s, want %s", es[0].next.Due.Sub(began), row.pause)
				}
				told := ""
				for _, n := range s.q.stored() {
					for _, who := range []string{"later", "no"} {
						if strings.Contains(string(n.body), "Final-Recipient: rfc822;"+who+"@") {
							told = strings.TrimSpace(told + " " + who)
						}
					}
				}
				if told != row.notice {
					s.Errorf("told of %q, want %q", told, row.notice)
				}
				if row.notice == "later no" && !strings.Contains(string(s.q.stored()[0].body), "450 4.2.1 Mailbox busy") {
					s.Errorf("notice:\n%s", s.q.stored()[0].body)
				}
				if p.count(plugin.Deferred) > 0 && !strings.Contains(p.heard(), "deferred later deferred") ||
					p.count(plugin.Bounce) > 0 && row.pause > 0 && !strings.Contains(p.heard(), "bounce no failed") {
					s.Errorf("asked:\n%s", p.heard())
				}
				if row.pause > 0 && row.pause < time.Hour {
					s.after(row.pause)
					s.expect(id, row.want, "done: later delivered 250")
				}
			})
		})
	}
}

// Those who have the message are on record before a plugin is asked about the others:
// were the process to die while it thinks, they would not be sent it again.
func TestDecidedBeforePluginsAreAsked(t *testing.T) {
	for _, fails := range []bool{false, true} {
		tell(t, func(s *story) {
			sink := &smtptest.Sink{}
			defer sink.Close()
			sink.On("RCPT", "<later@", smtptest.Answer{Reply: "450 4.2.1 Mailbox busy", Times: 1})
			s.mx("there.test", 1)
			s.sink(1, sink)
			j := s.letter("yes@there.test", "later@there.test")
			if fails {
				s.q.decideErr = errors.New("no disk")
			}
			var on atomic.Bool
			p, _ := s.plugged(fns{plugin.Deferred: func(context.Context, *plugin.Event) plugin.Verdict {
				s.q.mu.Lock()
				defer s.q.mu.Unlock()
				on.Store(j.decided != nil && j.decided.Outcomes[0].Status == mail.Delivered)
				return plugin.Verdict{}
			}})
			s.start()
			s.q.add(j)
			s.after(time.Second)
			s.expect(j.env.ID(), "wait: yes delivered 250 later deferred 450")
			if on.Load() == fails || (p.count(plugin.Deferred) > 0) == fails {
				s.Errorf("on record: %v, asked %d times, with a disk that fails: %v", on.Load(), p.count(plugin.Deferred), fails)
			}
		})
	}
}

// A delivery that expires is a bounce, not a deferral.
func TestExpiredIsABounce(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "", smtptest.Answer{Reply: "450 4.2.1 Busy"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		p, _ := s.plugged(fns{plugin.Deferred: says(plugin.Verdict{}), plugin.Bounce: says(plugin.Verdict{Code: plugin.OK})})
		s.start()
		j := s.letter("b@there.test")
		j.env.Expires = time.Now().Add(90 * time.Second)
		s.q.add(j)
		s.after(time.Hour)
		s.expect(j.env.ID(), "wait: b deferred 450", "wait: b deferred 450", "done: b failed 451")
		if p.heard() != "deferred b deferred\ndeferred b deferred\nbounce b failed" || len(s.q.stored()) != 0 {
			s.Errorf("asked:\n%s\n%d notices", p.heard(), len(s.q.stored()))
		}
	})
}

// The connection goes on with the next delivery while a plugin thinks about the last.
func TestConnectionDoesNotWaitForPlugins(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<busy@", smtptest.Answer{Reply: "450 4.2.1 Busy"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.c.Rules = one("*", 1, 100)
		s.c.HandJobs = 40
		var over chan struct{}
		_, over = s.plugged(fns{plugin.Deferred: func(context.Context, *plugin.Event) plugin.Verdict { <-over; return plugin.Verdict{} }})
		s.start()
		for range 100 {
			s.send("busy@there.test")
		}
		s.send("b@there.test")
		s.after(15 * time.Second)
		if sink.Count() != 1 {
			s.Error("one delivery waits for plugins that think about others")
		}
		if n := s.d.Stats().Unasked; n == 0 {
			s.Error("a plugin that does not come back may fill the hand")
		}
	})
}

// delivered is told what happened, and nothing waits for it.
func TestDeliveredIsTold(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{TLS: smtptest.TLSConfig()}
		defer sink.Close()
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		told := make(chan plugin.Event, 1)
		p, _ := s.plugged(fns{plugin.Delivered: func(_ context.Context, e *plugin.Event) plugin.Verdict { told <- *e; return plugin.Verdict{} }})
		s.start()
		s.send("b@there.test", "no@there.test")
		s.after(time.Second)
		got := <-told
		if p.heard() != "delivered b delivered" || got.Host != "mx1.test[192.0.2.1]:25" || !got.Secured || got.Authenticated ||
			got.Outcomes[0].Reply.Code != 250 || len(got.Delivery.Recipients) != 2 {
			s.Errorf("%s %+v", p.heard(), got)
		}
	})
}

func TestDeliveredDoesNotComeBack(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{Discard: true}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.c.HandJobs = 100
		var over chan struct{}
		_, over = s.plugged(fns{plugin.Delivered: func(context.Context, *plugin.Event) plugin.Verdict { <-over; return plugin.Verdict{} }})
		s.start()
		const n = talesMost + 500
		for range n {
			s.send("b@there.test")
		}
		s.after(2 * time.Second)
		if sink.Count() != n {
			s.Errorf("%d of %d delivered", sink.Count(), n)
		}
		if u := s.d.Stats().Untold; u == 0 || u > 500 {
			s.Errorf("%d not told", u)
		}
	})
}

// However many fail at once, a plugin that is well is asked about each.
func TestManyFailAtOnce(t *testing.T) {
	tell(t, func(s *story) {
		s.c.HandJobs = 400
		p, _ := s.plugged(fns{plugin.Bounce: func(context.Context, *plugin.Event) plugin.Verdict {
			time.Sleep(50 * time.Millisecond)
			return plugin.Verdict{Code: plugin.OK}
		}})
		s.start()
		const n = 1000
		for range n {
			s.send("b@nowhere.test") // there is no such domain
		}
		s.after(5 * time.Second)
		if got := p.count(plugin.Bounce); got != n || len(s.q.stored()) != 0 || s.d.Stats().Unasked != 0 {
			s.Errorf("asked about %d of %d, %d senders told", got, n, len(s.q.stored()))
		}
	})
}

// A plugin that has no time left, because the node ends, takes nobody's notice away.
func TestBounceAtTheEndOfANode(t *testing.T) {
	tell(t, func(s *story) {
		s.c.DrainTimeout = time.Second
		var over chan struct{}
		_, over = s.plugged(fns{plugin.Bounce: func(context.Context, *plugin.Event) plugin.Verdict { <-over; return plugin.Verdict{Code: plugin.OK} }})
		s.start()
		id := s.send("b@nowhere.test")
		s.after(time.Second)
		began := time.Now()
		s.stop()
		if took := time.Since(began); took != time.Second {
			s.Errorf("the end took %s", took)
		}
		s.expect(id, "done: b failed 550")
		if len(s.q.stored()) != 1 {
			s.Errorf("%d notices", len(s.q.stored()))
		}
		if strings.Contains(s.log.String(), "level=ERROR") {
			s.Errorf("it is called a failure:\n%s", s.log)
		}
	})
}
