package deliverer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

const hour = time.Hour

// Whatever happens in an attempt, each MAIL FROM that leaves has a permit of its own.
func TestOnePermitForEachTransaction(t *testing.T) {
	for name, tell1 := range map[string]struct {
		first  func(*smtptest.Sink) // what the first host does
		to     []string
		again  bool // a second delivery
		mails  int
		became string
	}{
		"one":                    {mails: 1, became: "done: b delivered 250"},
		"the next host":          {first: func(s *smtptest.Sink) { s.On("MAIL", "", smtptest.Answer{Reply: "421 4.3.2 Leaving"}) }, mails: 2, became: "done: b delivered 250"},
		"the first host is cut":  {first: func(s *smtptest.Sink) { s.On("RCPT", "", smtptest.Answer{Cut: true}) }, mails: 2, became: "done: b delivered 250"},
		"recipients left over":   {first: func(s *smtptest.Sink) { s.Extensions = []string{"PIPELINING", "LIMITS RCPTMAX=2"} }, to: []string{"b@there.test", "c@there.test", "d@there.test", "e@there.test", "f@there.test"}, mails: 3, became: "done: b delivered 250 c delivered 250 d delivered 250 e delivered 250 f delivered 250"},
		"too many recipients":    {first: func(s *smtptest.Sink) { s.On("RCPT", "<c@", smtptest.Answer{Reply: "452 4.5.3 Too many", Times: 1}) }, to: []string{"b@there.test", "c@there.test"}, mails: 2, became: "done: b delivered 250 c delivered 250"},
		"RSET before the second": {first: func(s *smtptest.Sink) { s.On("RCPT", "", smtptest.Answer{Reply: "550 5.1.1 No", Times: 1}) }, again: true, mails: 2, became: "done: b failed 550"},
		"one at a time": {first: func(s *smtptest.Sink) {
			s.Extensions = []string{}
			s.On("RCPT", "", smtptest.Answer{Reply: "550 5.1.1 No", Times: 1})
		}, again: true, mails: 2, became: "done: b failed 550"},
		"stale connection": {first: func(s *smtptest.Sink) { s.On("MAIL", "<second@", smtptest.Answer{Cut: true, Times: 1}) }, again: true, mails: 3, became: "done: b delivered 250"},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				m := s.under(map[string]memRule{"*": {messages: []memWindow{{1000, hour}}}})
				first, second := &smtptest.Sink{}, &smtptest.Sink{}
				defer first.Close()
				defer second.Close()
				if tell1.first != nil {
					tell1.first(first)
				}
				s.mx("there.test", 1, 2)
				s.sink(1, first)
				s.sink(2, second)
				s.start()
				to := tell1.to
				if to == nil {
					to = []string{"b@there.test"}
				}
				id := s.send(to...)
				s.after(2 * time.Second)
				if tell1.again {
					j := s.letter("b@there.test")
					j.env.Message.Sender = mail.NewAddress("second@here.test")
					s.q.add(j)
					s.after(2 * time.Second)
					s.expect(j.env.ID(), "done: b delivered 250")
				}
				s.expect(id, tell1.became)
				starts, used := len(s.taps.starts()), m.spent(s.T, "site:mx1.test,mx2.test")
				if starts != tell1.mails || used != tell1.mails {
					s.Errorf("%d MAIL FROM and %d permits used, want %d", starts, used, tell1.mails)
				}
				if st := s.d.Stats(); st.PermitsTaken != st.PermitsUsed+st.PermitsReturned+st.PermitsExpired || st.LateStarts != 0 {
					s.Errorf("%+v", st)
				}
				if !strings.Contains(s.log.String(), `permit="of site:mx1.test,mx2.test"`) {
					s.Errorf("no permit in the log:\n%s", s.log)
				}
			})
		})
	}
}

