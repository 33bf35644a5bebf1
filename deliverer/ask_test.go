package deliverer

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// Each row is what send_email or get_mx says of a delivery, and what becomes of it.
func TestAskedBeforeAnAttempt(t *testing.T) {
	denied := plugin.Verdict{Code: plugin.Refuse, Reply: mail.R(550, "5.7.0", "Not this one")}
	for _, row := range []struct {
		name     string
		hook     plugin.Hook
		verdict  plugin.Verdict
		want     string // how it ended first
		reply    string // of that
		after    time.Duration
		attempts int
	}{
		{"CONT", plugin.SendEmail, plugin.Verdict{}, "done: b delivered 250", "250 2.0.0 Taken", 0, 0},
		{"OK", plugin.SendEmail, plugin.Verdict{Code: plugin.OK}, "done: b delivered 250", "250 2.0.0 Taken", 0, 0},
		{"DELAY", plugin.SendEmail, plugin.Verdict{Code: plugin.Delay, Delay: 90 * time.Second}, "parked:", "", 90 * time.Second, 0},
		{"DELAY in a script's seconds", plugin.SendEmail, plugin.Verdict{Code: plugin.Delay, Value: 1.5}, "parked:", "", 1500 * time.Millisecond, 0},
		{"DELAY in a script's text", plugin.SendEmail, plugin.Verdict{Code: plugin.Delay, Reply: mail.Reply{Text: "60"}}, "parked:", "", time.Minute, 0},
		{"DELAY without a time", plugin.SendEmail, plugin.Verdict{Code: plugin.Delay}, "parked:", "", time.Minute, 0},
		{"DELAY of no time", plugin.SendEmail, plugin.Verdict{Code: plugin.Delay, Delay: 1}, "parked:", "", time.Second, 0},
		{"DELAY beyond its expiry", plugin.SendEmail, plugin.Verdict{Code: plugin.Delay, Delay: 1000 * time.Hour}, "parked:", "", 5 * 24 * time.Hour, 0},
		{"DENY", plugin.SendEmail, denied, "done: b failed 550", "550 5.7.0 Not this one", 0, 0},
		{"DENY with a 4yz", plugin.SendEmail, plugin.Verdict{Code: plugin.Refuse, Reply: mail.R(450, "4.7.1", "Well")}, "done: b failed 550", "550 5.7.1 Well", 0, 0},
		{"DENY without a word", plugin.SendEmail, plugin.Verdict{Code: plugin.Refuse}, "done: b failed 550", "550 5.7.1 refused by our own rules", 0, 0},
		{"DENYSOFT", plugin.SendEmail, plugin.Verdict{Code: plugin.Defer}, "wait: b deferred 450", "450 4.7.1 refused by our own rules", time.Minute, 1},
		{"DELAY of hosts", plugin.GetMX, plugin.Verdict{Code: plugin.Delay, Delay: 90 * time.Second}, "parked:", "", 90 * time.Second, 0},
		{"CONT of hosts", plugin.GetMX, plugin.Verdict{}, "done: b delivered 250", "250 2.0.0 Taken", 0, 0},
		{"no hosts", plugin.GetMX, plugin.Verdict{Code: plugin.Refuse}, "done: b failed 550", "550 5.1.2 no host takes mail for there.test", 0, 0},
		{"no hosts now", plugin.GetMX, plugin.Verdict{Code: plugin.Defer}, "wait: b deferred 450", "450 4.1.2 no host takes mail for there.test", time.Minute, 1},
		{"a host", plugin.GetMX, plugin.Verdict{Code: plugin.OK, Value: "192.0.2.2"}, "done: b delivered 250", "250 2.0.0 Taken", 0, 0},
		{"what is none", plugin.GetMX, plugin.Verdict{Code: plugin.OK, Value: 3}, "wait: b deferred 451",
			"451 4.3.5 not tried in this attempt: what plugin own says of its hosts is no use: a int is no host", time.Minute, 1},
		{"a route that is none", plugin.GetMX, plugin.Verdict{Code: plugin.OK, Value: plugin.NextHop{Route: "x"}}, "wait: b deferred 451",
			`451 4.3.5 not tried in this attempt: what plugin own says of its hosts is no use: there is no route "x"`, time.Minute, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			tell(t, func(s *story) {
				sink := &smtptest.Sink{}
				defer sink.Close()
				s.mx("there.test", 1)
				s.sink(1, sink)
				s.sink(2, sink)
				s.c.Retry.Jitter = 0
				p, _ := s.plugged(fns{row.hook: says(row.verdict)})
				s.start()
				began := time.Now()
				id := s.send("b@there.test")
				s.after(100 * time.Millisecond)
				es := s.q.history(id)
				if len(es) != 1 || became(es[0]) != row.want {
					s.Fatalf("%+v, want %s", es, row.want)
				}
				if es[0].attempt != nil && es[0].attempt.Outcomes[0].Reply.String() != row.reply {
					s.Errorf("reply %s, want %s", es[0].attempt.Outcomes[0].Reply, row.reply)
				}
				next := es[0].next
				if row.after > 0 && (next.Due.Sub(began).Round(100*time.Millisecond) != row.after || next.Attempts != row.attempts) {
					s.Errorf("due after %s with %d attempts, want %s with %d", next.Due.Sub(began), next.Attempts, row.after, row.attempts)
				}
				notices := 0
				if strings.Contains(row.want, "failed") {
					notices = 1
				}
				if n := len(s.q.stored()); n != notices {
					s.Errorf("%d notices", n)
				}
				if row.after > 0 && row.after < time.Hour && p.count(row.hook) != 1 {
					s.Errorf("asked %s", p.heard())
				}
				if delivered := strings.Contains(row.want, "delivered"); (sink.Count() > 0) != delivered {
					s.Errorf("%d taken", sink.Count())
				}
			})
		})
	}
}

