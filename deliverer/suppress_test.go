package deliverer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// memList is a suppression list whose filter takes "maybe" for everybody whose local
// part says so.
type memList struct {
	mu      sync.Mutex
	on      map[string]bool
	down    bool
	looked  int
	bounced []string
}

func (l *memList) Maybe(to mail.Address, _ string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.on[to.Raw] || strings.HasPrefix(to.Raw, "maybe")
}

func (l *memList) Look(_ context.Context, to mail.Address, _ string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looked++
	if l.down {
		return "", errors.New("no majority")
	}
	if l.on[to.Raw] {
		return "on the list", nil
	}
	return "", nil
}

func (l *memList) Bounced(env *mail.Delivery, attempt int, o *mail.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bounced = append(l.bounced, fmt.Sprintf("%s/%d %s %d", env.ID(), attempt, o.Recipient.Local(), o.Reply.Code))
}

func TestSuppressed(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		l := &memList{on: map[string]bool{"gone@there.test": true}}
		s.c.Suppressions = l
		s.start()
		alone := s.send("gone@there.test")
		s.after(time.Second)
		es := s.expect(alone, "done: gone failed 550")
		if n := s.dials(addr(1)); n != 0 {
			t.Errorf("%d connections for one who is on the list", n)
		}
		if o := es[0].attempt.Outcomes[0]; o.Class != "Suppressed" || o.Host != "" || o.Reply.Text != "on the list" {
			t.Errorf("outcome %+v", o)
		}
		ns := s.q.stored()
		if len(ns) != 1 || !strings.Contains(string(ns[0].body), "Status: 5.7.1") || !strings.Contains(string(ns[0].body), "gone@there.test") {
			t.Errorf("%d notices", len(ns))
		}
		if len(l.bounced) != 0 {
			t.Errorf("what the list says came back to it: %v", l.bounced)
		}

		// The others of the same delivery are not held up, nor is one that only seems to be on it.
		many := s.send("u@there.test", "gone@there.test", "maybe@there.test")
		seems := s.send("maybe2@there.test")
		s.after(time.Minute)
		s.expect(many, "wait: u deferred 451 gone failed 550 maybe deferred 451", "done: u delivered 250 maybe delivered 250")
		s.expect(seems, "done: maybe2 delivered 250")
		if st := s.d.Stats(); st.Suppressed != 2 {
			t.Errorf("%d counted", st.Suppressed)
		}
	})
}

// A list that does not answer keeps mail waiting, and only what may be on it.
func TestSuppressionListDown(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		l := &memList{on: map[string]bool{"gone@there.test": true}, down: true}
		s.c.Suppressions = l
		s.start()
		gone, u := s.send("gone@there.test"), s.send("u@there.test")
		s.after(10 * time.Minute)
		s.expect(u, "done: u delivered 250")
		s.expect(gone)
		if l.looked < 5 || l.looked > 12 {
			t.Errorf("asked %d times in 10 minutes", l.looked)
		}
		l.mu.Lock()
		l.down = false
		l.mu.Unlock()
		s.after(2 * time.Minute)
		s.expect(gone, "done: gone failed 550")
	})
}

// One who comes on the list while his mail waits in memory is not sent it either.
func TestSuppressedInTheHand(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		sink.On("RCPT", "<slow@", smtptest.Answer{Reply: "250 OK", Wait: 2 * time.Second})
		l := &memList{on: map[string]bool{}}
		s.c.Suppressions, s.c.Rules = l, one("there.test", 1, 100)
		s.start()
		s.send("slow@there.test")
		gone := s.send("gone@there.test")
		s.after(time.Second)
		l.mu.Lock()
		l.on["gone@there.test"] = true
		l.mu.Unlock()
		s.after(time.Minute)
		s.expect(gone, "done: gone failed 550")
	})
}

func TestBouncesAreTold(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		sink.On("RCPT", "<later@", smtptest.Answer{Reply: "450 4.2.1 Mailbox busy", Times: 1})
		sink.On("RCPT", "<policy@", smtptest.Answer{Reply: "550 5.7.1 Not from you"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		l := &memList{}
		s.c.Suppressions = l
		s.start()
		id := s.send("yes@there.test", "later@there.test", "no@there.test")
		s.send("u@nowhere.test")    // our own word, not a host's
		s.send("policy@there.test") // a host's, and not about the mailbox
		s.after(time.Hour)
		if want := []string{id + "/1 no 550"}; !slices.Equal(l.bounced, want) {
			t.Errorf("told %q, want %q", l.bounced, want)
		}
	})
}
