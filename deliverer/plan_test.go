package deliverer

import (
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// The bubble begins on Saturday, 1 January 2000, at midnight UTC.

func TestSendAt(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		began := time.Now()
		j := s.letter("u@there.test")
		at := began.Add(30 * time.Hour)
		j.env.Message.SendAt, j.env.Due = at, at
		j.env.Expires = at.Add(time.Hour)
		j.env.Message.HoldRequest = "for;108000"
		j.env.Recipients = append(j.env.Recipients, mail.Recipient{Address: mail.NewAddress("no@there.test")})
		s.q.add(j)
		s.after(29 * time.Hour)
		if n := s.dials(addr(1)); n != 0 {
			t.Fatalf("%d connections before its time", n)
		}
		if n := len(s.q.stored()); n != 0 {
			t.Errorf("%d notices about mail that waits for its time", n)
		}
		// It waits over a restart too.
		s.stop()
		s.start()
		s.after(2 * time.Hour)
		es := s.expect(j.env.ID(), "done: u delivered 250 no failed 550")
		if late := es[0].attempt.Started.Sub(at); late < 0 || late > time.Second {
			t.Errorf("sent %s after its time", late)
		}
		ns := s.q.stored()
		if len(ns) != 1 {
			t.Fatalf("%d notices", len(ns))
		}
		if r := parseReport(t, ns[0].body); r.per.Get("Future-Release-Request") != "for;108000" {
			t.Errorf("the notice does not repeat what was asked for:\n%s", ns[0].body)
		}
		if n := len(s.q.history(j.env.ID())); n > 3 {
			t.Errorf("it was stored anew %d times", n)
		}
	})
}

// What an operator brings forward does not go before its client's time: only the one
// that is named does, and the queue takes its time away then.
func TestSendAtHoldsWhateverItsDueTimeSays(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		j := s.letter("u@there.test")
		j.env.Message.SendAt = time.Now().Add(time.Hour)
		s.q.add(j)
		s.after(59 * time.Minute)
		s.expect(j.env.ID())
		s.after(2 * time.Minute)
		s.expect(j.env.ID(), "done: u delivered 250")
	})
}

func TestHours(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<later@", smtptest.Answer{Reply: "450 4.2.1 Mailbox busy", Times: 1})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		began := time.Now()
		ids := map[string]string{}
		for to, hours := range map[string]string{
			"now": "Sat 00:00-06:00 UTC", "monday": "Mon-Fri 09:00-18:00 UTC", "later": "Sat 00:00-00:30 Sun 12:00-13:00 UTC",
			"never": "Fri 12:00-13:00 UTC", "short": "Sun 12:00-12:05 UTC",
		} {
			j := s.letter(to + "@there.test")
			j.env.Message.Hours = hours
			if to == "never" {
				j.env.Expires = began.Add(24 * time.Hour)
			}
			s.q.add(j)
			ids[to] = j.env.ID()
		}
		// The default schedule tries again after a minute or so; before that its hours end.
		s.after(29*time.Minute + 30*time.Second)
		s.expect(ids["now"], "done: now delivered 250")
		s.after(7 * 24 * time.Hour)
		started := func(to string, n int) time.Time {
			es := attempts(s.q.history(ids[to]))
			if len(es) <= n {
				t.Fatalf("%s: %d attempts", to, len(es))
			}
			return es[n].attempt.Started
		}
		monday := began.Add(2*24*time.Hour + 9*time.Hour)
		if at := started("monday", 0); at.Before(monday) || at.After(monday.Add(spreadMost+time.Minute)) {
			t.Errorf("for Monday at nine: sent at %s", at)
		}
		sunday := began.Add(36 * time.Hour)
		if at := started("short", 0); at.Before(sunday) || !at.Before(sunday.Add(5*time.Minute)) {
			t.Errorf("for five minutes on Sunday: sent at %s", at)
		}
		s.expect(ids["never"], "done: never failed 451") // expired before Friday
		ns := s.q.stored()
		if len(ns) != 1 || !strings.Contains(string(ns[0].body), "never@there.test") {
			t.Errorf("%d notices; want the one about what expired: mail that waits for its hours is not late", len(ns))
		}
	})
}

