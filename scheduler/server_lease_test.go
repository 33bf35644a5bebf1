package scheduler

import (
	"context"
	"sort"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tarishi/tarishi/shaping"
)

// span is one connection that was open, by the true clock.
type openSpan struct {
	who      string
	from, to time.Time
}

// mostOpen is how many were open at once.
func mostOpen(spans []openSpan) (n int, when time.Time) {
	type edge struct {
		at time.Time
		d  int
	}
	var edges []edge
	for _, s := range spans {
		edges = append(edges, edge{s.from, 1}, edge{s.to, -1})
	}
	sort.Slice(edges, func(i, j int) bool {
		if !edges[i].at.Equal(edges[j].at) {
			return edges[i].at.Before(edges[j].at)
		}
		return edges[i].d < edges[j].d
	})
	open := 0
	for _, e := range edges {
		if open += e.d; open > n {
			n, when = open, e.at
		}
	}
	return n, when
}

// connect keeps a connection open as long as it may, again and again, until ctx or
// die ends. die is the end of the process: its sockets are closed and nobody says so.
func (c *worldClient) connect(ctx, die context.Context, l Lane, spans *[]openSpan) {
	h := c.Lane(l)
	for ctx.Err() == nil && die.Err() == nil {
		h.WantSlots(2)
		s, _ := h.TakeSlot()
		if s == nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		from := time.Now()
		for ctx.Err() == nil && die.Err() == nil && time.Now().Before(s.Deadline()) && !s.Ending() {
			time.Sleep(10 * time.Millisecond)
		}
		c.w.mu.Lock()
		*spans = append(*spans, openSpan{c.name, from, time.Now()})
		c.w.mu.Unlock()
		if die.Err() == nil {
			s.Close()
		}
	}
}