// Who is put off waits where it is safe, whatever becomes of the process, and then goes.
func TestPutOffIsDurable(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		var times atomic.Int32
		s.plugged(fns{plugin.SendEmail: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			n := times.Add(1)
			e.Transaction.Notes.Set("times", n)
			if n < 3 {
				return plugin.Verdict{Code: plugin.Delay, Delay: 10 * time.Minute}
			}
			return plugin.Verdict{}
		}})
		s.start()
		id := s.send("b@there.test")
		s.after(time.Minute)
		s.stop()
		if got := noted(s.T, &s.q.waiting[0].env); got["times"] != 1.0 {
			s.Errorf("noted %v", got)
		}
		s.start() // another process, with the same queue
		s.after(10 * time.Minute)
		if times.Load() != 2 {
			s.Errorf("asked %d times after 11 minutes", times.Load())
		}
		s.after(10 * time.Minute)
		es := s.expect(id, "done: b delivered 250")
		if es[0].attempt.Started.Sub(s.q.history(id)[0].at).Round(time.Second) != 20*time.Minute {
			s.Errorf("went %v", es[0].attempt.Started)
		}
		if n := s.d.Stats().PutOff; n != 1 { // of this life
			s.Errorf("%d put off", n)
		}
	})
}

// What get_mx says is what is dialled, and how.
func TestPluginSaysTheHosts(t *testing.T) {
	for _, row := range []struct {
		name    string
		value   any
		dialled string
		hello   string
	}{
		{"another host", "192.0.2.2", "192.0.2.2:25", "us.test"},
		{"and port", "192.0.2.2:2525", "192.0.2.2:2525", "us.test"},
		{"by priority", []any{map[string]any{"exchange": "192.0.2.2", "priority": 20.0}, map[string]any{"exchange": "192.0.2.3", "priority": 10.0}}, "192.0.2.3:25 192.0.2.2:25", "us.test"},
		{"our name", map[string]any{"exchange": "192.0.2.2", "bind_helo": "out7.us.test"}, "192.0.2.2:25", "out7.us.test"},
		{"our name, the usual hosts", plugin.NextHop{Hello: "out7.us.test"}, "192.0.2.1:25", "out7.us.test"},
		{"a port, the usual hosts", plugin.NextHop{Port: 2525}, "192.0.2.1:2525", "us.test"},
		{"LMTP", "lmtp:192.0.2.4", "192.0.2.4:24", "us.test"},
		{"a socket", plugin.NextHop{Path: "/run/lmtp", LMTP: true}, "/run/lmtp", "us.test"},
		{"a route", plugin.NextHop{Route: "relay"}, "192.0.2.2:25", "us.test"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tell(t, func(s *story) {
				sink, lmtp := &smtptest.Sink{}, &smtptest.Sink{LMTP: true}
				defer sink.Close()
				defer lmtp.Close()
				s.mx("there.test", 1)
				for _, a := range []string{addr(1), addr(2), "192.0.2.1:2525", "192.0.2.2:2525"} {
					s.set(a, func() (net.Conn, error) { return sink.Dial(), nil })
				}
				for _, a := range []string{"192.0.2.4:24", "/run/lmtp"} {
					s.set(a, func() (net.Conn, error) { return lmtp.Dial(), nil })
				}
				s.c.Routes, _ = NewRoutes([]Route{{Name: "relay", Via: "192.0.2.2:25"}})
				s.plugged(fns{plugin.GetMX: says(plugin.Verdict{Code: plugin.OK, Value: row.value})})
				s.start()
				id := s.send("b@there.test")
				s.after(time.Second)
				s.expect(id, "done: b delivered 250")
				if got := strings.Join(s.dialled, " "); got != row.dialled {
					s.Errorf("dialled %s, want %s", got, row.dialled)
				}
				for _, m := range append(sink.Messages(), lmtp.Messages()...) {
					if m.Hello != row.hello {
						s.Errorf("EHLO %s, want %s", m.Hello, row.hello)
					}
				}
			})
		})
	}
}

