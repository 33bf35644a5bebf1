package deliverer

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// ruled gives the story a rule for all replies with that code and text.
func (s *story) ruled(code, text string, do ...string) {
	s.Helper()
	r := replies.Rule{Name: "t/rule", For: []string{"*"}, When: replies.When{Code: []string{code}, Text: text}, Class: replies.RateLimited}
	for _, x := range do {
		d, err := replies.ParseDo(x)
		if err != nil {
			s.Fatal(err)
		}
		r.Do = append(r.Do, d)
	}
	p, err := replies.New(nil, []replies.Rule{r})
	if err != nil {
		s.Fatal(err)
	}
	s.c.Replies = p
}

// hearer is a Reactor that keeps what it hears.
type hearer struct {
	mu     sync.Mutex
	heard  []shaping.Sighting
	enough bool
}

func (h *hearer) Sighted(n shaping.Sighting) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, n)
	return h.enough
}

func (h *hearer) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.heard)
}

// One mailbox that wants to be left alone is, and nobody else waits for it.
func TestOneMailboxWaits(t *testing.T) {
	tell(t, func(s *story) {
		s.ruled("450", "too quickly", "delay for 2h")
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<busy@", smtptest.Answer{Reply: "450 4.2.1 receiving mail too quickly", Times: 1})
		sink.On("RCPT", "<later@", smtptest.Answer{Reply: "450 4.7.1 Greylisted", Times: 1})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		began := time.Now()
		id := s.send("yes@there.test", "busy@there.test", "later@there.test")
		s.after(3 * time.Hour)
		es := s.expect(id,
			"wait: yes delivered 250 busy deferred 450 later deferred 450",
			"wait: later delivered 250",
			"done: busy delivered 250")
		if d := es[1].at.Sub(began); d > 2*time.Minute {
			s.Errorf("the others of its delivery waited %v", d)
		}
		if d := es[2].at.Sub(began); d < 2*time.Hour || d > 2*time.Hour+5*time.Minute {
			s.Errorf("the mailbox was left alone for %v", d)
		}
	})
}

// A mailbox that waits does not outlive its message.
func TestOneMailboxExpires(t *testing.T) {
	tell(t, func(s *story) {
		s.ruled("450", "too quickly", "delay for 7d")
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "", smtptest.Answer{Reply: "450 4.2.1 receiving mail too quickly"})
		s.c.Retry = shaping.Retry{Schedule: []time.Duration{time.Hour}, Expire: 5 * time.Hour}
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		id := s.send("a@there.test", "b@there.test")
		s.after(150 * time.Hour)
		s.expect(id, "wait: a deferred 450 b deferred 450", "done: a failed 451 b failed 451")
	})
}

// What one way refuses for good goes by the named route, once: it is not attempted by
// the first way again, what keeps the first way does not keep it, and a refusal by the
// route is the end.
func TestReroutes(t *testing.T) {
	for _, x := range []struct{ by, want string }{
		{"", "done: b delivered 250"},
		{"550 5.7.1 blocked here, too", "done: b failed 550"},
	} {
		tell(t, func(s *story) {
			s.ruled("550", "blocked", "reroute via backup")
			m := s.under(map[string]memRule{})
			first, second := &smtptest.Sink{}, &smtptest.Sink{}
			defer first.Close()
			defer second.Close()
			first.On("MAIL", "", smtptest.Answer{Reply: "550 5.7.1 blocked"})
			if x.by != "" {
				second.On("MAIL", "", smtptest.Answer{Reply: x.by})
			}
			s.mx("there.test", 1)
			s.sink(1, first)
			s.sink(2, second)
			var err error
			if s.c.Routes, err = NewRoutes([]Route{{Name: "backup", Via: addr(2)}}); err != nil {
				s.Fatal(err)
			}
			s.start()
			id := s.send("b@there.test")
			s.after(100 * time.Millisecond)
			m.set("site:mx1.test", memRule{suspended: true}) // the usual way is shut from now on
			s.after(5 * time.Second)
			es := s.expect(id, "wait: b deferred 550", x.want)
			if es[0].next.Route != "backup" || len(s.q.stored()) != strings.Count(x.want, "failed") {
				s.Errorf("by %q, %d notices", es[0].next.Route, len(s.q.stored()))
			}
			if n := len(s.dialled); n != 2 {
				s.Errorf("dialled %v", s.dialled)
			}
		})
	}
}

