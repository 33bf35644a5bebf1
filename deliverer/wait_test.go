package deliverer

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// backlog puts n deliveries to an address where they wait, due at once.
func (s *story) backlog(n int, to string) {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	for range n {
		j := s.letter(to)
		j.q = s.q
		s.q.waiting = append(s.q.waiting, j)
	}
}

func (s *story) reads() int {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	return s.q.reads
}

// parked counts the times that something was stored anew without an attempt.
func (s *story) parked() (n int) {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	for _, e := range s.q.ended {
		if e.how == "parked" {
			n++
		}
	}
	return n
}

// What waits for a window that opens slowly is read about as often as it is sent.
func TestBacklogIsReadForPermitsOnly(t *testing.T) {
	tell(t, func(s *story) {
		w := memWindow{10, time.Minute}
		s.under(map[string]memRule{"*": {messages: []memWindow{w}}})
		sink := &smtptest.Sink{Discard: true}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.backlog(5000, "b@there.test")
		s.start()
		s.after(30 * time.Minute)
		exact(s.T, "starts", s.taps.starts(), w, each)
		n := sink.Count()
		if n < 290 || n > 310 {
			s.Errorf("%d sent in 30 minutes, 10 a minute were allowed", n)
		}
		if r := s.reads(); r > n+n/4+20 {
			s.Errorf("%d read for %d sent", r, n)
		}
		if p := s.parked(); p > n/4+20 {
			s.Errorf("%d stored anew", p)
		}
		if s.q.peak > 40 {
			s.Errorf("%d in the hand at a time", s.q.peak)
		}
	})
}

// Nobody reads what waits for destinations whose windows are shut.
func TestShutDestinationsCostNothing(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {messages: []memWindow{{0, hour}}}})
		m.mu.Lock()
		m.rules["domain:open.test"] = memRule{}
		m.mu.Unlock()
		for i := range 50 {
			d := fmt.Sprintf("shut%d.test", i)
			s.domains[mail.Domain(d)] = domain{site: d, hosts: []Host{{Name: d, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})}}}}
			s.backlog(100, "b@"+d)
		}
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.sink(2, sink)
		var err error
		if s.c.Routes, err = NewRoutes([]Route{{To: "open.test", Via: addr(2)}}); err != nil {
			s.Fatal(err)
		}
		s.start()
		s.after(10 * time.Minute)
		if r := s.reads(); r > 50*scouts {
			s.Errorf("%d read of 50 shut destinations in 10 minutes", r)
		}
		if len(s.dialled) != 0 {
			s.Errorf("dialled %v", s.dialled)
		}
		s.send("b@open.test")
		s.after(time.Second)
		if sink.Count() != 1 {
			s.Error("an open destination has to wait")
		}
	})
}

// New mail for a window that opens late is stored to wait, at once and only once,
// due whenever there is room.
func TestHoldParksNewMail(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {messages: []memWindow{{3, hour}}}})
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		var ids []string
		for range 20 {
			ids = append(ids, s.send("b@there.test"))
		}
		s.after(2 * time.Second)
		if sink.Count() != 3 {
			s.Errorf("%d sent, 3 are allowed", sink.Count())
		}
		held := 0
		for _, id := range ids {
			for _, e := range s.q.history(id) {
				if e.how == "parked" {
					held++
					if !e.next.Due.IsZero() || e.next.Attempts != 0 {
						s.Errorf("stored due %v after %d attempts", e.next.Due, e.next.Attempts)
					}
				}
			}
		}
		if held != 17 {
			s.Errorf("%d were stored to wait within 2 s, want 17", held)
		}
		late := s.send("b@there.test")
		s.after(100 * time.Millisecond)
		if es := s.q.history(late); len(es) != 1 || es[0].how != "parked" {
			s.Errorf("what came while it was shut: %v", es)
		}
		s.after(hour)
		if sink.Count() != 6 {
			s.Errorf("%d sent after an hour, 6 are allowed", sink.Count())
		}
		if p := s.parked(); p > 22 {
			s.Errorf("stored %d times", p)
		}
		if got := m.spent(s.T, "site:mx1.test"); got != 6 {
			s.Errorf("%d permits used", got)
		}
	})
}

// Many domains of one destination share its window, and all have their turn.
func TestDomainsOfADestinationTakeTurns(t *testing.T) {
	tell(t, func(s *story) {
		w := memWindow{20, 10 * time.Second}
		m := s.under(map[string]memRule{"name:big": {messages: []memWindow{w}}})
		m.key = func(mail.Domain, []string) shaping.Destination { return shaping.Destination{Key: "name:big"} }
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.sink(1, sink)
		for i := range 40 {
			d := mail.Domain(fmt.Sprintf("d%d.test", i))
			s.domains[d] = domain{site: fmt.Sprint("site", i%5), hosts: []Host{{Name: fmt.Sprintf("mx%d.test", i%5), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 1})}}}}
			s.backlog(200, "b@"+string(d))
		}
		s.start()
		s.after(5 * time.Minute)
		exact(s.T, "starts", s.taps.starts(), w, each)
		per := map[string]int{}
		for _, x := range sink.Messages() {
			per[x.To[0]]++
		}
		total := 0
		for _, n := range per {
			total += n
		}
		if total < 570 {
			s.Errorf("%d sent, 600 were allowed", total)
		}
		for i := range 40 {
			if n := per[fmt.Sprintf("<b@d%d.test>", i)]; n < total/40/2 || n > 2*total/40 {
				s.Errorf("d%d.test had %d of %d", i, n, total)
			}
		}
		if s.q.peak > 200 {
			s.Errorf("%d in the hand", s.q.peak)
		}
	})
}

// Mail that a suspension keeps still gets its delay notice and its end.
func TestSuspendedMailExpires(t *testing.T) {
	tell(t, func(s *story) {
		m := s.under(map[string]memRule{"*": {suspended: true}})
		s.mx("there.test", 1)
		sink := &smtptest.Sink{}
		defer sink.Close()
		s.sink(1, sink)
		s.start()
		for range 30 {
			s.send("b@there.test")
		}
		s.after(3 * hour)
		early := s.reads()
		if early > 20 {
			s.Errorf("%d read in 3 hours of suspension", early)
		}
		s.after(hour + time.Minute)
		if n := len(s.q.stored()); n != 30 {
			s.Errorf("%d delay notices after 4 hours, want 30", n)
		}
		s.after(5 * 24 * hour)
		if n := len(s.q.stored()); n != 60 {
			s.Errorf("%d notices after 5 days, want 30 of delay and 30 of failure", n)
		}
		if len(s.taps.starts()) != 0 || len(s.dialled) != 0 {
			s.Error("something started while suspended")
		}
		id := s.send("b@there.test")
		s.after(time.Minute)
		m.set("*", memRule{})
		s.after(5 * time.Second)
		s.expect(id, "done: b delivered 250")
	})
}