// Connections: never more than allowed, whatever dies; a change of leader breaks
// none of them; who waits gets his turn; those of a dead node are free in 35 s.
func TestConnectionSlots(t *testing.T) {
	inWorld(t, 5, func(w *world) {
		w.set(shaping.Rule{To: "a.test", Connections: number(3)})
		l := Lane{Dest: dest("a.test"), Kind: Connection}
		ctx, stop := context.WithCancel(w.ctx)
		defer stop()
		var spans []openSpan
		kill := map[string]context.CancelFunc{}
		deliver := func(name string) *worldClient {
			c := w.client(name)
			die, end := context.WithCancel(w.ctx)
			kill[name] = end
			for range 2 {
				w.run.Go(func() { c.connect(ctx, die, l, &spans) })
			}
			return c
		}
		d1 := deliver("d1")
		w.eventually(3*time.Second, "two slots", func() bool { return w.slots("d1") == 2 })
		time.Sleep(5 * time.Second)
		w.mu.Lock()
		if len(spans) != 0 {
			t.Errorf("nobody else waits, and %d connections were ended", len(spans))
		}
		w.mu.Unlock()
		deliver("d2")
		deliver("d3")
		w.eventually(10*time.Second, "each has one", func() bool { return w.slots("d1") == 1 && w.slots("d2") == 1 && w.slots("d3") == 1 })

		// The leader dies: nobody's connection does, for three seconds of election and
		// the time to come back, and no new one is made while one deliverer cannot tell
		// the new leader what it holds.
		w.mu.Lock()
		before := len(spans)
		w.mu.Unlock()
		killed := w.leads()
		w.killServer(killed)
		time.Sleep(3 * time.Second)
		next := w.servers[(killed+1)%3]
		w.net.cut("d1", next.o.Node, true)
		w.raft.elect(next.node)
		time.Sleep(6 * time.Second)
		w.net.cut("d1", next.o.Node, false)
		time.Sleep(3 * time.Second)
		w.mu.Lock()
		for _, s := range spans[before:] {
			t.Errorf("a connection of %s ended at %v", s.who, s.to.Sub(w.began))
		}
		w.mu.Unlock()
		w.reviveServer(killed)

		// A node dies with its connection: the slot is another's within 35 s.
		w.net.lose("d1")
		kill["d1"]()
		deliver("d4")
		w.eventually(35*time.Second, "the dead one's slot", func() bool { return w.slots("d2")+w.slots("d3")+w.slots("d4") == 3 })
		if d1.Live() {
			t.Error("the dead one's slot was given to others while it might have had its connection")
		}

		// A node that is cut off closes its connection before another may open one.
		for _, s := range w.addrs {
			w.net.cut("d2", s, true)
		}
		w.eventually(40*time.Second, "all for the others", func() bool { return w.slots("d3")+w.slots("d4") == 3 })
		for _, s := range w.addrs {
			w.net.cut("d2", s, false)
		}
		w.eventually(15*time.Second, "it is back", func() bool { return w.slots("d2") >= 1 })

		// Fewer are allowed: the surplus ends.
		w.set(shaping.Rule{To: "a.test", Connections: number(1)})
		if n := w.slots("d2") + w.slots("d3") + w.slots("d4"); n > 1 {
			t.Errorf("%d connections when one is in force", n)
		}
		end := time.Now()
		time.Sleep(30 * time.Second)
		stop()
		time.Sleep(time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if n, when := mostOpen(spans); n > 3 {
			t.Errorf("%d connections at %v", n, when.Sub(w.began))
		}
		var after []openSpan
		shares := map[string]time.Duration{}
		for _, s := range spans {
			if s.to.After(end) {
				s.from = later(s.from, end)
				after = append(after, s)
				shares[s.who] += s.to.Sub(s.from)
			}
		}
		if n, when := mostOpen(after); n > 1 {
			t.Errorf("%d connections at %v, when one is in force", n, when.Sub(w.began))
		}
		for _, who := range []string{"d2", "d3", "d4"} {
			if shares[who] < 5*time.Second {
				t.Errorf("%s had the only connection for %v of 30 s", who, shares[who])
			}
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// slots counts the slots in use that a deliverer may work with.
func (w *world) slots(name string) (n int) {
	for _, c := range w.clients {
		if c.name == name {
			c.Client.mu.Lock()
			for _, s := range c.Client.slots {
				if !s.ending.Load() {
					n++
				}
			}
			c.Client.mu.Unlock()
		}
	}
	return n
}

// tenure is a partition in one deliverer's hands.
type tenured struct {
	part     Part
	who      string
	from, to time.Time
}

// Partitions: each is one deliverer's at a time, whoever dies or is cut off, and
// whoever has it later has a higher epoch; all are shared evenly.
func TestPartitionsAreExclusive(t *testing.T) {
	inWorld(t, 6, func(w *world) {
		var history []tenured
		open := map[string]map[Part]time.Time{}
		ctx, stop := context.WithCancel(w.ctx)
		defer stop()
		watch := func() { // who holds what, by their own judgement
			for ctx.Err() == nil {
				w.mu.Lock()
				for _, c := range w.clients {
					if open[c.name] == nil {
						open[c.name] = map[Part]time.Time{}
					}
					for i := range c.Client.parts {
						p := Part{uint32(i), c.Client.parts[i].Load()}
						if _, ok := open[c.name][p]; !ok && c.Holds(p) {
							open[c.name][p] = time.Now()
						}
					}
					for p, from := range open[c.name] {
						if !c.Holds(p) {
							history = append(history, tenured{p, c.name, from, time.Now()})
							delete(open[c.name], p)
						}
					}
				}
				w.mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		}
		w.run.Go(watch)
		held := func(c *worldClient) (n int) {
			for i := range c.Client.parts {
				if c.Holds(Part{uint32(i), c.Client.parts[i].Load()}) {
					n++
				}
			}
			return n
		}
		shared := func(each int, cs ...*worldClient) func() bool {
			return func() bool {
				for _, c := range cs {
					if n := held(c); n < each || n > each+1 {
						return false
					}
				}
				return true
			}
		}
		a := w.client("d1")
		w.eventually(3*time.Second, "all for one", shared(64, a))
		b := w.client("d2")
		w.eventually(5*time.Second, "half each", shared(32, a, b))
		c := w.client("d3")
		w.eventually(5*time.Second, "a third each", shared(21, a, b, c))
		// The leader is lost; everyone keeps what he has.
		i := w.leads()
		w.raft.part(w.servers[i].node, true)
		time.Sleep(time.Second)
		w.raft.elect(w.servers[(i+1)%3].node)
		time.Sleep(5 * time.Second)
		w.raft.part(w.servers[i].node, false)
		w.mu.Lock()
		if n := len(history); n > 32+22 {
			t.Errorf("%d partitions changed hands", n)
		}
		w.mu.Unlock()
		for _, s := range w.addrs { // one is cut off
			w.net.cut("d3", s, true)
		}
		w.eventually(40*time.Second, "its partitions are the others'", shared(32, a, b))
		for _, s := range w.addrs {
			w.net.cut("d3", s, false)
		}
		w.eventually(10*time.Second, "it gets its share again", shared(21, a, b, c))
		c.Drain() // one leaves
		w.eventually(10*time.Second, "its partitions are the others' at once", shared(32, a, b))
		time.Sleep(time.Second)
		stop()
		time.Sleep(10 * time.Millisecond)
		w.mu.Lock()
		defer w.mu.Unlock()
		for who, m := range open {
			for p, from := range m {
				history = append(history, tenured{p, who, from, time.Now()})
			}
		}
		if r := porcupine.CheckOperations(partModel, partHistory(history)); !r {
			t.Errorf("%d tenures are no history of locks with growing epochs", len(history))
		}
		if len(history) < 64+32+43+32 {
			t.Errorf("only %d tenures", len(history))
		}
	})
}

// partModel is a lock for each partition whose every holder has a higher epoch.
var partModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[uint32][]porcupine.Operation{}
		for _, o := range history {
			n := o.Input.(partOp).part.N
			by[n] = append(by[n], o)
		}
		var out [][]porcupine.Operation
		for _, ops := range by {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return partLock{} },
	Step: func(state, input, _ any) (bool, any) {
		s, o := state.(partLock), input.(partOp)
		if o.take {
			return !s.held && o.part.Epoch > s.epoch, partLock{true, o.part.Epoch}
		}
		return s.held && s.epoch == o.part.Epoch, partLock{false, s.epoch}
	},
}

type partLock struct {
	held  bool
	epoch uint64
}

type partOp struct {
	take bool
	part Part
}

func partHistory(ts []tenured) (ops []porcupine.Operation) {
	ids := map[string]int{}
	for _, x := range ts {
		id, ok := ids[x.who]
		if !ok {
			id = len(ids)
			ids[x.who] = id
		}
		// A look every 5 ms sees a tenure begin and end that much too late at most.
		const look = int64(5 * time.Millisecond)
		ops = append(ops,
			porcupine.Operation{ClientId: id, Input: partOp{true, x.part}, Call: x.from.UnixNano() - look, Return: x.from.UnixNano()},
			porcupine.Operation{ClientId: id, Input: partOp{false, x.part}, Call: x.to.UnixNano() - look, Return: x.to.UnixNano()})
	}
	return ops
}

// A process that comes back after its crash and that of the leader has its partitions at
// once, if it can say which session was its last; otherwise when the lease is over. What
// another process still speaks for is not taken from it.
func TestDeadProcessIsNotWaitedFor(t *testing.T) {
	for name, says := range map[string]bool{"says": true, "says nothing": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 7, func(w *world) {
				held := func(c *worldClient) (n int) {
					for i := range c.Client.parts {
						if c.Holds(Part{uint32(i), c.Client.parts[i].Load()}) {
							n++
						}
					}
					return n
				}
				a, other := w.client("d1"), w.client("d2")
				w.eventually(5*time.Second, "half each", func() bool { return held(a) == 32 && held(other) == 32 })
				w.net.stop("d1") // dead: it is not heard of any more
				i := w.leads()
				w.killServer(i)
				var former SessionID
				if says {
					former = a.Stats().Session
				}
				a.end()
				time.Sleep(4 * time.Second) // it tries to say goodbye
				w.raft.elect(w.servers[(i+1)%3].node)
				w.net.start("d1")
				b := w.successor("d1", former)
				began := time.Now()
				w.eventually(40*time.Second, "the partitions of the dead", func() bool { return held(b) == 32 })
				if took := time.Since(began); says != (took < 5*time.Second) {
					t.Errorf("after %v", took)
				}
				c := w.successor("d3", other.Stats().Session) // of another name
				w.eventually(5*time.Second, "a third each", func() bool { return held(c) >= 21 })
				if n := held(other); n < 21 || n > 22 {
					t.Errorf("%d partitions are left to who lives", n)
				}
			})
		})
	}
}

// The judge of partitions itself: two holders at once, and an epoch that goes back.
func TestPartModelNotices(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for _, x := range []struct {
		name string
		h    []tenured
		want bool
	}{
		{"one after the other", []tenured{{Part{1, 1}, "a", at(0), at(1)}, {Part{1, 2}, "b", at(1), at(2)}}, true},
		{"two at once", []tenured{{Part{1, 1}, "a", at(0), at(2)}, {Part{1, 2}, "b", at(1), at(3)}}, false},
		{"an epoch that goes back", []tenured{{Part{1, 2}, "a", at(0), at(1)}, {Part{1, 1}, "b", at(1), at(2)}}, false},
	} {
		if got := porcupine.CheckOperations(partModel, partHistory(x.h)); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
	if n, _ := mostOpen([]openSpan{{"a", at(0), at(1)}, {"b", at(1), at(2)}, {"c", at(1), at(3)}}); n != 2 {
		t.Errorf("mostOpen: %d", n)
	}
}
