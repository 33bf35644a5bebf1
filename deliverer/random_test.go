package deliverer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// Anything may happen, in any order; what was promised holds: no window and no
// number of connections is exceeded, each MAIL FROM had its permit, nothing starts
// without a session, and when all is well again all mail has arrived.
func TestRandomTroubleUnderLimits(t *testing.T) {
	for seed := range uint64(randomSeeds) {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { randomTrouble(t, seed, false) }) {
			return
		}
	}
}

// So it does with plugins that think, put off, send elsewhere, fail and do not come back.
func TestRandomTroubleWithPlugins(t *testing.T) {
	for seed := range uint64(randomSeeds) / 6 {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { randomTrouble(t, 1000+seed, true) }) {
			return
		}
	}
}

// randomPlugin does anything that a plugin may, short of ending a delivery.
func randomPlugin(s *story, seed uint64) {
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 9))
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return dice.IntN(n)
	}
	any := func(ctx context.Context, e *plugin.Event) plugin.Verdict {
		if roll(3) == 0 {
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(roll(2500)) * time.Millisecond):
			}
		}
		switch n := roll(60); {
		case n == 0:
			time.Sleep(10 * time.Minute) // heeds no deadline, and comes back some day
		case n == 1:
			panic("it happens")
		case n == 2 && e.Hook == plugin.SendEmail:
			return plugin.Verdict{Code: plugin.Delay, Delay: time.Duration(roll(20000)) * time.Millisecond}
		case n == 3 && e.Hook != plugin.Bounce && e.Hook != plugin.Delivered:
			return plugin.Verdict{Code: plugin.Defer, Delay: time.Duration(roll(20000)) * time.Millisecond}
		case n < 30 && e.Hook == plugin.GetMX:
			return plugin.Verdict{Code: plugin.OK, Value: []string{fmt.Sprintf("192.0.2.%d", roll(6)), fmt.Sprintf("192.0.2.%d", roll(3))}}
		case n < 40 && e.Hook == plugin.GetMX:
			return plugin.Verdict{Code: plugin.OK, Value: plugin.NextHop{Hello: fmt.Sprintf("out%d.us.test", roll(3))}}
		}
		e.Transaction.Notes.Set("n", roll(1000))
		return plugin.Verdict{}
	}
	s.plugged(fns{plugin.SendEmail: any, plugin.GetMX: any, plugin.Deferred: any, plugin.Delivered: any, plugin.Bounce: any})
}

