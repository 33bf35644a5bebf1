package deliverer

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

var there = shaping.Destination{Key: "site:mx1.test"}

// quick is a sink that takes a tenth of a second for a message.
func quick() *smtptest.Sink {
	s := &smtptest.Sink{}
	s.On("DOT", "", smtptest.Answer{Wait: 100 * time.Millisecond, Reply: "250 2.0.0 Taken"})
	return s
}

// Two connections are all that is allowed: never a third, and both are kept busy
// with what comes and with what waits, for as many messages as one may carry.
func TestFewConnectionsAreKeptBusy(t *testing.T) {
	for name, waited := range map[string]bool{"new mail": false, "backlog": true} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				m := s.under(map[string]memRule{"*": {connections: 2, perConnection: 50}})
				sink := quick()
				defer sink.Close()
				s.mx("there.test", 1)
				s.sink(1, sink)
				if waited {
					s.backlog(2000, "b@there.test")
				} else {
					for range 2000 {
						s.send("b@there.test")
					}
				}
				s.start()
				s.after(40 * time.Second)
				_, peak := s.taps.connections()
				if peak != 2 {
					s.Errorf("%d connections at a time, want 2", peak)
				}
				// 20 messages a second are possible: a host that has hung up itself needs no rest.
				if n := sink.Count(); n < 40*20*95/100 {
					s.Errorf("%d sent in 40 s over two connections, want 760 or more", n)
				}
				per := map[int]int{}
				for _, x := range sink.Messages() {
					per[x.Connection]++
				}
				for c, n := range per {
					if n > 50 || n < 50 && c < len(per)-2 {
						s.Errorf("connection %d carried %d messages, want 50", c, n)
					}
				}
				if got := s.d.Stats().SlotsHeld; got != 2 {
					s.Errorf("%d slots held", got)
				}
				if waited && s.q.peak > 120 {
					s.Errorf("%d in the hand for two connections", s.q.peak)
				}
				s.stop()
				if n := m.slots[there].held(); n != 0 {
					s.Errorf("%d slots are still held", n)
				}
			})
		})
	}
}

// A slot that others wait for goes to them after the transaction under way, and
// comes back when they are done.
func TestEndingSlotIsHandedOver(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {connections: 1}})
		sink := quick()
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		for range 1000 {
			s.send("b@there.test")
		}
		s.start()
		s.after(5 * time.Second)
		x := m.slots[there]
		m.mu.Lock()
		x.other = 1 // somebody else's turn
		m.mu.Unlock()
		x.each(func(s *memSlot) { s.ending = true })
		s.after(300 * time.Millisecond)
		before := sink.Count()
		if open, _ := s.taps.connections(); open != 0 || x.held() != 0 {
			s.Errorf("%d connections and %d slots after the slot was asked for", open, x.held())
		}
		s.after(3 * time.Second)
		if n := sink.Count(); n != before {
			s.Errorf("%d sent without a slot", n-before)
		}
		m.mu.Lock()
		x.other = 0
		m.mu.Unlock()
		m.poke()
		s.after(5 * time.Second)
		if n := sink.Count(); n < before+30 {
			s.Errorf("%d sent in 5 s once the slot was free again", n-before)
		}
		for _, e := range attempts(s.q.ended) {
			if e.how != "done" {
				s.Errorf("%s", became(e))
			}
		}
	})
}

// An idle connection gives its slot up when others want it, and by itself soon.
func TestIdleSlots(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {connections: 3}})
		sink := quick()
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		s.send("b@there.test")
		s.after(time.Second)
		x := m.slots[there]
		if x.held() != 1 {
			s.Fatalf("%d slots while the connection idles", x.held())
		}
		x.each(func(s *memSlot) { s.ending = true })
		s.after(100 * time.Millisecond)
		if x.held() != 0 {
			s.Error("the idle connection kept a slot that others wait for")
		}
		s.send("b@there.test")
		s.after(10 * time.Second)
		if x.held() != 0 || x.want != 0 {
			s.Errorf("%d slots held and %d wanted when nothing has been sent for long", x.held(), x.want)
		}
	})
}

