package deliverer

import (
	"errors"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// What was decided in an earlier life is settled, not attempted: the receiver might
// take by now what the sender has been told is lost.
func TestDecided(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		j := s.letter("no@there.test", "later@there.test")
		out := func(i int, st mail.Status, code int) mail.Outcome {
			return mail.Outcome{Recipient: j.env.Recipients[i], Status: st, Host: "mx1.test", Reply: mail.R(code, "", "so")}
		}
		j.reborn, j.number = true, 1
		j.decided = &Attempt{Started: time.Now().Add(-time.Second), Host: "mx1.test", Outcomes: []mail.Outcome{out(0, mail.Failed, 550), out(1, mail.Deferred, 450)}}
		s.q.add(j)
		s.start()
		s.after(time.Second)
		s.expect(j.env.ID(), "wait: no failed 550 later deferred 450")
		if n := s.dials(addr(1)); n != 0 {
			s.Errorf("%d connections", n)
		}
		if ns := s.q.stored(); len(ns) != 1 || ns[0].m.Origin != j.env.Message.ID {
			s.Errorf("%d notices", len(ns))
		}
		s.after(10 * time.Minute) // and the other is tried again
		if n := sink.Count(); n != 1 {
			s.Errorf("%d arrived", n)
		}
	})
}

// Nobody is told what could not be recorded: the recipient is tried again.
func TestDecide_fails(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.q.decideErr = errors.New("no journal")
		s.start()
		id := s.send("no@there.test")
		s.after(time.Second)
		s.expect(id, "wait: no deferred 550")
		if ns := s.q.stored(); len(ns) != 0 {
			s.Errorf("%d notices", len(ns))
		}
	})
}
