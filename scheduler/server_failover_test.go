package scheduler

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// However a leader is lost, sessions stand, unlimited mail never pauses, and limited
// mail flows again soon after another is elected.
func TestLeaderIsLost(t *testing.T) {
	for _, x := range []struct {
		name string
		lose func(w *world, i int)
		soon time.Duration // after the election
	}{
		{"its process is killed", func(w *world, i int) { w.killServer(i) }, 1500 * time.Millisecond},
		{"its machine loses power", func(w *world, i int) {
			w.raft.kill(w.servers[i].node)
			w.net.lose(w.servers[i].o.Node)
			w.servers[i].end()
		}, 3500 * time.Millisecond},
		{"it is stopped in an orderly way", func(w *world, i int) {
			if err := w.servers[i].Drain(w.ctx); err != nil {
				w.t.Error(err)
			}
		}, 700 * time.Millisecond},
	} {
		t.Run(x.name, func(t *testing.T) {
			inWorld(t, 4, func(w *world) {
				w.set(shaping.Rule{To: "a.test", Messages: perWindow(100, 10*time.Second)})
				ctx, stop := context.WithCancel(w.ctx)
				defer stop()
				for i := range 3 {
					c := w.client(fmt.Sprintf("d%d", i+1))
					w.run.Go(func() { c.send(ctx, laneTo("a.test"), 3) })
				}
				time.Sleep(15 * time.Second)
				i := w.leads()
				x.lose(w, i)
				if w.raft.leader == w.servers[i].node {
					time.Sleep(1500 * time.Millisecond)
					w.raft.elect(w.servers[(i+1)%3].node)
				}
				elected := time.Now()
				var back time.Duration // until all speak to the new leader
				for time.Since(elected) < 5*time.Second {
					ready := 0
					for _, c := range w.clients {
						if !c.Live() {
							t.Fatalf("%s stopped", c.name)
						}
						if s := c.Stats(); s.Term == 2 && s.Connected {
							ready++
						}
					}
					if ready == len(w.clients) && back == 0 {
						back = time.Since(elected)
					}
					time.Sleep(10 * time.Millisecond)
				}
				if back == 0 || back > x.soon {
					t.Errorf("all sessions were with the new leader after %v, not within %v", back, x.soon)
				}
				t.Log("all sessions were with the new leader after", back)
				for _, c := range w.clients {
					if s := c.Stats(); s.Lost != 0 || !s.Connected {
						t.Errorf("%s: %+v", c.name, s)
					}
				}
				w.eventually(20*time.Second, "limited mail", func() bool { return w.since("domain:a.test", elected) > 0 })
				time.Sleep(time.Minute)
				stop()
				w.check("domain:a.test", 100, 10*time.Second)
			})
		})
	}
}

// A leader that cannot hand over, and so does not stop, goes on handing out.
func TestDrainInVain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.set(shaping.Rule{To: "a.test", Messages: perWindow(10, time.Second)})
		c := w.client("d1")
		w.raft.kill(w.servers[1].node)
		w.raft.kill(w.servers[2].node)
		if err := w.servers[0].Drain(w.ctx); err == nil {
			t.Fatal("there is nobody to hand over to")
		}
		c.Lane(laneTo("a.test")).Want(1, 1, 1)
		w.eventually(10*time.Second, "a permit", func() bool { n, _ := c.Lane(laneTo("a.test")).Ready(); return n == 1 })
	})
}

