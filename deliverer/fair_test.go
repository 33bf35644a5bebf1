package deliverer

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// post makes a delivery of a tenant and class; its sender is named after both.
func (s *story) post(tenant string, class mail.Class, to string) *memJob {
	j := s.letter(to)
	m := j.env.Message
	m.Tenant, m.Class = tenant, class
	m.Sender = mail.NewAddress(fmt.Sprintf("%s-%s@here.test", tenant, class))
	return j
}

// wait puts deliveries where they wait, due at once.
func (s *story) wait(js ...*memJob) {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	for _, j := range js {
		j.q = s.q
		s.q.waiting = append(s.q.waiting, j)
	}
	signal(s.q.poke)
}

// started counts the starts of a sender.
func (s *story) started(tenant string, class mail.Class) (n int) {
	for _, x := range s.taps.starts() {
		if x.from == fmt.Sprintf("%s-%s@here.test", tenant, class) {
			n++
		}
	}
	return n
}

// many gives n domains hosts of their own at one address.
func (s *story) many(n int) (domains []string) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	for i := range n {
		d := fmt.Sprintf("d%d.test", i)
		s.domains[mail.Domain(d)] = domain{site: d, hosts: []Host{{Name: "mx." + d, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})}}}}
		domains = append(domains, d)
	}
	return domains
}

// One message of a tenant is attempted within two seconds, however much of another's
// waits for the same destination, or for thousands of slow ones, and wherever it waits.
func TestOneTenantsFloodDoesNotDelayAnothers(t *testing.T) {
	for name, x := range map[string]struct {
		destinations int
		each         time.Duration // what the receiver takes for one
		ready        bool          // the flood is new mail, some of it before the other's
		limited      bool
	}{
		"one open destination":                {1, 100 * time.Millisecond, false, false},
		"one open destination with a limit":   {1, 100 * time.Millisecond, false, true},
		"thousands of slow destinations":      {2000, time.Minute, false, false},
		"new mail for one open destination":   {1, 100 * time.Millisecond, true, false},
		"new mail for thousands of slow ones": {2000, time.Minute, true, false},
		"thousands of slow ones, with limits": {2000, time.Minute, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				s.c.Log = slog.New(slog.DiscardHandler)
				if x.limited {
					s.under(map[string]memRule{"*": {messages: []memWindow{{1000, time.Second}}, connections: 3}})
				} else {
					s.tap()
				}
				sink := &smtptest.Sink{Discard: true}
				defer sink.Close()
				sink.On("DOT", "", smtptest.Answer{Wait: x.each, Reply: "250 2.0.0 Taken"})
				s.sink(1, sink)
				s.c.HandJobs = 400
				domains := s.many(x.destinations + 1)
				flood := func(n int) (js []*memJob) {
					for i := range n {
						js = append(js, s.post("many", mail.Normal, "b@"+domains[i%x.destinations]))
					}
					return js
				}
				if x.ready {
					s.q.add(flood(4000)...)
				} else {
					s.wait(flood(4000)...)
				}
				s.start()
				s.after(30 * time.Second)
				to := domains[x.destinations] // one of its own,
				if x.destinations == 1 {
					to = domains[0] // or the one that is flooded
				}
				if x.ready {
					s.q.add(flood(200)...) // as much as READY has of a tenant before him
				}
				s.q.add(s.post("new", mail.Normal, "b@"+to))
				s.wait(s.post("old", mail.Normal, "b@"+to))
				s.after(2 * time.Second)
				if n, o := s.started("new", mail.Normal), s.started("old", mail.Normal); n != 1 || o != 1 {
					s.Errorf("after 2 s: new mail %d of 1, mail that waited %d of 1; of the flood %d", n, o, s.started("many", mail.Normal))
				}
				if s.q.peak > 410 { // both readers may find the same room
					s.Errorf("%d in the hand", s.q.peak)
				}
			})
		})
	}
}

// A tenant that is alone fills all the connections there are.
func TestTenantAloneUsesEverything(t *testing.T) {
	tell(t, func(s *story) {
		s.c.Log = slog.New(slog.DiscardHandler)
		s.tap()
		sink := &smtptest.Sink{Discard: true}
		defer sink.Close()
		sink.On("DOT", "", smtptest.Answer{Wait: 10 * time.Second, Reply: "250 2.0.0 Taken"})
		s.sink(1, sink)
		s.c.HandJobs = 400
		domains := s.many(200)
		for i := range 4000 {
			s.wait(s.post("only", mail.Bulk, "b@"+domains[i%200]))
		}
		s.start()
		s.after(time.Minute)
		// 300 of 400 are for what has waited, 50 of them kept for others.
		if _, open := sink.Connections(); open < 240 {
			s.Errorf("%d connections at work", open)
		}
	})
}