// A window of 20 in 10 seconds, far more mail than that: never more, and hardly less.
func TestWindowIsKeptAndUsed(t *testing.T) {
	for name, rule := range map[string]memRule{
		"fast":        {messages: []memWindow{{20, 10 * time.Second}}},
		"two windows": {messages: []memWindow{{40, 20 * time.Second}, {5, time.Second}}},
		"slow":        {messages: []memWindow{{2, time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				s.under(map[string]memRule{"*": rule})
				sink := &smtptest.Sink{Discard: true}
				defer sink.Close()
				sink.On("DOT", "", smtptest.Answer{Wait: 50 * time.Millisecond, Reply: "250 2.0.0 Taken"})
				s.mx("there.test", 1)
				s.sink(1, sink)
				s.start()
				for range 800 {
					s.send("b@there.test")
				}
				s.after(5 * time.Minute)
				starts := s.taps.starts()
				for _, w := range rule.messages {
					exact(s.T, "starts", starts, w, each)
				}
				w := rule.messages[0]
				allowed := w.max * int(5*time.Minute/w.length)
				if n := len(starts); n < allowed*95/100 {
					s.Errorf("%d started in 5 minutes, %d were allowed", n, allowed)
				}
				burnt := 0
				for _, e := range s.q.ended {
					if e.how == "wait" {
						burnt++
					}
				}
				if burnt != 0 {
					s.Errorf("%d attempts were charged to a shut window", burnt)
				}
			})
		})
	}
}

// A permit that has run out is no permit: nothing leaves, another is taken, and the
// connection goes on.
func TestVoidPermitIsReplaced(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {messages: []memWindow{{1000, hour}}}})
		sink := &smtptest.Sink{Extensions: []string{}}
		defer sink.Close()
		// Without pipelining RSET is answered before MAIL: after the permit has run out.
		sink.On("RSET", "", smtptest.Answer{Wait: time.Second, Reply: "250 ok", Times: 3})
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		ids := []string{s.send("no@there.test")}
		s.after(3 * time.Second)
		for range 5 {
			ids = append(ids, s.send("b@there.test"))
		}
		s.after(time.Minute)
		s.expect(ids[0], "done: no failed 550")
		for _, id := range ids[1:] {
			s.expect(id, "done: b delivered 250")
		}
		st := s.d.Stats()
		if st.PermitsExpired == 0 || st.Attempts != 6 {
			s.Errorf("%+v", st)
		}
		if starts, used := len(s.taps.starts()), m.spent(s.T, "site:mx1.test"); starts != 6 || used != 6 {
			s.Errorf("%d MAIL FROM and %d permits used, want 6", starts, used)
		}
	})
}

