package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestOneNode(t *testing.T) {
	dir := t.TempDir()
	for round := range uint64(3) {
		c := &counter{}
		r, err := StartRaft(t.Context(), RaftOptions{Dir: dir, FSM: c, Node: "mx1"})
		if err != nil {
			t.Fatal(err)
		}
		e := <-r.Leadership()
		if !e.Leading || e.Term != r.Leading() {
			t.Fatalf("event %+v, leading in %d", e, r.Leading())
		}
		if got, err := r.Propose(t.Context(), number(round)); err != nil || got != int(round)+1 {
			t.Fatalf("round %d: %v, %v", round, got, err)
		}
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, open := <-r.Leadership(); open {
			t.Fatal("events go on after Stop")
		}
	}
}

// Three nodes over mutual TLS lose their leader and go on.
func TestThreeNodes(t *testing.T) {
	nodes := testCluster(t, 3)
	cred := clusterCredentials(t, t.TempDir(), "node1", "node2", "node3")
	var up sync.WaitGroup
	for i, n := range nodes {
		n.listen(cred[i])
		up.Go(func() {
			if err := n.start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	up.Wait()
	for i := range uint64(10) {
		propose(t, i, nodes...)
	}
	l := leaderOf(t, nodes...)
	for _, n := range nodes {
		eventually(t, "everybody knows the leader", func() bool {
			node, addr := n.raft.Leader()
			return node == l.peer.Node && addr == l.peer.Addr
		})
		if n == l {
			continue
		}
		_, err := n.raft.Propose(t.Context(), number(0))
		var other *NotLeaderError
		if !errors.As(err, &other) || !errors.Is(err, ErrNotLeader) || other.Node != l.peer.Node || other.Addr != l.peer.Addr {
			t.Errorf("a follower answers %v", err)
		}
	}
	eventually(t, "all members are well", func() bool {
		well := 0
		for _, m := range l.raft.Members() {
			if m.Voter && m.Server != "" && m.Why == "" && m.Behind == 0 && (m.State == "follower" || m.State == "leader" && m.Self) {
				well++
			}
		}
		return well == 3
	})
	l.stop()
	propose(t, 10, nodes...)
	for _, n := range nodes {
		if n.raft != nil {
			eventually(t, "all entries at "+n.peer.Node, func() bool { return len(n.fsm.distinct()) == 11 })
			eventually(t, "the dead one is missed", func() bool {
				i := slices.IndexFunc(n.raft.Members(), func(m Member) bool { return m.Node == l.peer.Node })
				m := n.raft.Members()[i]
				return m.State == "missing" && strings.Contains(m.Why, "refused") && m.LastSeen > 0
			})
		}
	}
}

// A planned handover costs no election.
func TestTransfer(t *testing.T) {
	nodes := testCluster(t, 3)
	startAll(t, nodes...)
	propose(t, 1, nodes...)
	l := leaderOf(t, nodes...)
	term := l.raft.Leading()
	if err := l.raft.Transfer(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := leaderOf(t, nodes...)
	if next == l || next.raft.Leading() <= term {
		t.Errorf("%s led in %d, %s leads in %d", l.peer.Node, term, next.peer.Node, next.raft.Leading())
	}
	if err := l.raft.Transfer(t.Context()); err != nil {
		t.Errorf("a follower has nothing to hand over: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for _, n := range nodes {
		if n != next {
			n.stop()
		}
	}
	if err := next.raft.Transfer(ctx); err != nil && !strings.Contains(err.Error(), "could not be handed over") {
		t.Error(err)
	}
}

// A leader whose disk stands still keeps its leadership, so its process must end.
func TestStalledDisk(t *testing.T) {
	nodes := testCluster(t, 3)
	told := make(chan error, 3)
	var up sync.WaitGroup
	for _, n := range nodes {
		n.listen(nil)
		timing := fast
		timing.Stall = 600 * time.Millisecond
		n.fsm = &counter{}
		up.Go(func() {
			var err error
			if n.raft, err = StartRaft(t.Context(), RaftOptions{Dir: n.dir, FSM: n.fsm, Cluster: "test", Node: n.peer.Node, Peers: n.peers, Transport: n.tr,
				Timing: timing, Log: n.log, Fatal: func(err error) { told <- err }}); err != nil {
				t.Error(err)
			}
		})
	}
	up.Wait()
	propose(t, 1, nodes...)
	l := leaderOf(t, nodes...)
	stall, err := l.raft.store.db.Begin(true) // all other writes wait for it
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := l.raft.Propose(ctx, number(2)); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the proposal ends with %v", err)
	}
	if err := <-told; !strings.Contains(err.Error(), "the disk stands still") {
		t.Errorf("told %v", err)
	}
	if err := stall.Rollback(); err != nil {
		t.Fatal(err)
	}
	propose(t, 3, nodes...)
	if len(told) != 0 {
		t.Errorf("told again: %v", <-told)
	}
}

// A raft that was stopped starts again on the same transport.
func TestStopAndStart(t *testing.T) {
	nodes := testCluster(t, 3)
	startAll(t, nodes...)
	for round := range uint64(3) {
		n := leaderOf(t, nodes...)
		if err := n.raft.Stop(); err != nil {
			t.Error(err)
		}
		n.raft.Stop() // once is enough
		n.raft = nil
		propose(t, round, nodes...)
		if err := n.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what was committed without it", func() bool { return len(n.fsm.distinct()) == int(round)+1 })
	}
}

func TestAgain(t *testing.T) {
	for _, tt := range []struct {
		errs  []error // of one try after another
		want  error
		tries int
	}{
		{[]error{nil}, nil, 1},
		{[]error{io.EOF, syscall.ECONNRESET, fmt.Errorf("write: %w", syscall.EPIPE), nil}, nil, 4}, // as many as the pool holds
		{[]error{io.EOF, syscall.ECONNREFUSED}, syscall.ECONNREFUSED, 2},
		{[]error{io.EOF, io.EOF, io.EOF, io.EOF}, io.EOF, 4},
	} {
		tries := 0
		err := again(func() error { tries++; return tt.errs[tries-1] })
		if !errors.Is(err, tt.want) || tries != tt.tries {
			t.Errorf("%v: %v after %d tries", tt.errs, err, tries)
		}
	}
}

func TestRaftOptions(t *testing.T) {
	tr := testTransport(t, TransportOptions{Listen: "127.0.0.1:0"})
	dials := testTransport(t, TransportOptions{})
	peers := []Peer{{"node1", "127.0.0.1:7001"}, {"node2", "127.0.0.1:7011"}, {"node3", "127.0.0.1:7021"}}
	for _, tt := range []struct {
		o    RaftOptions
		want string
	}{
		{RaftOptions{}, "needs a state"},
		{RaftOptions{FSM: &counter{}, Peers: peers}, "needs a transport that listens"},
		{RaftOptions{FSM: &counter{}, Peers: peers, Transport: dials, Cluster: "test", Node: "node1"}, "needs a transport that listens"},
		{RaftOptions{FSM: &counter{}, Peers: peers, Transport: tr, Node: "node1"}, "needs a name"},
		{RaftOptions{FSM: &counter{}, Peers: peers, Transport: tr, Cluster: "test", Node: "node4"}, `node "node4" is not among the peers (node1=127.0.0.1:7001, `},
		{RaftOptions{FSM: &counter{}, Peers: append(peers, peers[0]), Transport: tr, Cluster: "test", Node: "node1"}, "listed twice"},
	} {
		tt.o.Dir = t.TempDir()
		if _, err := StartRaft(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
	r, err := StartRaft(t.Context(), RaftOptions{Dir: t.TempDir(), FSM: &counter{}, Node: "mx1"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	<-r.Leadership()
	if _, err := r.Propose(t.Context(), make([]byte, maxEntry+1)); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a large entry: %v", err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Propose(done, number(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a proposal that nobody waits for: %v", err)
	}
	if err := r.Leave(t.Context()); err == nil {
		t.Error("one node on its own leaves")
	}
	if m := r.Members(); len(m) != 1 || !m[0].Self || !m[0].Voter || m[0].State != "leader" {
		t.Errorf("members %+v", m)
	}
}