// When the lease cannot be renewed nothing new starts on its connection, and it is
// closed in time, in the middle of a message if need be. That is nobody's attempt.
func TestLeaseRunsOut(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {connections: 2}})
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<stuck@", smtptest.Answer{Stall: true, Times: 1})
		sink.On("DOT", "<doubt@", smtptest.Answer{Stall: true, Times: 1})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		stuck, doubt := s.send("stuck@there.test"), s.send("doubt@there.test")
		s.after(2 * time.Second)
		x := m.slots[there]
		end := time.Now().Add(10 * time.Second)
		x.each(func(s *memSlot) { s.stale, s.deadline = true, end })
		waits := s.send("b@there.test")
		s.after(time.Until(end) - 4*time.Second)
		if open, _ := s.taps.connections(); open != 2 || len(s.q.history(stuck)) != 0 {
			s.Errorf("%d connections four seconds before the end of the lease", open)
		}
		s.after(time.Until(end) - 2500*time.Millisecond)
		if open, _ := s.taps.connections(); open != 0 {
			s.Errorf("%d connections at the end of the lease", open)
		}
		if n := s.d.Stats().LeasesCut; n != 2 {
			s.Errorf("%d cut, want 2", n)
		}
		es := s.q.history(stuck)
		if len(es) != 1 || es[0].next.Attempts != 0 || time.Until(es[0].next.Due) > time.Second {
			s.Errorf("what was cut before the dot: %+v", es)
		}
		s.expect(doubt, "wait: doubt deferred 451") // its dot was sent: by the schedule
		s.after(time.Minute + 10*time.Second)
		s.expect(waits, "done: b delivered 250")
		if es := s.q.history(stuck); len(es) == 0 || became(es[len(es)-1]) != "done: stuck delivered 250" {
			s.Errorf("at last %v", es)
		}
		if s.taps.peak > 2 {
			s.Errorf("%d connections", s.taps.peak)
		}
	})
}

// Paths of one destination share its slots: an idle connection to one site makes
// way for another site's mail.
func TestSlotsAreSharedBySites(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"name:big": {connections: 2}})
		m.key = func(mail.Domain, []string) shaping.Destination { return shaping.Destination{Key: "name:big"} }
		sink := quick()
		defer sink.Close()
		s.sink(1, sink)
		for i := range 6 {
			d := mail.Domain(fmt.Sprintf("d%d.test", i))
			s.domains[d] = domain{site: string(d), hosts: []Host{{Name: string(d), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})}}}}
		}
		s.start()
		for i := range 60 {
			s.send(fmt.Sprintf("b@d%d.test", i%6))
		}
		s.after(20 * time.Second)
		if sink.Count() != 60 {
			s.Errorf("%d of 60 arrived within 20 s", sink.Count())
		}
		if _, peak := s.taps.connections(); peak != 2 {
			s.Errorf("%d connections, want 2", peak)
		}
	})
}

// Connections that stand when a limit comes count towards it, on whichever path.
func TestConnectionsFromBeforeTheLimitCount(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{})
		m.key = func(mail.Domain, []string) shaping.Destination { return shaping.Destination{Key: "name:big"} }
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("DOT", "", smtptest.Answer{Wait: 3 * time.Second, Reply: "250 2.0.0 Taken"})
		s.mx("a.test", 1)
		s.mx("b.test", 2)
		s.sink(1, sink)
		s.sink(2, sink)
		s.start()
		for range 80 {
			s.send("x@a.test")
		}
		s.after(4 * time.Second)
		stood := s.taps.level()
		m.set("name:big", memRule{connections: 8})
		for range 40 {
			s.send("x@b.test")
		}
		s.after(2 * time.Minute)
		if _, peak := s.taps.connections(); stood != 20 || peak != stood {
			s.Errorf("%d connections at a time, %d stood when 8 were allowed", peak, stood)
		}
		s.taps.level()
		for range 40 {
			s.send("x@b.test")
		}
		s.after(time.Minute)
		if _, peak := s.taps.connections(); peak > 8 || sink.Count() != 160 {
			s.Errorf("%d connections at a time in the end, %d arrived", peak, sink.Count())
		}
	})
}

// A connection that breaks in an attempt is replaced under the same slot, a moment
// later: the receiver must not see one too many.
func TestNextHostUnderTheSameSlot(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {connections: 1}})
		first, second := &smtptest.Sink{}, &smtptest.Sink{}
		defer first.Close()
		defer second.Close()
		first.On("MAIL", "", smtptest.Answer{Cut: true})
		var at []time.Time
		dial := func(k *smtptest.Sink) func() (net.Conn, error) {
			return func() (net.Conn, error) { at = append(at, time.Now()); return k.Dial(), nil }
		}
		s.mx("there.test", 1, 2)
		s.set(addr(1), dial(first))
		s.set(addr(2), dial(second))
		s.start()
		id := s.send("b@there.test")
		s.after(3 * time.Second)
		s.expect(id, "done: b delivered 250")
		if len(at) != 2 || at[1].Sub(at[0]) < time.Second {
			s.Errorf("dialled at %v", at)
		}
		if x := m.slots[shaping.Destination{Key: "site:mx1.test,mx2.test"}]; x.held() != 1 {
			s.Errorf("%d slots", x.held())
		}
	})
}

// Without a scheduler of its own limit, the process's rules hold.
func TestRulesOfTheProcessHoldBesides(t *testing.T) {
	tell(t, func(s *story) {
		s.under(map[string]memRule{"*": {}})
		s.c.Rules = one("*", 3, 10)
		sink := quick()
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		for range 300 {
			s.send("b@there.test")
		}
		s.start()
		s.after(15 * time.Second)
		if _, peak := s.taps.connections(); peak != 3 || sink.Count() != 300 {
			s.Errorf("%d connections, %d arrived", peak, sink.Count())
		}
		if strings.Contains(s.log.String(), "permit=") {
			s.Error("a permit where there is no limit")
		}
	})
}