// A window on recipients splits what it could never take as a whole, and each
// recipient is tried once.
func TestRecipientsWindowSplits(t *testing.T) {
	tell(t, func(s *story) {
		w := memWindow{10, 10 * time.Second}
		s.under(map[string]memRule{"*": {recipients: []memWindow{w}}})
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<r7@", smtptest.Answer{Reply: "450 4.2.1 Busy", Times: 1})
		sink.On("RCPT", "<r9@", smtptest.Answer{Reply: "550 5.1.1 Unknown"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		var to []string
		for i := range 35 {
			to = append(to, fmt.Sprintf("r%d@there.test", i))
		}
		id := s.send(to...)
		s.after(2 * time.Minute)
		starts := s.taps.starts()
		exact(s.T, "recipients", starts, w, func(m tapped) int { return m.recipients })
		for _, m := range starts {
			if m.recipients > 10 {
				s.Errorf("%d recipients in a transaction", m.recipients)
			}
		}
		per := map[string]int{}
		for _, m := range sink.Messages() {
			for _, r := range m.To {
				per[r]++
			}
		}
		if len(per) != 34 {
			s.Errorf("%d recipients have it, want 34", len(per))
		}
		for r, n := range per {
			if n != 1 {
				s.Errorf("%s has it %d times", r, n)
			}
		}
		es := attempts(s.q.history(id))
		last := es[len(es)-1]
		if last.how != "done" {
			s.Errorf("last: %s", became(last))
		}
		for _, e := range es {
			// r7 was tried again by the schedule or earlier with others; nobody else was.
			if e.next.Attempts > 2 {
				s.Errorf("%d attempts were charged", e.next.Attempts)
			}
		}
		if n := len(s.q.stored()); n != 1 {
			s.Errorf("%d notices, want 1", n)
		}
	})
}

// What could not be tried for want of a permit comes first the next time, and has
// cost no attempt.
func TestLeftoverRecipientsAreNotCharged(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {messages: []memWindow{{1, 20 * time.Second}}}})
		sink := &smtptest.Sink{Extensions: []string{"PIPELINING", "LIMITS RCPTMAX=2"}}
		defer sink.Close()
		sink.On("RCPT", "<a@", smtptest.Answer{Reply: "450 4.2.1 Busy", Times: 1})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		id := s.send("a@there.test", "b@there.test", "c@there.test", "d@there.test")
		s.after(10 * time.Second)
		es := attempts(s.q.history(id))
		if len(es) != 1 {
			s.Fatalf("%d attempts", len(es))
		}
		next := es[0].next
		var order []string
		for _, r := range next.Recipients {
			order = append(order, string(r.Local()))
		}
		if fmt.Sprint(order) != "[c d a]" || next.Attempts != 0 || next.LastReply.Code != 450 {
			s.Errorf("stored: %v after %d attempts, last reply %v", order, next.Attempts, next.LastReply)
		}
		if d := time.Until(next.Due); d < 5*time.Second || d > 15*time.Second {
			s.Errorf("due in %v, want when the window opens", d)
		}
		if got := es[0].attempt.Outcomes[2].Reply.String(); !strings.Contains(got, "not tried in this attempt: 1/20s, not before ") {
			s.Errorf("outcome: %s", got)
		}
		s.after(10 * time.Minute)
		es = attempts(s.q.history(id))
		if got := became(es[len(es)-1]); got != "done: a delivered 250" {
			s.Errorf("at last: %s", got)
		}
		if starts, used := len(s.taps.starts()), m.spent(s.T, "site:mx1.test"); starts != 3 || used != 3 {
			s.Errorf("%d MAIL FROM, %d permits, want 3", starts, used)
		}
	})
}

// A tenant whose window is shut does not stand in the way of another's mail to the
// same destination, in the hand or in the queue.
func TestTenantsDoNotBlockEachOther(t *testing.T) {
	for _, waited := range []bool{false, true} {
		t.Run(fmt.Sprint("from the queue ", waited), func(t *testing.T) {
			tell(t, func(s *story) {
				m := s.under(map[string]memRule{"*": {messages: []memWindow{{5, 10 * time.Minute}}, perTenant: true}})
				sink := &smtptest.Sink{}
				defer sink.Close()
				s.mx("there.test", 1)
				s.sink(1, sink)
				letter := func(tenant string) {
					j := s.letter("b@there.test")
					j.env.Message.Sender = mail.NewAddress(tenant + "@here.test")
					j.env.Message.Tenant = tenant
					if waited {
						j.q = s.q
						s.q.waiting = append(s.q.waiting, j)
					} else {
						s.q.add(j)
					}
				}
				for range 100 {
					letter("many")
				}
				for range 5 {
					letter("few")
				}
				s.start()
				s.after(5 * time.Minute)
				got := map[string]int{}
				for _, x := range s.taps.starts() {
					got[x.from]++
				}
				// A permit that comes back when its tenant's mail has been put aside is lost for this window.
				if n := got["many@here.test"]; n < 4 || n > 5 || got["few@here.test"] != 5 {
					s.Errorf("%v, want 5 of each", got)
				}
				s.after(5*time.Minute + 30*time.Second)
				if n := m.spent(s.T, "site:mx1.test"); n < 13 || n > 15 {
					s.Errorf("%d started after the window had opened again, want 15", n)
				}
			})
		})
	}
}

