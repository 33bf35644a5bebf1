package deliverer

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// Without a live session nothing new starts, limited or not; what is under way goes
// on. A few seconds of it cost no mail a round through the queue.
func TestNothingStartsWithoutTheScheduler(t *testing.T) {
	for name, rule := range map[string]memRule{"unlimited": {}, "limited": {messages: []memWindow{{100000, hour}}}, "slots": {connections: 3}} {
		run := func(t *testing.T, outage time.Duration) (stored int) {
			tell(t, func(s *story) {
				m := s.under(map[string]memRule{"*": rule})
				sink := &smtptest.Sink{Discard: true}
				defer sink.Close()
				sink.On("DOT", "<slow@", smtptest.Answer{Wait: 3 * time.Second, Reply: "250 2.0.0 Taken"})
				sink.On("DOT", "", smtptest.Answer{Wait: 20 * time.Millisecond, Reply: "250 2.0.0 Taken"})
				s.mx("there.test", 1)
				s.mx("new.test", 2)
				s.sink(1, sink)
				s.sink(2, sink)
				s.start()
				slow := s.send("slow@there.test")
				s.after(time.Second)
				for range 3000 {
					s.send("b@there.test")
				}
				s.after(500 * time.Millisecond)
				if outage > 0 {
					m.live(false)
					s.after(time.Millisecond)
					starts, dials, before := len(s.taps.starts()), len(s.dialled), s.parked()
					s.send("b@new.test")
					s.after(outage)
					if n := len(s.taps.starts()); n != starts {
						s.Errorf("%d started without a session", n-starts)
					}
					if n := len(s.dialled); n != dials {
						s.Errorf("%d dialled without a session", n-dials)
					}
					if n := s.parked(); n != before {
						s.Errorf("%d were stored anew without a session", n-before)
					}
					s.expect(slow, "done: slow delivered 250")
					if s.d.Stats().Live {
						s.Error("Stats say that the session lives")
					}
					m.live(true)
				}
				s.after(5 * time.Minute)
				if n := sink.Count(); n < 3001 {
					s.Errorf("%d of 3001 or more arrived", n)
				}
				for _, line := range []string{"no live session", "session lives"} {
					if n := strings.Count(s.log.String(), line); n != 1 && outage > 0 {
						s.Errorf("%d lines say %q", n, line)
					}
				}
				stored = s.parked()
			})
			return stored
		}
		t.Run(name, func(t *testing.T) {
			without, with := run(t, 0), run(t, 9*time.Second)
			if with > without+without/10+100 {
				t.Errorf("%d were stored anew with an outage of 9 seconds, %d without", with, without)
			}
		})
	}
}

// A scheduler that looks for a leader grants nothing and says nothing for some
// seconds, while the session still stands: mail that needs permits waits for it in
// the hand.
func TestSilenceParksNothing(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {messages: []memWindow{{1000, time.Second}}}})
		sink := &smtptest.Sink{Discard: true}
		defer sink.Close()
		sink.On("DOT", "", smtptest.Answer{Wait: 50 * time.Millisecond, Reply: "250 2.0.0 Taken"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		s.send("b@there.test")
		s.after(time.Second)
		m.mu.Lock()
		m.frozen = true
		m.mu.Unlock()
		for range 1000 {
			s.send("b@there.test")
		}
		s.after(9 * time.Second)
		if n := s.parked(); n != 0 {
			s.Errorf("%d were stored anew while the scheduler was silent", n)
		}
		m.mu.Lock()
		m.frozen = false
		m.mu.Unlock()
		m.poke()
		s.after(10 * time.Second)
		if n := sink.Count(); n != 1001 {
			s.Errorf("%d of 1001 arrived", n)
		}
		if n := s.parked(); n > 100 {
			s.Errorf("%d were stored anew after it had found its leader", n)
		}
	})
}

