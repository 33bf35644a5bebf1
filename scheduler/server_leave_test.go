package scheduler

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// A node that stops in order, under load, and hands the leadership on, leaves nothing
// behind that others wait out: not with permits in hand that it has no use for, and not
// where its session ends right before the term does, or while nobody leads.
func TestOrderlyStopIsShort(t *testing.T) {
	for _, x := range []struct {
		name string
		stop func(w *world, a *worldClient)
	}{
		{"session, then term", func(w *world, a *worldClient) {
			a.end()
			synctest.Wait()
			if err := w.servers[0].Drain(w.ctx); err != nil {
				w.t.Error(err)
			}
		}},
		{"both at once", func(w *world, a *worldClient) {
			w.run.Go(func() { w.servers[0].Drain(w.ctx) })
			time.Sleep(time.Millisecond)
			a.end()
		}},
		{"while nobody leads", func(w *world, a *worldClient) {
			w.killServer(0)
			time.Sleep(200 * time.Millisecond)
			a.end()
			time.Sleep(800 * time.Millisecond)
			w.raft.elect(w.servers[1].node)
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				w.set(shaping.Rule{To: "two.test", Connections: ptr(2)})
				w.set(shaping.Rule{To: "a.test", Messages: perWindow(50, 10*time.Second)})
				two := Lane{Dest: dest("two.test"), Kind: Connection}
				a, b := w.client("d1"), w.client("d2")
				w.eventually(time.Second, "sessions", func() bool { return a.Live() && b.Live() })
				a.Lane(two).WantSlots(2)
				w.eventually(5*time.Second, "slots", func() bool { return a.Lane(two).FreeSlots() == 2 })
				b.Lane(two).WantSlots(2)
				a.Lane(laneTo("a.test")).Want(20, 20, 1)
				w.eventually(time.Second, "permits", func() bool { n, _ := a.Lane(laneTo("a.test")).Ready(); return n > 0 })
				a.Drain()
				stopped := time.Now()
				x.stop(w, a)
				w.eventually(40*time.Second, "the other has the connections", func() bool { return b.Lane(two).FreeSlots() == 2 })
				if d := time.Since(stopped); d > 5*time.Second {
					t.Errorf("the connections were free after %v", d)
				} else {
					t.Log("the connections were free after", d)
				}
			})
		})
	}
}
