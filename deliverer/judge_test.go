package deliverer

import (
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/replies"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// judges sets a story up with two rules.
func judges(t testing.TB, s *story) {
	pack, err := replies.New(nil, []replies.Rule{
		{Name: "too-much", For: []string{"mx:mx1.test"}, When: replies.When{Text: "too much"}, Class: replies.RateLimited},
		{Name: "banner", For: []string{"*"}, When: replies.When{Text: "no service", Phase: []replies.Phase{replies.Connect}}, Class: replies.SpamBlock},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.c.Replies = pack
}

func TestOutcomesHaveTheirClass(t *testing.T) {
	tell(t, func(s *story) {
		judges(t, s)
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		sink.On("RCPT", "<full@", smtptest.Answer{Reply: "452 4.2.2 Mailbox full"})
		sink.On("RCPT", "<much1@", smtptest.Answer{Reply: "450 4.7.1 too much for much1"})
		sink.On("RCPT", "<much2@", smtptest.Answer{Reply: "450 4.7.1 too much for much2"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		id := s.send("no@there.test", "full@there.test", "much1@there.test", "much2@there.test", "yes@there.test")
		s.after(10 * time.Second)
		e := s.q.history(id)[0]
		var got []string
		for _, o := range e.attempt.Outcomes {
			got = append(got, o.Recipient.Local()+" "+o.Class+" "+o.Action)
		}
		want := "no InvalidRecipient suppress; full QuotaIssues delay; much1 RateLimited slow; much2 RateLimited slow; yes  "
		if g := strings.Join(got, "; "); g != want {
			s.Errorf("%s\nwant %s", g, want)
		}
		if e.next.LastClass != "QuotaIssues" {
			s.Errorf("last class %q", e.next.LastClass)
		}
		if !strings.Contains(s.log.String(), "class=InvalidRecipient") {
			s.Errorf("no class in the attempt's line:\n%s", s.log)
		}
		if n := string(s.q.stored()[0].body); !strings.Contains(n, "X-Tarishi-Bounce-Class: InvalidRecipient\r\n") {
			s.Errorf("no class in the notice:\n%s", n)
		}
		var counted []string
		for _, c := range s.d.Stats().Classes {
			counted = append(counted, c.Class)
		}
		if g := strings.Join(counted, " "); g != "InvalidRecipient QuotaIssues RateLimited" {
			s.Errorf("counted: %s", g)
		}
	})
}

// A host that does not let us in, and one that nobody answers at.
func TestConnectionsHaveTheirClass(t *testing.T) {
	tell(t, func(s *story) {
		judges(t, s)
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("CONNECT", "", smtptest.Answer{Reply: "554 5.7.1 no service for you"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.mx("gone.test", 9)
		s.start()
		there, gone := s.send("b@there.test"), s.send("b@gone.test")
		s.after(10 * time.Second)
		if o := s.q.history(there)[0].attempt.Outcomes[0]; o.Class != "SpamBlock" {
			s.Errorf("%+v", o)
		}
		if o := s.q.history(gone)[0].attempt.Outcomes[0]; o.Class != "NoAnswerFromHost" || o.Host != "" {
			s.Errorf("%+v", o)
		}
	})
}