// A route that is gone from the configuration is the usual way.
func TestUnknownRoute(t *testing.T) {
	tell(t, func(s *story) {
		s.ruled("550", "blocked", "reroute via nowhere")
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("MAIL", "", smtptest.Answer{Reply: "550 5.7.1 blocked"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		id := s.send("b@there.test")
		s.after(5 * time.Second)
		s.expect(id, "done: b failed 550")
	})
}

// A rule that wants another connection gets one after the transaction.
func TestReconnects(t *testing.T) {
	for _, do := range []string{"", "reconnect"} {
		tell(t, func(s *story) {
			if do != "" {
				s.ruled("451", "per connection", do)
			}
			s.c.Retry = shaping.Retry{Schedule: []time.Duration{time.Second}, Expire: time.Hour}
			s.c.Rules, _ = shaping.NewRules([]shaping.ConnectionRule{{To: "*", Limit: shaping.Limit{Connections: 1}}})
			sink := &smtptest.Sink{}
			defer sink.Close()
			sink.On("MAIL", "", smtptest.Answer{Reply: "451 4.7.0 too many messages per connection", Times: 1})
			s.mx("there.test", 1)
			s.sink(1, sink)
			s.start()
			id := s.send("b@there.test")
			s.after(5 * time.Second)
			s.expect(id, "wait: b deferred 451", "done: b delivered 250")
			want := 1
			if do != "" {
				want = 2
			}
			if n := len(s.dialled); n != want {
				s.Errorf("%q: dialled %d times, not %d", do, n, want)
			}
		})
	}
}

// Until the cluster has made the reaction, the process keeps to it by itself: a burst
// of refusals is not a burst of attempts. What is noticed says what the rule asks for.
func TestObeysAtOnce(t *testing.T) {
	for _, enough := range []bool{false, true} {
		tell(t, func(s *story) {
			s.ruled("421", "slow down", "slow 0.5 per source after 3 in 10m")
			s.under(map[string]memRule{})
			h := &hearer{enough: enough}
			s.c.Reactor = h
			s.c.Retry = shaping.Retry{Schedule: []time.Duration{500 * time.Millisecond}, Expire: time.Hour}
			sink := &smtptest.Sink{}
			defer sink.Close()
			sink.On("MAIL", "", smtptest.Answer{Reply: "421 4.7.28 slow down"})
			s.mx("there.test", 1)
			s.sink(1, sink)
			s.start()
			j := s.letter("b@there.test")
			j.env.Message.Tenant = "acme"
			s.q.add(j)
			s.after(obeyTime - 2*lead)
			n := h.count()
			if enough != (n == 1) {
				s.Fatalf("enough %v: %d attempts meanwhile", enough, n)
			}
			x := h.heard[0]
			if x.Rule != "t/rule" || x.To.Key != "site:mx1.test" || x.Tenant != "acme" || x.Threshold.Count != 3 ||
				x.Remedy.Action != shaping.Slow || x.Sample != "mx1.test: 421 4.7.28 slow down" {
				s.Errorf("%+v", x)
			}
			s.after(3 * time.Second)
			if enough && h.count() == n {
				s.Error("nothing is tried any more, and no reaction has come")
			}
		})
	}
}

// A greeting is about no tenant's mail in particular.
func TestGreetingIsNobodysMail(t *testing.T) {
	tell(t, func(s *story) {
		s.ruled("421", "", "hold for 1h", "suspend for 1h")
		s.under(map[string]memRule{})
		h := &hearer{}
		s.c.Reactor = h
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("CONNECT", "", smtptest.Answer{Reply: "421 4.3.2 Busy"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		j := s.letter("b@there.test")
		j.env.Message.Tenant = "acme"
		s.q.add(j)
		s.after(time.Second)
		if h.count() != 1 || h.heard[0].Remedy.Action != shaping.Suspend || h.heard[0].Tenant != "" {
			s.Errorf("%+v", h.heard)
		}
	})
}

func TestRejoin(t *testing.T) {
	noon := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	rcpt := func(minutes ...int) (rs []mail.Recipient) {
		for _, m := range minutes {
			r := mail.Recipient{}
			if m > 0 {
				r.NotBefore = noon.Add(time.Duration(m) * time.Minute)
			}
			rs = append(rs, r)
		}
		return rs
	}
	for _, x := range []struct {
		due         int
		here, later []mail.Recipient
		want        int
	}{
		{10, rcpt(0), nil, 10},
		{10, rcpt(60), nil, 60},
		{10, rcpt(60, 0), nil, 10},
		{10, rcpt(5), nil, 10},
		{10, rcpt(0), rcpt(60), 10},
		{10, rcpt(0), rcpt(5), 5},
		{10, nil, rcpt(70, 60), 60},
		{10, rcpt(80), rcpt(70), 70},
		{10, rcpt(900), nil, 300}, // it expires before
	} {
		next := mail.Delivery{Due: noon.Add(time.Duration(x.due) * time.Minute), Expires: noon.Add(5 * time.Hour), Recipients: x.here}
		(&attempt{later: x.later}).rejoin(&next)
		if d := next.Due.Sub(noon); d != time.Duration(x.want)*time.Minute || len(next.Recipients) != len(x.here)+len(x.later) {
			t.Errorf("%+v: due after %v", x, d)
		}
	}
}
