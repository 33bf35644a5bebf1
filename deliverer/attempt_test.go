package deliverer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

func TestDelivers(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		id := s.send("b@there.test")
		s.after(time.Second)
		es := s.expect(id, "done: b delivered 250")
		if got := es[0].attempt.Host; got != "mx1.test[192.0.2.1]:25" {
			s.Errorf("host %q", got)
		}
		if got := string(sink.Messages()[0].Data); got != body {
			s.Errorf("arrived: %q", got)
		}
		if n := strings.Count(s.log.String(), "msg=attempt"); n != 1 {
			s.Errorf("%d lines for one attempt:\n%s", n, s.log)
		}
		if st := s.d.Stats(); st.Attempts != 1 || st.Delivered != 1 || st.ConnectionsOpen != 1 {
			s.Errorf("%+v", st)
		}
		s.after(5 * time.Second) // IdleClose
		if _, open := sink.Connections(); open != 0 {
			s.Error("an idle connection was kept")
		}
	})
}

func TestH6_mixedRepliesSplit(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		sink.On("RCPT", "<later@", smtptest.Answer{Reply: "450 4.2.1 Mailbox busy", Times: 1})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		id := s.send("yes@there.test", "later@there.test", "no@there.test")
		s.after(time.Hour)
		es := s.expect(id,
			"wait: yes delivered 250 later deferred 450 no failed 550",
			"done: later delivered 250")
		next := es[0].next
		if len(next.Recipients) != 1 || next.Attempts != 1 || next.LastReply.Code != 450 {
			s.Errorf("stored for later: %+v", next)
		}
		ns := s.q.stored()
		if len(ns) != 1 {
			s.Fatalf("%d notices, want 1", len(ns))
		}
		text := string(ns[0].body)
		if !strings.Contains(text, "Final-Recipient: rfc822;no@there.test") || strings.Contains(text, "later@") {
			s.Errorf("notice:\n%s", text)
		}
	})
}

// Each row is one host's behaviour at one point of the dialogue, and what it means.
func TestH6_repliesAndBreaks(t *testing.T) {
	for _, row := range []struct {
		name, verb string
		a          smtptest.Answer
		want       string // of the first attempt
		second     bool   // the second MX is asked in the same attempt
	}{
		{"banner 554", "CONNECT", smtptest.Answer{Reply: "554 5.3.2 Go away"}, "done: b delivered 250", true},
		{"banner 421", "CONNECT", smtptest.Answer{Reply: "421 4.3.2 Busy"}, "done: b delivered 250", true},
		{"banner never", "CONNECT", smtptest.Answer{Stall: true}, "done: b delivered 250", true},
		{"EHLO 554", "EHLO", smtptest.Answer{Reply: "554 5.7.1 No"}, "done: b delivered 250", true},
		{"MAIL 550", "MAIL", smtptest.Answer{Reply: "550 5.7.1 No"}, "done: b failed 550", false},
		{"MAIL 451", "MAIL", smtptest.Answer{Reply: "451 4.7.1 Later"}, "wait: b deferred 451", false},
		{"MAIL 421", "MAIL", smtptest.Answer{Reply: "421 4.3.2 Leaving"}, "done: b delivered 250", true},
		{"MAIL cut", "MAIL", smtptest.Answer{Cut: true}, "done: b delivered 250", true},
		{"RCPT 550", "RCPT", smtptest.Answer{Reply: "550 5.1.1 Unknown"}, "done: b failed 550", false},
		{"RCPT 450", "RCPT", smtptest.Answer{Reply: "450 4.2.1 Busy"}, "wait: b deferred 450", false},
		{"RCPT 421", "RCPT", smtptest.Answer{Reply: "421 4.3.2 Leaving"}, "done: b delivered 250", true},
		{"RCPT stall", "RCPT", smtptest.Answer{Stall: true}, "done: b delivered 250", true},
		{"DATA 554", "DATA", smtptest.Answer{Reply: "554 5.6.0 No"}, "done: b failed 554", false},
		{"DATA 451", "DATA", smtptest.Answer{Reply: "451 4.3.0 Later"}, "wait: b deferred 451", false},
		{"DATA cut", "DATA", smtptest.Answer{Cut: true}, "done: b delivered 250", true},
		{"dot 554", "DOT", smtptest.Answer{Reply: "554 5.6.0 No"}, "done: b failed 554", false},
		{"dot 452", "DOT", smtptest.Answer{Reply: "452 4.3.1 Full"}, "wait: b deferred 452", false},
		{"dot 421", "DOT", smtptest.Answer{Reply: "421 4.3.2 Leaving"}, "wait: b deferred 421", false},
		// It may have the message: never to another host in the same attempt.
		{"dot cut", "DOT", smtptest.Answer{Cut: true}, "wait: b deferred 451", false},
		{"dot stall", "DOT", smtptest.Answer{Stall: true}, "wait: b deferred 451", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			tell(t, func(s *story) {
				first := &smtptest.Sink{Extensions: []string{"PIPELINING", "ENHANCEDSTATUSCODES"}}
				second := &smtptest.Sink{}
				defer first.Close()
				defer second.Close()
				first.On(row.verb, "", row.a)
				s.mx("there.test", 1, 2)
				s.sink(1, first)
				s.sink(2, second)
				s.start()
				id := s.send("b@there.test")
				for range 40 { // longer than any timeout of RFC 5321, shorter than two attempts for most
					s.after(30 * time.Second)
					if len(attempts(s.q.history(id))) > 0 {
						break
					}
				}
				es := attempts(s.q.history(id))
				if len(es) == 0 {
					s.Fatalf("no attempt ended; history %v", s.q.history(id))
				}
				if got := became(es[0]); got != row.want {
					s.Errorf("got %q, want %q (%s)", got, row.want, es[0].attempt.Note)
				}
				if asked := second.Count() > 0; asked != row.second {
					s.Errorf("second MX asked: %v, want %v", asked, row.second)
				}
				wantNotices := 0
				if strings.Contains(row.want, "failed") {
					wantNotices = 1
				}
				if n := len(s.q.stored()); n != wantNotices {
					s.Errorf("%d notices, want %d", n, wantNotices)
				}
			})
		})
	}
}