// Connections of one way never carry mail of another, although both lead to the same host.
func TestWaysDoNotShareConnections(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.plugged(fns{plugin.GetMX: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			who := e.Delivery.Recipients[0].Local()
			if who == "c" {
				return plugin.Verdict{}
			}
			return plugin.Verdict{Code: plugin.OK, Value: plugin.NextHop{Hello: who + ".us.test"}}
		}})
		s.start()
		for range 5 {
			for _, to := range []string{"a", "b", "c"} {
				s.send(to + "@there.test")
			}
			s.after(100 * time.Millisecond)
		}
		for _, m := range sink.Messages() {
			if want := strings.Replace(m.To[0][1:2]+".us.test", "c.us.test", "us.test", 1); m.Hello != want {
				s.Errorf("%s went as %s", m.To[0], m.Hello)
			}
		}
		if n, _ := sink.Connections(); n != 3 || sink.Count() != 15 {
			s.Errorf("%d connections for three ways, %d arrived", n, sink.Count())
		}
		look, known := s.d.Look("there.test")
		if !known || look.Connections != 3 {
			s.Errorf("%+v", look)
		}
		s.after(3 * time.Minute)
		s.d.mu.Lock()
		defer s.d.mu.Unlock()
		if len(s.d.lanes)+len(s.d.routed)+len(s.d.doors)+len(s.d.paths) != 0 {
			s.Errorf("kept: %d lanes, %d routed, %d doors, %d paths", len(s.d.lanes), len(s.d.routed), len(s.d.doors), len(s.d.paths))
		}
	})
}

// With plugins loaded anew that say nothing of hosts, mail goes its usual way.
func TestHostsAfterAReload(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.sink(2, sink)
		s.plugged(fns{plugin.GetMX: hosts("192.0.2.2")})
		s.start()
		s.send("b@there.test")
		s.after(time.Second)
		s.c.Plugins.Swap(s.chain(&own{}))
		s.send("b@there.test")
		s.after(time.Second)
		if got := strings.Join(s.dialled, " "); got != "192.0.2.2:25 192.0.2.1:25" || sink.Count() != 2 {
			s.Errorf("dialled %s", got)
		}
	})
}

// A plugin that never comes back for one destination keeps nobody else's mail waiting,
// fills nothing, and its mail is tried again by the schedule.
func TestPluginThatNeverReturns(t *testing.T) {
	for _, hook := range []plugin.Hook{plugin.SendEmail, plugin.GetMX} {
		t.Run(string(hook), func(t *testing.T) {
			tell(t, func(s *story) {
				sink := &smtptest.Sink{}
				defer sink.Close()
				s.mx("there.test", 1)
				s.mx("stuck.test", 1)
				s.sink(1, sink)
				s.c.HandJobs = 400
				s.c.Retry.Jitter = 0
				var over chan struct{}
				stuck := never(&over)
				_, over = s.plugged(fns{hook: func(ctx context.Context, e *plugin.Event) plugin.Verdict {
					if e.Delivery.Destination == "stuck.test" {
						return stuck(ctx, e)
					}
					return plugin.Verdict{}
				}})
				s.start()
				var stucks []string
				for range 1000 {
					stucks = append(stucks, s.send("b@stuck.test"))
				}
				s.after(time.Second)
				for range 100 {
					s.send("b@there.test")
				}
				s.after(time.Second)
				if n := sink.Count(); n != 100 {
					s.Errorf("%d of 100 for another destination have arrived within a second", n)
				}
				if look, known := s.d.Look("stuck.test"); !known || look.Waiting < 25 {
					s.Errorf("%+v", look)
				}
				s.after(2 * time.Second)
				deferred := 0
				for _, id := range stucks {
					for _, e := range attempts(s.q.history(id)) {
						deferred++
						if r := e.attempt.Outcomes[0].Reply; became(e) != "wait: b deferred 451" || !strings.Contains(r.Text, "did not answer") ||
							e.next.Due.Sub(e.at) != time.Minute {
							s.Fatalf("%s %s due %v", became(e), r, e.next.Due.Sub(e.at))
						}
					}
				}
				if deferred == 0 || deferred > 400/4/4 {
					s.Errorf("%d deferred after three seconds", deferred)
				}
				if s.q.peak > 400 {
					s.Errorf("%d in the hand", s.q.peak)
				}
			})
		})
	}
}

