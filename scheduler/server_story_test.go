package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

func perWindow(n int, length time.Duration) []shaping.Window {
	return []shaping.Window{{Max: n, Length: length}}
}

func number(n int) *int { return &n }

// leads is the index of the scheduler that leads.
func (w *world) leads() int {
	return slices.IndexFunc(w.servers, func(s *worldServer) bool { _, ok := s.Leading(); return ok })
}

// Windows hold, and are used, while leaders die, are cut off and act on, and hand
// over; while deliverers are cut off, freeze and die.
func TestWindowsHold(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { inWorld(t, seed, storm) })
	}
}

func storm(w *world) {
	t := w.t
	w.set(shaping.Rule{To: "a.test", Messages: perWindow(20, time.Second)})
	w.set(shaping.Rule{To: "b.test", Messages: perWindow(300, time.Minute)})
	w.set(shaping.Rule{To: "c.test", Recipients: perWindow(200, 10*time.Second)})
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	deliver := func(name string) *worldClient {
		c := w.client(name)
		for _, d := range []string{"a.test", "b.test", "c.test"} {
			w.run.Go(func() { c.send(ctx, laneTo(d), 10) })
		}
		return c
	}
	for _, name := range []string{"d1", "d2", "d3"} {
		deliver(name)
	}
	time.Sleep(30 * time.Second)
	began := time.Now()
	for round := range 8 {
		i := w.leads()
		if i < 0 {
			t.Fatal("nobody leads")
		}
		next := w.servers[(i+1)%3].node
		c := w.clients[int(w.randN(3))]
		switch round % 8 {
		case 0: // the leader dies and comes back
			w.killServer(i)
			time.Sleep(1500 * time.Millisecond)
			w.raft.elect(next)
			time.Sleep(5 * time.Second)
			w.reviveServer(i)
		case 1: // the leader loses the others and does not know for a while
			w.raft.part(w.servers[i].node, true)
			time.Sleep(time.Second)
			w.raft.elect(next)
			time.Sleep(8 * time.Second)
			w.raft.part(w.servers[i].node, false)
		case 2: // half the deliverers see the old leader only, which does not know
			w.raft.part(w.servers[i].node, true)
			w.net.cut(c.name, next.name, true)
			time.Sleep(500 * time.Millisecond)
			w.raft.elect(next)
			time.Sleep(6 * time.Second)
			w.net.cut(c.name, next.name, false)
			w.raft.part(w.servers[i].node, false)
		case 3: // a deliverer's process is stopped with permits in hand
			for range 5 {
				c.freeze()
				time.Sleep(time.Duration(200+int(w.randN(2000))) * time.Millisecond)
				c.thaw()
				time.Sleep(2 * time.Second)
			}
		case 4: // a machine is stopped, its clock too; its wall clock is put right when it goes on
			d := time.Duration(500+int(w.randN(3000))) * time.Millisecond
			c.freeze()
			time.Sleep(d)
			c.ck.lost(d)
			c.thaw()
		case 5: // handed over
			w.servers[i].Drain(w.ctx)
		case 6: // a deliverer dies, another comes
			c.end()
			deliver(fmt.Sprintf("d%d", len(w.clients)+1))
		case 7: // elected anew
			w.raft.elect(next)
		}
		time.Sleep(20 * time.Second)
	}
	took := time.Since(began)
	stop()
	w.check("domain:a.test", 20, time.Second)
	w.check("domain:b.test", 300, time.Minute)
	w.check("domain:c.test", 200, 10*time.Second)
	for _, c := range w.clients {
		if n := c.Stats().Late; n > 0 {
			t.Errorf("%s: %d late starts", c.name, n)
		}
	}
	// Each change of leader costs some seconds of a short window.
	for _, x := range []struct {
		key   string
		ideal float64
		least float64
	}{{"a.test", 20 * took.Seconds(), 0.75}, {"b.test", 5 * took.Seconds(), 0.85}, {"c.test", 20 * took.Seconds(), 0.8}} {
		if used := float64(w.since("domain:"+x.key, began)) / x.ideal; used < x.least {
			t.Errorf("%s: %.1f %% of the window used", x.key, 100*used)
		} else {
			t.Logf("%s: %.1f %% of the window used", x.key, 100*used)
		}
	}
}

// A client that knows only a follower is sent on to the leader.
func TestRedirect(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.addrs = w.addrs[2:]
		c := w.client("d1")
		w.eventually(time.Second, "a session", c.Live)
		if s := c.Stats(); s.Leader != "s1" || !s.Connected || s.Session == 0 {
			t.Errorf("%+v", s)
		}
		w.raft.elect(w.servers[1].node)
		w.eventually(2*time.Second, "the new leader", func() bool { return c.Stats().Leader == "s2" })
		if !c.Live() || c.Stats().Lost != 0 {
			t.Error("the session did not survive the change of leader")
		}
	})
}

