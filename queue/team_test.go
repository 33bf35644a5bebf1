package queue

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/mail"
)

// fleet is several queues that work on the same streams, with a scheduler that gives
// them partitions. The streams are kept by one server, unless a test says otherwise:
// what several nodes do to each other does not depend on who keeps them.
type fleet struct {
	t      testing.TB
	server InProcess
	opts   Options

	mu     sync.Mutex
	leases [Partitions]lease
	epoch  uint64
	nodes  []*member
}

type lease struct {
	to    *member
	epoch uint64
}

// member is one node of a fleet.
type member struct {
	*node
	f    *fleet
	name string
}

func newFleet(t testing.TB, o Options) *fleet {
	t.Helper()
	s, err := cluster.StartNATS(cluster.NATSOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return fleetOn(t, s, o)
}

func fleetOn(t testing.TB, s InProcess, o Options) *fleet {
	f := &fleet{t: t, server: s, opts: o}
	if f.opts.Replicas == 0 {
		f.opts.Replicas = 1
	}
	return f
}

// join starts one more node.
func (f *fleet) join(name string) *member { return f.joinOn(name, f.server) }

func (f *fleet) joinOn(name string, s InProcess) *member {
	f.t.Helper()
	m := &member{f: f, name: name, node: &node{t: f.t}}
	o := f.opts
	o.Server, o.Cluster, o.Node = s, true, name
	o.MayWork = func(p uint32, epoch uint64) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.leases[p] == lease{m, epoch}
	}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", name)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	var err error
	if m.Queue, err = Open(ctx, o); err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.nodes = append(f.nodes, m)
	f.mu.Unlock()
	f.t.Cleanup(m.leave)
	return m
}

// leave ends a node cleanly.
func (m *member) leave() {
	if m.Queue == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := m.Queue.Close(ctx); err != nil {
		m.t.Error(err)
	}
	m.Queue = nil
}

// kill ends a node without a word to anybody.
func (m *member) kill() {
	m.Queue.stop()
	m.Queue.hangUp()
	m.Queue.wg.Wait()
	m.Queue = nil
}

// give leases partitions to a node, as the scheduler does when the former holder has
// let go of them or its lease has lapsed.
func (f *fleet) give(m *member, ps ...uint32) {
	f.t.Helper()
	f.mu.Lock()
	f.epoch++
	epoch := f.epoch
	for _, p := range ps {
		f.leases[p] = lease{m, epoch}
	}
	f.mu.Unlock()
	for _, p := range ps {
		if err := m.Hold(p, epoch); err != nil {
			f.t.Fatal(err)
		}
	}
	eventually(f.t, fmt.Sprintf("%s holds %d partitions", m.name, len(ps)), func() bool {
		held := map[uint32]bool{}
		for _, p := range m.Held() {
			held[p] = true
		}
		for _, p := range ps {
			if !held[p] {
				return false
			}
		}
		return true
	})
}

func allParts() (ps []uint32) {
	for p := range uint32(Partitions) {
		ps = append(ps, p)
	}
	return ps
}

// eventually waits for what another goroutine brings about.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatal("not within 40 s: ", what)
}

// left counts what is in READY and in WAIT.
func (f *fleet) left(m *member) (ready, wait int) {
	f.t.Helper()
	err := m.scan(f.t.Context(), func(s stored) error {
		if s.subject == "" {
			ready++
		} else {
			wait++
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return ready, wait
}

func (m *member) put(id string, to ...string) {
	m.t.Helper()
	msg, ds := message(id, to...)
	w := m.NewWriter(id)
	if _, err := io.WriteString(w, "x\r\n"); err != nil {
		m.t.Fatal(err)
	}
	if err := w.Commit(m.t.Context(), msg, ds); err != nil {
		m.t.Fatal(err)
	}
}

// drained collects due jobs for a while.
func (m *member) drainFor(d time.Duration) (js []*Job) {
	ctx, cancel := context.WithTimeout(m.t.Context(), d)
	defer cancel()
	_ = m.Drain(ctx, func(mail.Line) int { return 1000 }, func(j *Job) { js = append(js, j) })
	return js
}

// One node takes mail in, another delivers some and parks the rest, a third one
// delivers what waits.
func TestTeamWorksTogether(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	in, out, waiter := f.join("in"), f.join("out"), f.join("waiter")
	f.give(waiter, allParts()...)
	const count = 40
	for i := range count {
		in.put(fmt.Sprint("m", i), fmt.Sprintf("u@d%d.test", i%5))
	}
	for i, j := range out.fetch(count) {
		if err := j.Dot(t.Context(), "mx"); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			j.Done(Attempt{})
			continue
		}
		next := j.Delivery
		next.Attempts++
		j.Wait(next, &Attempt{})
	}
	flushMember(t, out)
	eventually(t, "the waiter has heard of what waits", func() bool { return waiter.Stats().Waiting == count/2 })
	for _, j := range waiter.drain(count / 2) {
		if err := j.Dot(t.Context(), "mx"); err != nil {
			t.Fatal(err)
		}
		j.Done(Attempt{})
	}
	flushMember(t, waiter)
	if r, w := f.left(in); r != 0 || w != 0 {
		t.Errorf("%d are left in READY and %d in WAIT", r, w)
	}
	if s := waiter.Stats(); s.Waiting != 0 || s.Active != 0 {
		t.Errorf("%+v", s)
	}
}

func flushMember(t testing.TB, m *member) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := m.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}
