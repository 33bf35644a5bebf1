package deliverer

import (
	"errors"
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

func TestDeadDestinationParksWithoutBurningAttempts(t *testing.T) {
	tell(t, func(s *story) {
		s.mx("dead.test", 1)
		s.start()
		var ids []string
		for range 500 {
			ids = append(ids, s.send("b@dead.test"))
		}
		s.after(30 * time.Minute)
		n := 0
		for _, id := range ids {
			n += len(attempts(s.q.history(id)))
		}
		// Probes of the default backoff within 30 minutes: at 0, 5 s, 35 s, 1½, 6½, 16½,
		// 26½ minutes; and every connection tried costs one attempt at most.
		if n < 5 || n > 9 {
			s.Errorf("%d attempts on a dead destination in 30 minutes", n)
		}
		if d := s.dials(addr(1)); d > 40 {
			s.Errorf("dialled a dead host %d times in 30 minutes", d)
		}
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.sink(1, sink)
		s.after(20 * time.Minute)
		if sink.Count() < 490 {
			s.Errorf("%d of 500 arrived within 20 minutes of the host's return", sink.Count())
		}
		s.after(24 * time.Hour)
		if sink.Count() != 500 {
			s.Errorf("%d of 500 arrived", sink.Count())
		}
		if st := s.d.Stats(); st.GatesOpened != 1 {
			s.Errorf("gates opened %d times", st.GatesOpened)
		}
		for line, want := range map[string]int{"destination does not answer": int(s.d.Stats().GatesShut), "destination answers again": 1} {
			if n := strings.Count(s.log.String(), line); n != want {
				s.Errorf("%d lines say %q, want %d", n, line, want)
			}
		}
	})
}

// Who asks for a retry knows that the hosts are back: nobody waits for the next look.
func TestTryAgain(t *testing.T) {
	tell(t, func(s *story) {
		s.mx("dead.test", 1)
		s.start()
		for range 20 {
			s.send("b@dead.test")
		}
		s.after(17 * time.Minute) // the next look is in ten minutes
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.sink(1, sink)
		s.d.TryAgain("other.test", "")
		s.send("b@dead.test")
		s.after(30 * time.Second)
		if n := sink.Count(); n != 0 {
			s.Errorf("%d arrived before anybody asked", n)
		}
		s.d.TryAgain("dead.test", "")
		s.send("b@dead.test") // due, as what is retried is
		s.after(30 * time.Second)
		if n := sink.Count(); n == 0 {
			s.Error("none arrived within 30 s of the word to try again")
		}
	})
}

func TestH6_scheduleHoldsAcrossARestart(t *testing.T) {
	retry := shaping.Retry{Schedule: []time.Duration{time.Minute, 10 * time.Minute, time.Hour}, Expire: 5 * 24 * time.Hour}
	times := func(t *testing.T, restart bool) (at []time.Duration) {
		tell(t, func(s *story) {
			sink := &smtptest.Sink{}
			defer sink.Close()
			sink.Greylist(5)
			s.c.Retry = retry
			s.mx("grey.test", 1)
			s.sink(1, sink)
			s.start()
			began := time.Now()
			id := s.send("b@grey.test")
			for range 10 {
				s.after(30 * time.Minute)
				if restart {
					s.stop()
					s.after(time.Minute)
					s.start()
				}
			}
			for _, e := range attempts(s.q.history(id)) {
				at = append(at, e.at.Sub(began))
			}
			want := []string{"wait: b deferred 451", "wait: b deferred 451", "wait: b deferred 451", "wait: b deferred 451", "wait: b deferred 451", "done: b delivered 250"}
			s.expect(id, want...)
			n := 0
			for i := 1; i < len(at); i++ {
				n++
				pause := at[i] - at[i-1]
				if want := retry.Pause(id, n); pause < want || pause > want+time.Second {
					// Down at the due instant, it goes at the start that follows.
					if !restart || pause > want+time.Minute {
						s.Errorf("pause %d was %v, want %v", n, pause, want)
					}
				}
			}
		})
		return at
	}
	plain := times(t, false)
	again := times(t, true)
	for i := range plain {
		if d := again[i] - plain[i]; d < -time.Second || d > 6*time.Minute {
			t.Errorf("attempt %d was at %v, and at %v with restarts", i+1, plain[i], again[i])
		}
	}
}

func TestSlowDestinationDoesNotStallOthers(t *testing.T) {
	tell(t, func(s *story) {
		slow, fast := &smtptest.Sink{}, &smtptest.Sink{}
		defer slow.Close()
		defer fast.Close()
		slow.On("DOT", "", smtptest.Answer{Wait: time.Minute, Reply: "250 2.0.0 Taken"})
		s.c.HandJobs = 200
		s.mx("slow.test", 1)
		s.mx("fast.test", 2)
		s.sink(1, slow)
		s.sink(2, fast)
		for range 3000 { // all of it stands before the fast one's in the line
			s.send("b@slow.test")
		}
		var ids []string
		for range 100 {
			ids = append(ids, s.send("b@fast.test"))
		}
		s.start()
		s.after(10 * time.Second)
		if fast.Count() != 100 {
			s.Errorf("%d of 100 arrived in 10 s beside a slow destination", fast.Count())
		}
		for _, id := range ids[:3] {
			s.expect(id, "done: b delivered 250")
		}
		s.after(10 * time.Minute)
		// 20 connections, one a minute each.
		if n := slow.Count(); n < 180 || n > 220 {
			s.Errorf("the slow one got %d in 10 minutes, want about 200", n)
		}
		s.q.mu.Lock()
		defer s.q.mu.Unlock()
		if s.q.peak > 200 {
			s.Errorf("%d in the hand, want at most 200", s.q.peak)
		}
		stored := 0
		for _, e := range s.q.ended {
			if e.how == "parked" {
				stored++
			}
		}
		// Each had to be stored once; a few more while the line was short. Not over and over.
		if stored > 4500 {
			s.Errorf("parked %d times for 3000 deliveries", stored)
		}
	})
}

// What a lane counts of its line must agree with the line, whatever left it and how.
func TestLaneCountsWhatWaits(t *testing.T) {
	now := time.Unix(1e9, 0)
	d := &Deliverer{}
	l := &lane{}
	p := &purse{account: &account{}}
	l.line(party{tenant: "a"}).belong(p)
	for i := range 10 {
		until := now.Add(time.Hour)
		if i%3 == 0 {
			until = now // overdue
		}
		l.line(party{tenant: []string{"a", "b"}[i/6]}).push(held{aged: i%2 == 0, until: until, recipients: 2})
	}
	check := func(what string, waiting, aged, spending int) {
		t.Helper()
		if l.len() != waiting || l.aged != aged || p.jobs != spending || p.recipients != 2*spending || p.account.jobs != spending {
			t.Errorf("%s: %d waiting, %d aged, %d jobs and %d recipients of the purse; want %d, %d, %d and %d",
				what, l.len(), l.aged, p.jobs, p.recipients, waiting, aged, spending, 2*spending)
		}
	}
	check("pushed", 10, 5, 6)
	if back := d.overdue(l, now, nil); len(back) != 4 {
		t.Errorf("%d overdue, want 4", len(back))
	}
	check("after the overdue", 6, 3, 4)
	h := l.line(party{tenant: "a"}).pop()
	check("after one start", 5, 3, 3)
	l.line(party{tenant: "a"}).unpop(h)
	check("and back", 6, 3, 4)
	if again := l.line(party{tenant: "a"}).pop(); again != h {
		t.Error("what was put back is not the first")
	}
	l.line(party{tenant: "b"}).belong(p)
	check("one purse", 5, 3, 5)
	l.line(party{tenant: "a"}).belong(nil)
	check("the other line alone", 5, 3, 2)
	l.line(party{tenant: "a"}).belong(p)
	l.takeAll(nil)
	check("emptied", 0, 0, 0)
}

func TestManySlowDestinationsLeaveRoomForOthers(t *testing.T) {
	tell(t, func(s *story) {
		slow, fast := &smtptest.Sink{}, &smtptest.Sink{}
		defer slow.Close()
		defer fast.Close()
		slow.On("DOT", "", smtptest.Answer{Wait: time.Minute, Reply: "250 2.0.0 Taken"})
		s.c.HandJobs = 1000
		s.sink(1, slow)
		s.sink(2, fast)
		s.mx("fast.test", 2)
		for i := range 30 {
			d := fmt.Sprintf("slow%d.test", i)
			s.domains[mail.Domain(d)] = domain{site: d, hosts: []Host{{Name: "mx1.test", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})}}}}
		}
		s.start()
		flood := func() {
			for i := range 3000 {
				s.send(fmt.Sprintf("b@slow%d.test", i%30))
			}
			s.send("b@fast.test")
		}
		flood()
		s.after(30 * time.Second) // now it is known who is slow
		for round := range 5 {
			flood()
			s.after(5 * time.Second)
			if got := fast.Count(); got != round+2 {
				s.Fatalf("round %d: %d arrived at the fast one", round, got)
			}
		}
	})
}