func randomTrouble(t *testing.T, seed uint64, plugins bool) {
	tell(t, func(s *story) {
		if plugins {
			randomPlugin(s, seed)
		}
		r := rand.New(rand.NewPCG(seed, 7))
		w := memWindow{1 + r.IntN(40), time.Duration(1+r.IntN(20)) * time.Second}
		rule := memRule{perConnection: 1 + r.IntN(30)}
		if r.IntN(4) > 0 {
			rule.messages = []memWindow{w}
		}
		if r.IntN(3) > 0 {
			rule.connections = 1 + r.IntN(6)
		}
		dials := memWindow{2 + r.IntN(10), 10 * time.Second}
		if r.IntN(3) == 0 {
			rule.dials = []memWindow{dials}
		}
		rcpts := memWindow{5 + r.IntN(50), 5 * time.Second}
		if r.IntN(3) == 0 {
			rule.recipients = []memWindow{rcpts}
		}
		rule.perTenant = r.IntN(4) == 0
		m := s.under(map[string]memRule{"name:big": rule})
		m.key = func(mail.Domain, []string) shaping.Destination { return shaping.Destination{Key: "name:big"} }
		m.rtt = time.Duration(1+r.IntN(60)) * time.Millisecond
		tenants := rule.perTenant || r.IntN(2) == 0
		s.c.HandJobs = 50 + r.IntN(1000)
		t.Logf("rule %+v, tenants %v, round trip %v, hand %d", rule, tenants, m.rtt, s.c.HandJobs)

		sink := &smtptest.Sink{}
		defer sink.Close()
		if r.IntN(2) == 0 {
			sink.Extensions = []string{} // one command at a time
		}
		trouble, dice := true, rand.New(rand.NewPCG(seed, 8))
		sink.Decide = func(st smtptest.Step) (smtptest.Answer, bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !trouble {
				return smtptest.Answer{Wait: 5 * time.Millisecond, Reply: "250 2.0.0 Ok"}, st.Verb == "DOT"
			}
			switch n := dice.IntN(300); {
			case n == 0:
				return smtptest.Answer{Cut: true}, st.Verb != "DOT" // then it may have the message
			case n == 1:
				return smtptest.Answer{Reply: "421 4.3.2 Leaving"}, st.Verb != "DOT"
			case n == 2:
				return smtptest.Answer{Reply: "451 4.3.0 Later"}, st.Verb == "RCPT" || st.Verb == "MAIL" || st.Verb == "DOT"
			case n == 3:
				return smtptest.Answer{Stall: true}, st.Verb == "RCPT"
			case n < 100 && st.Verb == "RSET":
				return smtptest.Answer{Wait: time.Duration(dice.IntN(1500)) * time.Millisecond, Reply: "250 2.0.0 Ok"}, true
			case n < 20:
				return smtptest.Answer{Wait: time.Duration(dice.IntN(3000)) * time.Millisecond, Reply: "250 2.0.0 Ok"}, st.Verb == "DOT" || st.Verb == "MAIL"
			}
			return smtptest.Answer{Wait: time.Duration(dice.IntN(50)) * time.Millisecond, Reply: "250 2.0.0 Ok"}, st.Verb == "DOT"
		}
		for i := range 8 {
			s.mx(mail.Domain(fmt.Sprintf("d%d.test", i)), byte(1+i%3), byte(4+i%2))
		}
		for i := range 6 {
			s.sink(byte(i), sink)
		}
		var ids []string
		write := func(n int) {
			for range n {
				to := []string{fmt.Sprintf("r0@d%d.test", r.IntN(8))}
				for i := range r.IntN(4) * r.IntN(4) {
					to = append(to, fmt.Sprintf("r%d%s", i+1, to[0][2:]))
				}
				j := s.letter(to...)
				if tenants {
					j.env.Message.Tenant = j.env.Message.ID[len(j.env.Message.ID)-1:]
				}
				s.q.add(j)
				ids = append(ids, j.env.ID())
			}
		}
		s.start()
		var silent [][2]time.Time
		for range 20 + r.IntN(20) {
			n, k, pause := r.IntN(9), r.IntN(100), time.Duration(r.IntN(4000))*time.Millisecond
			x := m.Slots(shaping.Destination{Key: "name:big"}).(*memSlots)
			switch n {
			case 0, 1, 2:
				write(k)
			case 3:
				m.live(false)
				s.after(0)
				from := time.Now()
				s.after(pause * 3)
				silent = append(silent, [2]time.Time{from, time.Now()})
				m.live(true)
			case 4:
				x.each(func(s *memSlot) { s.ending = s.ending || k%2 == 0 })
			case 5:
				end := time.Now().Add(4 * time.Second)
				x.each(func(s *memSlot) { s.stale, s.deadline = true, end })
			case 6:
				m.set("other", memRule{}) // a new version that changes nothing here
			case 7:
				m.mu.Lock()
				m.frozen = !m.frozen
				m.mu.Unlock()
				m.poke()
			}
			s.after(pause)
		}
		s.mu.Lock()
		trouble = false
		s.mu.Unlock()
		m.mu.Lock()
		m.frozen = false
		m.mu.Unlock()
		m.poke()
		for range 48 {
			s.after(hour)
			s.q.mu.Lock()
			left := len(s.q.waiting) + len(s.q.ready) + s.q.hand
			s.q.mu.Unlock()
			if left == 0 {
				break
			}
		}
		starts := s.taps.starts()
		if rule.messages != nil && !rule.perTenant {
			exact(t, "starts", starts, w, each)
		}
		if rule.recipients != nil && !rule.perTenant {
			exact(t, "recipients", starts, rcpts, func(m tapped) int { return m.recipients })
		}
		if _, peak := s.taps.connections(); rule.connections > 0 && peak > rule.connections {
			t.Errorf("%d connections at a time, %d are allowed", peak, rule.connections)
		}
		if rule.messages != nil || rule.recipients != nil {
			if used := m.spent(t, "name:big"); used != len(starts) {
				t.Errorf("%d MAIL FROM, %d permits used", len(starts), used)
			}
		}
		for _, x := range starts {
			for _, down := range silent {
				if x.at.After(down[0]) && x.at.Before(down[1]) {
					t.Errorf("started at %v while there was no session", x.at)
				}
			}
		}
		if rule.dials != nil {
			exact(t, "new connections", s.taps.dials, dials, each)
			m.mu.Lock()
			if used := len(m.lanes[memKey{shaping.Destination{Key: "name:big"}, "", mail.Normal, true}].uses); used != len(s.taps.dials) {
				t.Errorf("%d dials, %d permits used", len(s.taps.dials), used)
			}
			m.mu.Unlock()
		}
		lost := 0
		for _, id := range ids {
			if es := s.q.history(id); len(es) == 0 || es[len(es)-1].how != "done" {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%d of %d have not arrived after two days", lost, len(ids))
		}
		if st := s.d.Stats(); st.LateStarts != 0 || st.Failed != 0 {
			t.Errorf("%+v", st)
		}
	})
}