// At the end of the process nobody waits for plugins, and what they had goes back untouched.
func TestStopWhilePluginsThink(t *testing.T) {
	tell(t, func(s *story) {
		s.mx("there.test", 1)
		var over chan struct{}
		var p *own
		p, over = s.plugged(fns{plugin.SendEmail: func(context.Context, *plugin.Event) plugin.Verdict { <-over; return plugin.Verdict{} }})
		s.start()
		for range 300 { // more than are asked about at a time
			s.send("b@there.test")
		}
		s.after(time.Second)
		began := time.Now()
		s.stop()
		if took := time.Since(began); took > 0 {
			s.Errorf("took %s", took)
		}
		for _, e := range s.q.ended {
			if e.how != "release" {
				s.Errorf("%s ended with %s", e.id, e.how)
			}
		}
		if n := p.count(plugin.SendEmail); n > askedAtOnce {
			s.Errorf("asked about %d", n)
		}
		if len(s.q.ready) != 300 {
			s.Errorf("%d are left", len(s.q.ready))
		}
	})
}

// What was noted at MAIL is there, and what is noted now is there at the next attempt:
// of this delivery alone. Nothing is kept of a function that was given up.
func TestNotesOfADelivery(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "", smtptest.Answer{Reply: "450 4.2.1 Busy", Times: 2})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.c.Retry.Jitter = 0
		var mu sync.Mutex
		var seen []string
		see := func(e *plugin.Event) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf("%s %v %v", e.Hook, e.Transaction.Notes.Text("from"), e.Transaction.Notes.Get("tries")))
		}
		var over chan struct{}
		_, over = s.plugged(fns{
			plugin.SendEmail: func(_ context.Context, e *plugin.Event) plugin.Verdict {
				see(e)
				if e.Delivery.Attempts == 1 { // given up, and not kept
					e.Transaction.Notes.Set("tries", "lost")
					<-over
				}
				return plugin.Verdict{}
			},
			plugin.Deferred: func(_ context.Context, e *plugin.Event) plugin.Verdict {
				see(e)
				n, _ := e.Transaction.Notes.Get("tries").(float64)
				e.Transaction.Notes.Set("tries", n+1)
				return plugin.Verdict{}
			},
			plugin.Delivered: func(_ context.Context, e *plugin.Event) plugin.Verdict { see(e); return plugin.Verdict{} },
		})
		s.start()
		j := s.letter("b@there.test")
		j.env.Message.Notes = []byte(`{"from":"ann"}`)
		message := j.env.Message
		s.q.add(j)
		s.after(30 * time.Minute)
		want := "send_email ann <nil>\ndeferred ann <nil>\nsend_email ann 1\ndeferred ann 1\nsend_email ann 2\ndeferred ann 2\nsend_email ann 3\ndelivered ann 3"
		if got := strings.Join(seen, "\n"); got != want {
			s.Errorf("seen:\n%s\nwant:\n%s", got, want)
		}
		if string(message.Notes) != `{"from":"ann"}` {
			s.Errorf("the message's own notes have become %s", message.Notes)
		}
		es := s.expect(j.env.ID(), "wait: b deferred 450", "wait: b deferred 451", "wait: b deferred 450", "done: b delivered 250")
		if got := noted(s.T, &es[2].next); !maps.Equal(got, map[string]any{"from": "ann", "tries": 3.0}) {
			s.Errorf("noted %v", got)
		}
	})
}