func TestBacklogIsDrainedWithinTheHand(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{Discard: true}
		defer sink.Close()
		s.c.HandJobs = 100
		s.mx("there.test", 1)
		s.sink(1, sink)
		for range 2000 {
			j := s.letter("b@there.test")
			j.q = s.q
			s.q.waiting = append(s.q.waiting, j)
		}
		s.start()
		s.after(2 * time.Minute)
		if sink.Count() != 2000 {
			s.Errorf("%d of 2000 arrived", sink.Count())
		}
		if s.q.peak > 100 {
			s.Errorf("%d in the hand, want at most 100", s.q.peak)
		}
	})
}

func TestDeadFirstMXIsNotAskedForEveryConnection(t *testing.T) {
	tell(t, func(s *story) {
		second := &smtptest.Sink{}
		defer second.Close()
		s.c.Rules = one("*", 2, 5)
		s.mx("there.test", 1, 2)
		s.set(addr(1), func() (net.Conn, error) { time.Sleep(31 * time.Second); return nil, errors.New("timeout") })
		s.sink(2, second)
		s.start()
		for range 100 {
			s.send("b@there.test")
		}
		s.after(2 * time.Minute)
		if second.Count() != 100 {
			s.Errorf("%d of 100 arrived at the second MX", second.Count())
		}
		if n := s.dials(addr(1)); n > 6 {
			s.Errorf("the dead first MX was dialled %d times", n)
		}
	})
}