// What may start is looked at again right before MAIL FROM leaves, however long the
// connection took to get there.
func TestLastLookBeforeMAIL(t *testing.T) {
	for name, change := range map[string]func(*memScheduler){
		"the session has ended": func(m *memScheduler) { m.live(false) },
		"a limit was set":       func(m *memScheduler) { m.set("*", memRule{messages: []memWindow{{0, hour}}}) },
		"it was suspended":      func(m *memScheduler) { m.set("*", memRule{suspended: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				m := s.under(map[string]memRule{})
				sink := &smtptest.Sink{Extensions: []string{}}
				defer sink.Close()
				sink.On("RSET", "", smtptest.Answer{Wait: 2 * time.Second, Reply: "250 ok"})
				sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No"})
				s.mx("there.test", 1)
				s.sink(1, sink)
				s.start()
				s.send("no@there.test")
				s.after(time.Second)
				id := s.send("b@there.test")
				s.after(time.Second)
				if len(s.taps.starts()) != 1 {
					s.Fatal("RSET was not in the way; the test shows nothing")
				}
				change(m)
				s.after(10 * time.Second)
				if n := len(s.taps.starts()); n != 1 {
					s.Errorf("%d started", n)
				}
				m.set("*", memRule{})
				m.live(true)
				s.after(10 * time.Second)
				s.expect(id, "done: b delivered 250")
			})
		})
	}
}

// A host that broke has been tried: that there is no permit for the next one does
// not undo it.
func TestBrokenHostIsChargedWithoutAPermitForTheNext(t *testing.T) {
	tell(t, func(s *story) {
		s.under(map[string]memRule{"*": {messages: []memWindow{{1, hour}}}})
		first, second := &smtptest.Sink{}, &smtptest.Sink{}
		defer first.Close()
		defer second.Close()
		first.On("MAIL", "", smtptest.Answer{Reply: "421 4.3.2 Leaving"})
		s.mx("there.test", 1, 2)
		s.sink(1, first)
		s.sink(2, second)
		s.start()
		id := s.send("b@there.test")
		s.after(10 * time.Second)
		es := s.expect(id, "wait: b deferred 421")
		if next := es[0].next; next.Attempts != 1 || time.Until(next.Due) < 30*time.Second {
			s.Errorf("%d attempts, due in %v; want one, by the schedule", next.Attempts, time.Until(next.Due))
		}
	})
}

// New connections have a window of their own: spent once for each address dialled.
func TestNewConnectionsWindow(t *testing.T) {
	tell(t, func(s *story) {
		w := memWindow{3, time.Minute}
		m := s.under(map[string]memRule{"*": {dials: []memWindow{w}, perConnection: 4}})
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1, 2) // the first does not answer
		s.sink(2, sink)
		s.start()
		var ids []string
		for range 40 {
			ids = append(ids, s.send("b@there.test"))
		}
		s.after(10 * time.Minute)
		var dials []tapped
		m.mu.Lock()
		for k, p := range m.lanes {
			if k.dial {
				for _, u := range p.uses {
					dials = append(dials, tapped{at: u.at})
				}
			}
		}
		m.mu.Unlock()
		if n := s.dials(addr(1)) + s.dials(addr(2)); n != len(dials) || n < 10 {
			s.Errorf("dialled %d times, %d permits used; want 10 or more", n, len(dials))
		}
		exact(s.T, "new connections", dials, w, each)
		if sink.Count() != 40 {
			s.Errorf("%d of 40 arrived", sink.Count())
		}
		for _, id := range ids {
			if n := len(attempts(s.q.history(id))); n != 1 {
				s.Errorf("%s: %d attempts", id, n)
			}
		}
	})
}

// A backlog behind a window for new connections is not read while it is shut.
func TestShutDialWindowKeepsTheBacklogWhereItIs(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {dials: []memWindow{{1, 10 * time.Minute}}, perConnection: 10}})
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.backlog(1000, "b@there.test")
		s.start()
		s.after(hour - time.Minute)
		if n := s.dials(addr(1)); n != 6 {
			s.Errorf("dialled %d times in an hour, 6 are allowed", n)
		}
		if n := sink.Count(); n != 60 {
			s.Errorf("%d sent over 6 connections of 10", n)
		}
		if r := s.reads(); r > 150 {
			s.Errorf("%d read for %d sent", r, sink.Count())
		}
		id := s.send("b@there.test")
		s.after(time.Second)
		if es := s.q.history(id); len(es) != 1 || es[0].how != "parked" {
			s.Errorf("new mail: %v", es)
		}
		m.set("*", memRule{})
		s.after(time.Minute)
		if sink.Count() != 1001 {
			s.Errorf("%d of 1001 arrived", sink.Count())
		}
	})
}