// Hours that end while a delivery waits for its connection: it goes back.
func TestHoursEndInTheHand(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		sink.On("RCPT", "<slow@", smtptest.Answer{Reply: "250 OK", Wait: 10 * time.Second})
		s.c.Rules, s.c.Patience = one("there.test", 1, 100), time.Minute
		s.start()
		s.after(6*time.Hour - 5*time.Second)
		s.send("slow@there.test")
		j := s.letter("u@there.test")
		j.env.Message.Hours = "00:00-06:00 UTC"
		s.q.add(j)
		s.after(time.Minute)
		s.expect(j.env.ID())
		s.after(24 * time.Hour)
		es := s.expect(j.env.ID(), "done: u delivered 250")
		if at := es[0].attempt.Started; at.Hour() >= 6 {
			t.Errorf("sent at %s", at)
		}
	})
}

func TestDeferredIntoItsHours(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<u@", smtptest.Answer{Reply: "450 4.2.1 Mailbox busy", Times: 1})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		s.after(6*time.Hour - 10*time.Second)
		j := s.letter("u@there.test")
		j.env.Message.Hours = "00:00-06:00 UTC"
		s.q.add(j)
		s.after(24 * time.Hour)
		es := s.expect(j.env.ID(), "wait: u deferred 450", "done: u delivered 250")
		if due := es[0].next.Due; due.Hour() != 0 || due.Day() != 2 {
			t.Errorf("after its hours it is due at %s", due)
		}
	})
}

func TestSpread(t *testing.T) {
	var least, most time.Duration = spreadMost, 0
	for i := range 1000 {
		d := spread(letter(i, time.Time{}, "u@there.test").env.ID(), 9*time.Hour)
		least, most = min(least, d), max(most, d)
		if d := spread(letter(i, time.Time{}, "u@there.test").env.ID(), 10*time.Minute); d < 0 || d >= time.Minute {
			t.Fatalf("%s into ten minutes", d)
		}
	}
	if least < 0 || least > 30*time.Second || most < spreadMost-30*time.Second || most >= spreadMost {
		t.Errorf("a thousand are spread from %s to %s", least, most)
	}
}

// Slots of what is due in hours are minutes wide: into short hours it goes in two steps.
func TestPostponeIntoShortHours(t *testing.T) {
	d := &Deliverer{}
	noon := time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, x := range []struct {
		hours string
		now   time.Time
		from  time.Time // due from then
		until time.Time // until then
	}{
		{"12:00-12:20 UTC", noon.Add(-6 * time.Hour), noon.Add(-nearby / 2), noon.Add(-nearby / 2)},
		{"12:00-12:20 UTC", noon.Add(-nearby / 2), noon, noon.Add(2 * time.Minute)},
		{"12:00-18:00 UTC", noon.Add(-6 * time.Hour), noon, noon.Add(spreadMost)},
		{"12:00-18:00 UTC", noon.Add(time.Hour), time.Time{}, time.Time{}},
	} {
		env := letter(1, x.now, "u@there.test").env
		env.Message.Hours = x.hours
		d.postpone(&env, x.now)
		if env.Due.Before(x.from) || env.Due.After(x.until) {
			t.Errorf("%s at %s: due %s", x.hours, x.now.Format("15:04"), env.Due)
		}
		env.Due, env.Expires = time.Time{}, x.now.Add(time.Minute)
		if d.postpone(&env, x.now); env.Due.After(env.Expires) {
			t.Errorf("%s at %s: due %s, and expires %s", x.hours, x.now.Format("15:04"), env.Due, env.Expires)
		}
	}
}