// A node that stays cut off lets go of what others could send, untouched.
func TestLongOutageGivesTheHandBack(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{})
		s.mx("there.test", 1)
		sink := quick()
		defer sink.Close()
		s.sink(1, sink)
		s.start()
		s.after(time.Second)
		for range 1000 {
			s.send("b@there.test")
		}
		s.after(2 * time.Second)
		m.live(false)
		s.after(14 * time.Second)
		held := s.d.Stats().Hand
		if held == 0 {
			s.Fatal("nothing in the hand; the test shows nothing")
		}
		s.after(6 * time.Second)
		st := s.d.Stats()
		if st.Hand != 0 || st.Parked != 0 || st.Released < uint64(held) {
			s.Errorf("%d still in the hand, %d stored anew, %d released of %d", st.Hand, st.Parked, st.Released, held)
		}
		m.live(true)
		s.after(2 * time.Minute)
		if sink.Count() != 1000 {
			s.Errorf("%d of 1000 arrived", sink.Count())
		}
	})
}

// A limit set at run time binds from the moment its version is in force, on
// connections that stand and on jobs that were on their way.
func TestLimitComesInForce(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{})
		sink := quick()
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		for range 3000 {
			s.send("b@there.test")
		}
		s.after(2 * time.Second)
		if _, peak := s.taps.connections(); peak < 10 {
			s.Fatalf("%d connections", peak)
		}
		w := memWindow{4, 2 * time.Second}
		stood := s.taps.level()
		m.set("*", memRule{messages: []memWindow{w}, connections: 3})
		began := time.Now()
		s.after(time.Second)
		if open, _ := s.taps.connections(); open > 3 {
			s.Errorf("%d connections a second after 3 were allowed", open)
		}
		if _, peak := s.taps.connections(); peak > stood {
			s.Errorf("%d connections at a time, %d stood when 3 were allowed", peak, stood)
		}
		s.after(30 * time.Second)
		var since []tapped
		for _, x := range s.taps.starts() {
			if x.at.After(began) {
				since = append(since, x)
			}
		}
		exact(s.T, "starts under the new limit", since, w, each)
		if len(since) < 50 {
			s.Errorf("%d started in 30 s, 60 were allowed", len(since))
		}
		m.set("*", memRule{})
		s.after(time.Minute)
		if n := sink.Count(); n < 2900 {
			s.Errorf("%d arrived after the limit was taken back", n)
		}
		if n := m.slots[there].held(); n != 0 {
			s.Errorf("%d slots of a limit that is no more", n)
		}
	})
}

// A suspension stops everything at once; the transactions under way end by themselves.
func TestSuspensionComesInForce(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{})
		sink := quick()
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		for range 2000 {
			s.send("b@there.test")
		}
		s.after(2 * time.Second)
		m.set("*", memRule{suspended: true})
		before := len(s.taps.starts())
		s.after(10 * time.Minute)
		if n := len(s.taps.starts()); n != before {
			s.Errorf("%d started while suspended", n-before)
		}
		if open, _ := s.taps.connections(); open != 0 {
			s.Errorf("%d connections stand", open)
		}
		if h := s.d.Stats().Hand; h != 0 {
			s.Errorf("%d in the hand of a suspended destination", h)
		}
		m.set("*", memRule{})
		s.after(time.Minute)
		if sink.Count() != 2000 {
			s.Errorf("%d of 2000 arrived", sink.Count())
		}
	})
}