func TestI1_hostsInOrderThenDefer(t *testing.T) {
	tell(t, func(s *story) {
		s.mx("there.test", 1, 2)
		s.script(s.T, 1, "S: 554 5.3.2 closed\nC: QUIT\n")
		s.start()
		id := s.send("b@there.test")
		s.after(10 * time.Second)
		es := s.expect(id, "wait: b deferred 451")
		if got := es[0].next.LastReply.String(); !strings.Contains(got, "4.4.1 no answer from mx2.test[192.0.2.2]:25: connection refused") {
			s.Errorf("last reply %q", got)
		}
		if got := strings.Join(s.dialled, " "); got != addr(1)+" "+addr(2) {
			s.Errorf("dialled %s", got)
		}
		if n := len(s.q.stored()); n != 0 {
			s.Errorf("a host that refuses to talk made %d notices", n)
		}
	})
}

func TestK1_nullMXBouncesNow(t *testing.T) {
	tell(t, func(s *story) {
		s.domains["null.test"] = domain{err: &NoHosts{mail.R(556, "5.1.10", "null.test does not accept mail (null MX)")}}
		s.start()
		id, id2 := s.send("b@null.test"), s.send("c@null.test")
		s.after(time.Second)
		s.expect(id, "done: b failed 556")
		s.expect(id2, "done: c failed 556")
		ns := s.q.stored()
		if len(ns) != 2 || !strings.Contains(string(ns[0].body), "Status: 5.1.10") {
			s.Errorf("notices: %v", ns)
		}
	})
}

func TestK2_lookupFailureDefersOneAndParksTheRest(t *testing.T) {
	tell(t, func(s *story) {
		s.domains["broken.test"] = domain{err: &NoHosts{mail.R(451, "4.4.3", "lookup failed")}}
		var ids []string
		for range 10 {
			ids = append(ids, s.send("b@broken.test"))
		}
		s.start()
		s.after(time.Second)
		n := 0
		for _, id := range ids {
			n += len(attempts(s.q.history(id)))
		}
		if n != 1 {
			s.Errorf("%d attempts while the domain cannot be looked up, want 1", n)
		}
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("broken.test", 1)
		s.sink(1, sink)
		s.after(5 * time.Minute)
		if sink.Count() != 10 {
			s.Errorf("%d arrived after the lookup worked again, want 10", sink.Count())
		}
	})
}

func TestI6_stalePooledConnection(t *testing.T) {
	for name, answer := range map[string]smtptest.Answer{
		"421 at MAIL": {Reply: "421 4.4.2 idle for too long", Times: 1},
		"cut at MAIL": {Cut: true, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				sink := &smtptest.Sink{Extensions: []string{"PIPELINING"}}
				defer sink.Close()
				sink.On("MAIL", "<second@", answer)
				s.mx("there.test", 1)
				s.sink(1, sink)
				s.start()
				first := s.send("b@there.test")
				s.after(time.Second)
				j := s.letter("b@there.test")
				j.env.Message.Sender = mail.NewAddress("second@here.test")
				s.q.add(j)
				s.after(time.Second)
				s.expect(first, "done: b delivered 250")
				s.expect(j.env.ID(), "done: b delivered 250")
				if total, _ := sink.Connections(); total != 2 {
					s.Errorf("%d connections, want 2", total)
				}
				if st := s.d.Stats(); st.Stale != 1 || st.Attempts != 2 {
					s.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestI6_perConnectionCapAndReuse(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.c.Rules = one("there.test", 1, 10)
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		for range 35 {
			s.send("b@there.test")
		}
		s.after(3 * time.Second)
		per := map[int]int{}
		for _, m := range sink.Messages() {
			per[m.Connection]++
		}
		if sink.Count() != 35 || fmt.Sprint(per) != "map[1:10 2:10 3:10 4:5]" {
			s.Errorf("%d messages by connection %v", sink.Count(), per)
		}
	})
}

func TestConnectionLimit(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("DOT", "", smtptest.Answer{Wait: 200 * time.Millisecond, Reply: "250 2.0.0 Taken"})
		s.c.Rules = one("*", 3, 0)
		s.mx("a.test", 1)
		s.mx("b.test", 1) // the same hosts: the same path
		s.sink(1, sink)
		s.start()
		for range 60 {
			s.send("x@a.test")
			s.send("x@b.test")
		}
		peak := 0
		for range 600 {
			s.after(50 * time.Millisecond)
			_, open := sink.Connections()
			peak = max(peak, open)
		}
		if peak != 3 {
			s.Errorf("%d connections at the same time, want 3", peak)
		}
		if st := s.d.Stats(); st.Delivered != 120 {
			s.Errorf("%d of 120 delivered", st.Delivered)
		}
	})
}