// Operators are answered from anywhere, told what is wrong, and see what was changed.
func TestOperator(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		c := w.client("d1")
		w.eventually(time.Second, "a session", c.Live)
		p := w.set(shaping.Rule{To: "a.test", Messages: perWindow(5, time.Minute)})
		if p.Version != 2 || p.InForce.IsZero() {
			t.Errorf("%+v", p)
		}
		if got := c.Rules().Version(); got != 2 {
			t.Errorf("the session works by version %d", got)
		}
		op := w.operator("op")
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
		defer cancel()
		b, err := op.Book(ctx)
		if err != nil || b.Version != 2 || len(b.Set) != 1 || len(b.History) != 2 || b.History[1].Author != "test" {
			t.Errorf("book: %+v, %v", b, err)
		}
		_, err = op.Change(ctx, shaping.Change{Op: shaping.OpUnset, To: "b.test"}, nil)
		var refused *shaping.RefusedError
		if !errors.As(err, &refused) || refused.What == "" {
			t.Errorf("unset of nothing: %v", err)
		}
		s, err := op.Sessions(ctx)
		if err != nil || len(s) != 1 || s[0].Node != "d1" || !s[0].Connected || s[0].Version != 2 || s[0].Lease < 25*time.Second {
			t.Errorf("sessions: %+v, %v", s, err)
		}
		h := c.Lane(laneTo("a.test"))
		h.Want(3, 3, 1)
		w.eventually(time.Second, "permits", func() bool { n, _ := h.Ready(); return n == 3 })
		h.Want(9, 9, 1)
		w.eventually(time.Second, "all of the window", func() bool { n, _ := h.Ready(); return n == 5 })
		a, err := op.Live(ctx, LiveQuery{To: "a.test"})
		if err != nil || a.Total != 1 || a.Live[0].InFlight != 5 || a.Live[0].Waiting != 4 || a.Live[0].Max != 5 {
			t.Errorf("live: %+v, %v", a, err)
		}
		why, err := op.Why(ctx, LaneQuery{Dest: dest("a.test")})
		if err != nil || why.Wanted != 4 || why.Holds != 0 || why.Live[0].Next <= why.Now || why.Part != 1 {
			t.Errorf("why: %+v, %v", why, err)
		}
		// Nobody leads: the call waits, and says so in the end.
		w.raft.part(w.servers[0].node, true)
		short, cancel := context.WithTimeout(w.ctx, 3*time.Second)
		defer cancel()
		if _, err := op.Book(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a leader without the others answered: %v", err)
		}
	})
}

// A change answers when those who cannot hear of it can no longer start anything by
// the old rules: before that, the one that is cut off sends on what was not limited.
func TestChangeWaitsForLapse(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		a, b := w.client("d1"), w.client("d2")
		w.eventually(time.Second, "sessions", func() bool { return a.Live() && b.Live() })
		old := b.Rules()
		for _, s := range w.addrs {
			w.net.cut("d2", s, true)
		}
		cut := time.Now()
		var mu sync.Mutex
		var started, worked time.Time // when d2 could still start; was waited for
		w.run.Go(func() {
			for time.Since(cut) < time.Minute {
				if b.MayStart(old) {
					mu.Lock()
					started = time.Now()
					mu.Unlock()
				}
				time.Sleep(time.Millisecond)
			}
		})
		told := ""
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		p, err := w.operator("op").Change(ctx, shaping.Change{Op: shaping.OpSet, Rule: &shaping.Rule{To: "a.test", Messages: perWindow(0, time.Minute)}},
			func(p Progress) {
				if len(p.Waiting) == 1 {
					told, worked = p.Waiting[0].Node, time.Now()
				}
			})
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(cut)
		mu.Lock()
		last := started
		mu.Unlock()
		if told != "d2" || !last.Before(p.InForce) || took < 20*time.Second || took > 40*time.Second {
			t.Errorf("in force after %v; it waited for %q until %v; the last possible start after %v", took, told, worked.Sub(cut), last.Sub(cut))
		}
		if a.Rules().Version() != p.Version || !a.Live() || b.Live() {
			t.Error("d1 works by the rules and d2 does not work")
		}
		if margin := p.InForce.Sub(last); margin > 3*time.Second {
			t.Errorf("the change took %v longer than needed", margin)
		}
		// Back again: a new session, the new rules, and nothing of the old.
		for _, s := range w.addrs {
			w.net.cut("d2", s, false)
		}
		w.eventually(5*time.Second, "d2 is back", b.Live)
		if b.MayStart(old) || b.Rules().Version() != p.Version || b.Stats().Lost != 1 {
			t.Errorf("%+v", b.Stats())
		}
	})
}