// A destination that takes less than there is is shared by weight, and what is kept
// for high mail is there when high mail comes.
func TestShutDestinationIsSharedByWeight(t *testing.T) {
	for _, ready := range []bool{false, true} {
		t.Run(fmt.Sprint("new mail ", ready), func(t *testing.T) {
			tell(t, func(s *story) {
				s.c.Log = slog.New(slog.DiscardHandler)
				w := memWindow{20, 5 * time.Second}
				m := s.under(map[string]memRule{"*": {messages: []memWindow{w}, high: 20}})
				m.weights = map[string]int{"heavy": 4}
				m.key = func(mail.Domain, []string) shaping.Destination { return shaping.Destination{Key: "name:big"} }
				sink := &smtptest.Sink{Discard: true}
				defer sink.Close()
				s.sink(1, sink)
				domains := s.many(20)
				var js []*memJob
				for i := range 2000 {
					js = append(js, s.post("light", mail.Normal, "b@"+domains[i%20]), s.post("mass", mail.Bulk, "b@"+domains[i%20]))
					if i%2 == 0 {
						js = append(js, s.post("heavy", mail.Normal, "b@"+domains[0]))
					}
				}
				if ready {
					s.q.add(js...)
				} else {
					s.wait(js...)
				}
				s.start()
				s.after(2 * time.Minute)
				late := 0
				for i := range 30 {
					s.q.add(s.post("urgent", mail.High, "b@"+domains[1]))
					s.after(2 * time.Second)
					if s.started("urgent", mail.High) != i+1 {
						late++
					}
				}
				s.after(2 * time.Minute)
				exact(s.T, "starts", s.taps.starts(), w, each)
				heavy, light, mass := s.started("heavy", mail.Normal), s.started("light", mail.Normal), s.started("mass", mail.Bulk)
				if late > 0 || s.started("urgent", mail.High) != 30 {
					s.Errorf("%d of 30 high messages were not tried within 2 s", late)
				}
				// 16 of 20 are everybody's: 3.2 a second, for five minutes.
				if n := heavy + light; n < 850 || n > 970 || mass > 60 {
					s.Errorf("normal mail had %d of 960, bulk %d", n, mass)
				}
				if f := float64(heavy) / float64(light); f < 3.5 || f > 4.5 {
					s.Errorf("the heavy one had %d, the light one %d: %.2f times as much, want 4", heavy, light, f)
				}
			})
		})
	}
}

// Where connections are what is short, and nothing else, they are shared by weight.
func TestConnectionsAreSharedByWeight(t *testing.T) {
	tell(t, func(s *story) {
		s.c.Log = slog.New(slog.DiscardHandler)
		m := s.under(map[string]memRule{"*": {connections: 2}})
		m.weights = map[string]int{"heavy": 3}
		sink := &smtptest.Sink{Discard: true}
		defer sink.Close()
		sink.On("DOT", "", smtptest.Answer{Wait: 200 * time.Millisecond, Reply: "250 2.0.0 Taken"})
		s.sink(1, sink)
		domains := s.many(1)
		for range 3000 {
			s.wait(s.post("heavy", mail.Normal, "b@"+domains[0]), s.post("light", mail.Normal, "b@"+domains[0]))
		}
		s.start()
		s.after(3 * time.Minute)
		heavy, light := s.started("heavy", mail.Normal), s.started("light", mail.Normal)
		if f := float64(heavy) / float64(light); heavy+light < 1500 || f < 2.5 || f > 3.5 {
			s.Errorf("the heavy one had %d, the light one %d: %.2f times as much, want 3", heavy, light, f)
		}
	})
}

// A notice is the mail of the tenant whose message it is about, and of its class.
func TestNoticeIsItsTenantsMail(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		s.sink(1, sink)
		s.many(1)
		s.start()
		s.q.add(s.post("acme", mail.Bulk, "b@d0.test"))
		s.after(time.Second)
		ns := s.q.stored()
		if len(ns) != 1 || ns[0].m.Tenant != "acme" || ns[0].m.Class != mail.Bulk {
			s.Errorf("stored: %+v", ns)
		}
	})
}