func TestD7_recipientLimits(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{Extensions: []string{"PIPELINING", "LIMITS RCPTMAX=2"}}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		id := s.send("a@there.test", "b@there.test", "c@there.test", "d@there.test", "e@there.test")
		s.after(time.Second)
		s.expect(id, "done: a delivered 250 b delivered 250 c delivered 250 d delivered 250 e delivered 250")
		if sink.Count() != 3 {
			s.Errorf("%d transactions, want 3", sink.Count())
		}
	})
}

func TestD7_tooManyRecipientsNextTransactionSameAttempt(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<c@", smtptest.Answer{Reply: "452 4.5.3 Too many recipients", Times: 1})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		id := s.send("a@there.test", "b@there.test", "c@there.test")
		s.after(time.Second)
		s.expect(id, "done: a delivered 250 b delivered 250 c delivered 250")
	})
}

func TestLMTPRoute(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{LMTP: true}
		defer sink.Close()
		sink.On("DOT", "<full@", smtptest.Answer{Reply: "452 4.2.2 Mailbox full"})
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		l := &memList{}
		s.c.Suppressions = l
		var err error
		if s.c.Routes, err = NewRoutes([]Route{{To: "local.test", Via: "lmtp:192.0.2.9:25"}}); err != nil {
			s.Fatal(err)
		}
		s.sink(9, sink)
		s.start()
		id := s.send("ok@local.test", "full@local.test", "no@local.test")
		s.after(time.Second)
		s.expect(id, "wait: ok delivered 250 full deferred 452 no failed 550")
		if len(l.bounced) > 0 {
			s.Errorf("%q: a mailbox that its operator may make today is not suppressed", l.bounced)
		}
	})
}

func TestM4_noDotWithoutTheJournal(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.q.dotErr = errors.New("journal is away")
		s.start()
		id := s.send("b@there.test")
		s.after(10 * time.Second)
		if sink.Count() != 0 {
			s.Error("the dot was sent although its record was not confirmed")
		}
		es := s.q.history(id)
		if len(es) == 0 || len(es) > 20 {
			s.Errorf("given back %d times in 10 s; want a few", len(es))
		}
		for _, e := range es {
			if e.how != "release" {
				s.Errorf("%s; want it given back untouched", e.how)
			}
		}
		s.q.mu.Lock()
		s.q.dotErr = nil
		s.q.mu.Unlock()
		s.after(10 * time.Second)
		if sink.Count() != 1 {
			s.Errorf("%d arrived once the journal was back", sink.Count())
		}
	})
}

func TestNoDotWithAnOldClaim(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		// The host takes 20 s to say 354, and nobody confirms the claim meanwhile.
		sink.On("RCPT", "", smtptest.Answer{Wait: 20 * time.Second, Reply: "250 2.1.5 ok", Times: 1})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.q.frozen = true
		s.start()
		id := s.send("b@there.test")
		s.after(15 * time.Second)
		if es := s.q.history(id); len(es) != 0 {
			s.Fatalf("too early: %v", es)
		}
		s.after(5500 * time.Millisecond)
		if sink.Count() != 0 {
			s.Error("the dot was sent 20 s after the claim")
		}
		s.after(10 * time.Second)
		if es := s.q.history(id); len(es) != 2 || es[0].how != "release" || es[1].how != "done" {
			s.Errorf("history %v", es)
		}
		if sink.Count() != 1 {
			s.Errorf("%d arrived, want 1", sink.Count())
		}
	})
}

func TestBigBodyByOpen(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		j := s.letter("b@there.test")
		j.body = []byte("Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 5000))
		j.big, j.env.Message.Size = true, int64(len(j.body))
		s.q.add(j)
		s.after(time.Second)
		s.expect(j.env.ID(), "done: b delivered 250")
		if got := sink.Messages()[0].Data; string(got) != string(j.body) {
			s.Errorf("%d octets arrived of %d", len(got), len(j.body))
		}
	})
}