// A deliverer that leaves in an orderly way leaves nothing behind that others wait
// for; one that comes back works again and says so.
func TestLeavingAndComingBack(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.set(shaping.Rule{To: "a.test", Messages: perWindow(5, time.Hour)})
		a, b := w.client("d1"), w.client("d2")
		w.eventually(time.Second, "sessions", func() bool { return a.Live() && b.Live() })
		a.Lane(laneTo("a.test")).Want(5, 5, 1)
		w.eventually(time.Second, "permits", func() bool { n, _ := a.Lane(laneTo("a.test")).Ready(); return n == 5 })
		a.Lane(laneTo("a.test")).Want(0, 0, 0)
		a.end()
		w.eventually(time.Second, "its session is over", func() bool {
			s, err := w.operator("op").Sessions(w.ctx)
			return err == nil && len(s) == 1 && s[0].Node == "d2"
		})
		b.Lane(laneTo("a.test")).Want(5, 5, 1)
		w.eventually(time.Second, "the other has its permits", func() bool { n, _ := b.Lane(laneTo("a.test")).Ready(); return n == 5 })

		told := b.told()
		for _, s := range w.addrs {
			w.net.cut("d2", s, true)
		}
		w.eventually(time.Minute, "it has lapsed", func() bool { return !b.Live() })
		for _, s := range w.addrs {
			w.net.cut("d2", s, false)
		}
		w.eventually(10*time.Second, "it works again", b.Live)
		w.eventually(time.Second, "the deliverer is told", func() bool { return b.told() > told })
	})
}

// The limits of a node's file are taken over once, and again when it changes.
func TestFileIsSubmitted(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		file := func(hash string, n int) shaping.Change {
			return shaping.Change{Op: shaping.OpFile, Node: "s2", Hash: hash, Rules: []shaping.Rule{{To: "a.test", Connections: &n}}}
		}
		op := NewOperator(Peers{Local: w.servers[1].Server, Addrs: w.addrs, Dial: w.net.dial("s2")}, nil)
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		// While nobody leads it is tried again and again.
		w.raft.part(w.servers[0].node, true)
		done := make(chan error, 1)
		w.run.Go(func() { done <- op.SubmitFile(ctx, file("h1", 3)) })
		time.Sleep(5 * time.Second)
		w.raft.elect(w.servers[1].node)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			c       shaping.Change
			version uint64
		}{{file("h1", 3), 2}, {file("h2", 4), 3}, {file("h2", 4), 3}} {
			if err := op.SubmitFile(ctx, x.c); err != nil {
				t.Fatal(err)
			}
			b, err := op.Book(ctx)
			if err != nil || b.Version != x.version || len(b.File) != 1 || *b.File[0].Connections != *x.c.Rules[0].Connections {
				t.Errorf("%s: %+v, %v", x.c.Hash, b, err)
			}
		}
		bad := file("h3", 1)
		bad.Rules[0].To = ""
		var refused *shaping.RefusedError
		if err := op.SubmitFile(ctx, bad); !errors.As(err, &refused) {
			t.Errorf("a bad file: %v", err)
		}
	})
}

// Whom to try next: who is said to lead, then our own, then everybody; two that name
// each other keep nobody from the third.
func TestFinder(t *testing.T) {
	f := finder{peers: Peers{Local: &Server{}, Addrs: []string{"a", "b"}}}
	seen := map[string]bool{}
	if first := f.next(); first != here {
		t.Errorf("first %q", first)
	}
	f.redirected("b")
	if d := f.moved(); d != 0 {
		t.Errorf("a redirection waits for %v", d)
	}
	if w := f.next(); w != "b" {
		t.Errorf("then %q", w)
	}
	if w := f.next(); w != "a" {
		t.Errorf("then %q", w)
	}
	f = finder{peers: Peers{Addrs: []string{"a", "b", "c"}}}
	var waited time.Duration
	for range 40 {
		w := f.next()
		seen[w] = true
		switch w {
		case "a":
			f.redirected("b")
			waited += f.moved()
		case "b":
			f.redirected("a")
			waited += f.moved()
		default:
			waited += f.failed()
		}
	}
	if !seen["c"] || waited < 300*time.Millisecond {
		t.Errorf("asked %v within %v", seen, waited)
	}
	f.found("c")
	f.lost(false)
	if w := f.next(); w != "c" {
		t.Errorf("a broken stream: %q is tried first", w)
	}
	f.found("c")
	f.lost(true)
	if len(f.hint) != 0 {
		t.Error("a silent leader is tried first")
	}
}