// A host that a plugin names is dialled from the address that it names.
func TestPluginBinds(t *testing.T) {
	sink := &smtptest.Sink{}
	defer sink.Close()
	at := sink.Listen(t)
	q := newMemQueue(t)
	d, err := New(Config{Hostname: "us.test", Queue: q, Store: q})
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(at)
	v, err := d.readVia([]any{map[string]any{"exchange": host, "port": port, "bind": "127.0.0.7"}})
	if err != nil {
		t.Fatal(err)
	}
	c := &carrier{d: d, path: &path{}}
	conn, err := c.connectTo(t.Context(), &v.targets[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if from := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); from != netip.MustParseAddr("127.0.0.7") {
		t.Errorf("sent from %s", from)
	}
}

// A route and a plugin's host may want us to prove who we are.
func TestLoginAtTheNextHop(t *testing.T) {
	const hello = "S: 220 relay.test\nC: EHLO us.test\nS: 250-relay.test\nS: 250-AUTH PLAIN\nS: 250 PIPELINING\n"
	const taken = "C: MAIL FROM:<a@here.test>\nC: RCPT TO:<b@there.test>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nS: 250 2.0.0 Taken\nC: QUIT\nS: 221 bye"
	login := smtp.LoginWith("ann", "geheim")
	login.Insecure = true
	for _, row := range []struct {
		name, script string
		route        Route
		value        any
		want         string
		reply        string
	}{
		{"a route", hello + "C! AUTH PLAIN AGFubgBnZWhlaW0=\nS: 235 ok\n" + taken, Route{To: "there.test", Via: "192.0.2.1:25", Login: login}, nil, "done: b delivered 250", "250 2.0.0 Taken"},
		{"a plugin's host", hello + "C! AUTH PLAIN AGFubgBnZWhlaW0=\nS: 235 ok\n" + taken, Route{Name: "x", Via: "192.0.2.9:25"},
			map[string]any{"exchange": "192.0.2.1", "auth_user": "ann", "auth_pass": "geheim", "auth_insecure": true}, "done: b delivered 250", "250 2.0.0 Taken"},
		{"a plugin's route", hello + "C! AUTH PLAIN AGFubgBnZWhlaW0=\nS: 235 ok\n" + taken, Route{Name: "relay", Via: "192.0.2.1:25", Login: login},
			map[string]any{"route": "relay"}, "done: b delivered 250", "250 2.0.0 Taken"},
		{"refused: nobody's mail comes to an end", hello + "C! AUTH PLAIN AGFubgBnZWhlaW0=\nS: 535 5.7.8 Wrong\nC: QUIT\n", Route{To: "there.test", Via: "192.0.2.1:25", Login: login},
			nil, "wait: b deferred 535", "535 5.7.8 Wrong"},
		{"not offered", strings.Replace(hello, "S: 250-AUTH PLAIN\n", "", 1) + "eof\n", Route{To: "there.test", Via: "192.0.2.1:25", Login: login},
			nil, "wait: b deferred 451", "451 4.7.0 no login at 192.0.2.1:25: the host offers no AUTH"},
		{"TLS is wanted, and not there", hello + "eof\n", Route{Name: "x", Via: "192.0.2.9:25"},
			map[string]any{"exchange": "192.0.2.1", "auth_user": "ann", "auth_pass": "geheim"}, "wait: b deferred 451", "451 4.7.5 no TLS with 192.0.2.1:25: starttls: STARTTLS is required and not to be had"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tell(t, func(s *story) {
				s.script(s.T, 1, row.script)
				var err error
				if s.c.Routes, err = NewRoutes([]Route{row.route}); err != nil {
					s.Fatal(err)
				}
				if row.value != nil {
					s.plugged(fns{plugin.GetMX: hosts(row.value)})
				}
				s.start()
				id := s.send("b@there.test")
				s.after(10 * time.Second)
				es := s.expect(id, row.want)
				if len(es) == 1 && es[0].attempt.Outcomes[0].Reply.String() != row.reply {
					s.Errorf("reply %s, want %s", es[0].attempt.Outcomes[0].Reply, row.reply)
				}
				if strings.Contains(s.log.String(), "geheim") || strings.Contains(s.log.String(), "AGFub") {
					s.Errorf("the log knows the password:\n%s", s.log)
				}
			})
		})
	}
}

func TestRoutesWithALogin(t *testing.T) {
	secret := smtp.LoginWith("ann", "geheim")
	for _, row := range []struct {
		tls   string
		login *smtp.Login
		want  smtp.TLSPolicy
		fault bool
	}{
		{"", secret, smtp.TLSRequired, false},
		{"implicit", secret, smtp.TLSImplicit, false},
		{"opportunistic", secret, 0, true},
		{"off", secret, 0, true},
		{"off", nil, smtp.TLSNever, false},
		{"off", &smtp.Login{User: "ann", Insecure: true}, smtp.TLSNever, false},
		{"maybe", nil, 0, true},
	} {
		rs, err := NewRoutes([]Route{{To: "*", Via: "relay.test:587", TLS: row.tls, Login: row.login}})
		if (err != nil) != row.fault {
			t.Errorf("%+v: %v", row, err)
		}
		if err == nil {
			r, _ := rs.For("x.test")
			o := smtp.ClientOptions{}
			r.target.manner.apply(&o)
			if o.TLS != row.want || o.Login != row.login {
				t.Errorf("%+v: %+v", row, o)
			}
		}
	}
}