func TestRefusedFurtherConnectionsAreNotFailures(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("DOT", "", smtptest.Answer{Wait: 100 * time.Millisecond, Reply: "250 2.0.0 Taken"})
		s.mx("there.test", 1)
		n := 0
		s.set(addr(1), func() (net.Conn, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if _, open := sink.Connections(); open >= 2 || n >= 2 && open > 0 {
				return smtptest.Start(s.T, "S: 421 4.7.0 Too many connections\n"), nil
			}
			n++
			return sink.Dial(), nil
		})
		s.start()
		var ids []string
		for range 100 {
			ids = append(ids, s.send("b@there.test"))
		}
		s.after(time.Minute)
		if sink.Count() != 100 {
			s.Errorf("%d of 100 arrived", sink.Count())
		}
		deferred := 0
		for _, id := range ids {
			for _, e := range attempts(s.q.history(id)) {
				if e.how == "wait" {
					deferred++
				}
			}
		}
		if deferred > 1 {
			s.Errorf("%d deliveries were charged for connections beyond what the host allows", deferred)
		}
	})
}

func TestShutdown(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("DOT", "<slow@", smtptest.Answer{Wait: 10 * time.Second, Reply: "250 2.0.0 Taken"})
		sink.On("DOT", "<stuck@", smtptest.Answer{Stall: true})
		s.c.Rules = one("*", 2, 0)
		s.c.Patience = time.Minute
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		slow, stuck := s.send("slow@there.test"), s.send("stuck@there.test")
		waits := s.send("b@there.test")
		s.after(time.Second)
		began := time.Now()
		s.stop()
		if took := time.Since(began); took < 29*time.Second || took > 35*time.Second {
			s.Errorf("stopping took %v, want DrainTimeout", took)
		}
		s.expect(slow, "done: slow delivered 250")
		// Its dot was sent: it may be there, so the attempt counts.
		s.expect(stuck, "wait: stuck deferred 451")
		if es := s.q.history(waits); len(es) != 1 || es[0].how != "release" {
			s.Errorf("what had not started: %v", es)
		}
		if cs := sink.Commands(); !strings.Contains(strings.Join(cs, "\n"), "QUIT") {
			s.Error("no QUIT")
		}
	})
}

func TestHandIsBoundedInOctets(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{Discard: true}
		defer sink.Close()
		sink.On("DOT", "", smtptest.Answer{Wait: time.Second, Reply: "250 2.0.0 Taken"})
		s.c.HandBytes = 1 << 20
		s.c.Patience = time.Hour
		s.mx("there.test", 1)
		s.sink(1, sink)
		for i := range 2000 {
			j := s.letter(fmt.Sprintf("b%d@there.test", i))
			j.body = append(j.body, make([]byte, 50000)...)
			for k := len(body); k < len(j.body); k++ {
				j.body[k] = 'x'
			}
			s.q.add(j)
		}
		s.start()
		s.after(5 * time.Second)
		s.d.mu.Lock()
		defer s.d.mu.Unlock()
		// One fetch may go beyond it: sizes are known only then.
		if s.d.bytes > s.c.HandBytes+fetchBatch*51000 {
			s.Errorf("%d octets in the hand", s.d.bytes)
		}
		if s.d.hand > 300 {
			s.Errorf("%d deliveries in the hand although their octets are over the bound", s.d.hand)
		}
	})
}