// A rule that makes a domain a destination of its own takes it off the connections
// of the one it belonged to.
func TestConnectionsNeverCrossDestinations(t *testing.T) {
	tell(t, func(s *story) {
		own := false
		m := s.under(map[string]memRule{"domain:a.test": {messages: []memWindow{{5, time.Minute}}}})
		m.key = func(d mail.Domain, mx []string) shaping.Destination {
			if own && d == "a.test" {
				return shaping.Destination{Key: "domain:a.test"}
			}
			return shaping.Destination{Key: "name:big"}
		}
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("a.test", 1)
		s.mx("b.test", 1)
		s.sink(1, sink)
		s.c.Rules = one("*", 1, 0)
		s.start()
		for range 20 {
			s.send("x@a.test")
			s.send("x@b.test")
		}
		s.after(time.Second)
		if total, _ := sink.Connections(); total != 1 {
			s.Errorf("%d connections to one site of one destination", total)
		}
		m.mu.Lock()
		own = true
		m.mu.Unlock()
		m.set("other", memRule{})
		began := time.Now()
		for range 20 {
			s.send("x@a.test")
			s.send("x@b.test")
		}
		s.after(2 * time.Second)
		by := map[int]map[string]bool{}
		n := 0
		for _, x := range sink.Messages() {
			if x.Received.Before(began) {
				continue
			}
			if by[x.Connection] == nil {
				by[x.Connection] = map[string]bool{}
			}
			by[x.Connection][x.To[0]] = true
			if strings.Contains(x.To[0], "@a.test") {
				n++
			}
		}
		for c, to := range by {
			if len(to) > 1 {
				s.Errorf("connection %d carried mail of two destinations", c)
			}
		}
		if n != 5 {
			s.Errorf("%d to a.test under its new limit of 5", n)
		}
	})
}

// Mail is sent from the address that is configured, to hosts it can reach.
func TestSource(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	from := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			from <- err.Error()
			return
		}
		defer c.Close()
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		from <- host
	}()
	q := newMemQueue(t)
	d, err := New(Config{Hostname: "us.test", Queue: q, Store: q, Source: netip.MustParseAddr("127.0.0.9")})
	if err != nil {
		t.Fatal(err)
	}
	c := &carrier{d: d, path: &path{}}
	conn, err := c.connectTo(t.Context(), &target{addr: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got := <-from; got != "127.0.0.9" {
		t.Errorf("connected from %s", got)
	}
	w := &world{domains: map[mail.Domain]domain{"six.test": {hosts: []Host{{Name: "mx.test", Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}}}}}
	d.c.Hosts = w
	if _, err := d.hosts(t.Context(), "six.test", d.c.Source); err == nil || !strings.Contains(err.Error(), "can be reached from 127.0.0.9") {
		t.Errorf("hosts of another family: %v", err)
	}
	if _, err := New(Config{Hostname: "us.test", Queue: q, Store: q, Source: netip.MustParseAddr("127.0.0.9"), Dial: w.dial}); err == nil {
		t.Error("a source beside a dialler of its own passes")
	}
}

// On the real network each address that is dialled spends one permit, right before
// it is dialled, also when one name has several.
func TestEachAddressDialledIsAsked(t *testing.T) {
	q := newMemQueue(t)
	m := newMemScheduler(t)
	m.out = func() *Deliverer { return nil }
	m.rules["*"] = memRule{dials: []memWindow{{5, hour}}}
	d, err := New(Config{Hostname: "us.test", Queue: q, Store: q, Scheduler: m})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	d.mu.Lock()
	d.keepUp(time.Now())
	p := d.join(&lane{laneKey: laneKey{dest: "there.test"}}, "x", nil)
	d.mu.Unlock()
	c := &carrier{d: d, path: p}
	p.account.dials.Want(5, 0, 0)
	for deadline := time.Now().Add(5 * time.Second); ; {
		if n, _ := p.account.dials.Ready(); n == 5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no permits")
		}
		time.Sleep(time.Millisecond)
	}
	m.life = time.Hour
	for i := range 3 {
		if _, err := c.connectTo(t.Context(), &target{addr: closed}); err == nil {
			t.Error("connected to a closed port")
		}
		m.mu.Lock()
		used := len(m.lanes[memKey{p.to, "", mail.Normal, true}].uses)
		m.mu.Unlock()
		if used != i+1 {
			t.Errorf("%d permits used for %d dials", used, i+1)
		}
	}
	m.live(false)
	if _, err := c.connectTo(t.Context(), &target{addr: closed}); !errors.Is(err, errNotLive) {
		t.Errorf("dialled without a session: %v", err)
	}
	if used := len(m.lanes[memKey{p.to, "", mail.Normal, true}].uses); used != 3 {
		t.Errorf("%d permits used after a dial that was not allowed", used)
	}
}