// A suspension stops everything and ends by the wall clock.
func TestSuspension(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.set(shaping.Rule{To: "a.test", Messages: perWindow(100, time.Second)})
		c := w.client("d1")
		ctx, stop := context.WithCancel(w.ctx)
		defer stop()
		w.run.Go(func() { c.send(ctx, laneTo("a.test"), 10) })
		w.eventually(time.Second, "mail", func() bool { return w.count("domain:a.test") > 10 })
		p, err := w.operator("op").Change(w.ctx, shaping.Change{Op: shaping.OpSuspend, To: "a.test", Reason: "they asked", At: time.Now(), Until: time.Now().Add(time.Minute)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := w.count("domain:a.test")
		until := time.Now().Add(50 * time.Second)
		var v Verdict
		for time.Now().Before(until) {
			time.Sleep(time.Second)
			_, v = c.Lane(laneTo("a.test")).Ready()
			if k := w.count("domain:a.test"); k != n {
				t.Fatalf("%d starts after version %d was in force", k-n, p.Version)
			}
		}
		if !strings.Contains(v.Why, "they asked") {
			t.Errorf("why nothing starts: %+v", v)
		}
		w.eventually(20*time.Second, "mail again", func() bool { return w.count("domain:a.test") > n+10 })
		b, err := w.operator("op").Book(w.ctx)
		if err != nil || len(b.Suspensions) != 0 {
			t.Errorf("%+v, %v", b, err)
		}
		stop()
		w.check("domain:a.test", 100, time.Second)
	})
}

// Permits that nobody wants any more are another's at once; those that are too small
// for the mail that is next do not keep its room.
func TestPermitsGoBack(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.set(shaping.Rule{To: "a.test", Recipients: perWindow(10, time.Minute)})
		a, b := w.client("d1"), w.client("d2")
		w.eventually(time.Second, "sessions", func() bool { return a.Live() && b.Live() })
		ha, hb := a.Lane(laneTo("a.test")), b.Lane(laneTo("a.test"))
		ha.Want(2, 10, 5)
		w.eventually(time.Second, "permits for all", func() bool { n, _ := ha.Ready(); return n == 2 })
		hb.Want(1, 10, 10)
		time.Sleep(100 * time.Millisecond)
		if n, _ := hb.Ready(); n != 0 {
			t.Fatal("more was given than the window holds")
		}
		asked := time.Now()
		ha.Want(0, 0, 0)
		w.eventually(100*time.Millisecond, "the other's permit", func() bool { n, _ := hb.Ready(); return n == 1 })
		t.Log("given to the other after", time.Since(asked))
		p, v := hb.Take(10)
		if p == nil {
			t.Fatal(v)
		}
		p.Return()
		hb.Want(1, 4, 4)
		p, _ = hb.Take(4)
		if p == nil || p.Begin() != nil {
			t.Fatal("it should be usable again")
		}
		p.Began()
		// Six of ten are left in hand; mail for seven does not fit them.
		hb.Want(1, 7, 7)
		if p, _ := hb.Take(7); p != nil {
			t.Fatal("a permit for more than was granted")
		}
		hb.Want(1, 6, 6)
		w.eventually(100*time.Millisecond, "room for six", func() bool { p, _ := hb.Take(6); return p != nil })
	})
}

// A stall between the look at the clock and the write is seen and counted.
func TestLateStart(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.set(shaping.Rule{To: "a.test", Messages: perWindow(10, time.Minute)})
		c := w.client("d1")
		w.eventually(time.Second, "a session", c.Live)
		h := c.Lane(laneTo("a.test"))
		h.Want(2, 2, 1)
		w.eventually(time.Second, "permits", func() bool { n, _ := h.Ready(); return n == 2 })
		on, _ := h.Take(1)
		late, _ := h.Take(1)
		if err := on.Begin(); err != nil {
			t.Fatal(err)
		}
		if err := late.Begin(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if on.Began() {
			t.Error("100 ms are not late")
		}
		time.Sleep(time.Second)
		if !late.Began() {
			t.Error("a start after the permit's end is late")
		}
		if s := c.Stats(); s.Started != 2 || s.Late != 1 {
			t.Errorf("%+v", s)
		}
		w.eventually(time.Second, "the leader knows", func() bool { return w.servers[0].Stats().Late == 1 })
		if s := w.servers[0].Stats(); !s.Leading || s.Term != 1 || s.Sessions != 1 || s.Granted != 2 || s.Started != 2 {
			t.Errorf("%+v", s)
		}
		if s := w.servers[1].Stats(); s.Leading {
			t.Errorf("%+v", s)
		}
		// One that is taken and not begun in time is refused.
		h.Want(1, 1, 1)
		w.eventually(time.Second, "a permit", func() bool { n, _ := h.Ready(); return n == 1 })
		p, _ := h.Take(1)
		time.Sleep(time.Second)
		if p.Begin() == nil {
			t.Error("an expired permit was begun")
		}
		if s := c.Stats(); s.Expired != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A leader whose clock runs at a wrong rate hands over; a deliverer's stops sending.
func TestWrongClock(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		c := w.client("d1")
		w.eventually(time.Second, "a session", c.Live)
		w.servers[0].wrong.Store(true)
		w.eventually(5*time.Second, "another leader", func() bool { i := w.leads(); return i > 0 })
		w.eventually(2*time.Second, "the session goes on", func() bool { return c.Live() && c.Stats().Leader != "s1" })
		c.wrong.Store(true)
		w.eventually(3*time.Second, "the deliverer stops", func() bool { return !c.Live() })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if c.Live() {
			t.Error("it works by a wrong clock")
		}
		c.wrong.Store(false)
		w.eventually(15*time.Second, "it works again", c.Live)
	})
}
