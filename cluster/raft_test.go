package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// counter is a state that remembers what was applied, with the terms.
type counter struct {
	mu      sync.Mutex
	seen    []uint64 // numbers applied, in order
	terms   []uint64
	restore error
}

func (c *counter) Apply(_, term uint64, data []byte) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, binary.BigEndian.Uint64(data))
	c.terms = append(c.terms, term)
	return len(c.seen)
}

func (c *counter) Snapshot() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b []byte
	for i := range c.seen {
		b = binary.BigEndian.AppendUint64(b, c.seen[i])
		b = binary.BigEndian.AppendUint64(b, c.terms[i])
	}
	return b, nil
}

func (c *counter) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.restore != nil {
		return c.restore
	}
	c.seen, c.terms = nil, nil
	for ; len(b) >= 16; b = b[16:] {
		c.seen = append(c.seen, binary.BigEndian.Uint64(b))
		c.terms = append(c.terms, binary.BigEndian.Uint64(b[8:]))
	}
	return nil
}

func (c *counter) numbers() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]uint64(nil), c.seen...)
}

// distinct leaves out what a proposal of unknown outcome was repeated for.
func (c *counter) distinct() []uint64 { return slices.Compact(c.numbers()) }

// number is an entry.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// fast is for tests on loopback.
var fast = Timing{
	Heartbeat: 150 * time.Millisecond, Lease: 100 * time.Millisecond, Probe: 60 * time.Millisecond,
	Report: 200 * time.Millisecond, Stable: 200 * time.Millisecond,
}

// testNode is one node on TCP loopback.
type testNode struct {
	t     *testing.T
	peer  Peer
	peers []Peer
	dir   string
	fsm   *counter
	tr    *Transport
	raft  *Raft
	log   *slog.Logger

	trailing uint64 // entries kept after a snapshot; 0: as in production
}

// freePeers finds nodes with three free ports in a row, below those that the kernel
// gives to connections: one of them would be taken before it is listened on.
func freePeers(t testing.TB, n int) []Peer {
	t.Helper()
	var peers []Peer
	for range 1000 {
		p := Peer{fmt.Sprint("node", len(peers)+1), fmt.Sprint("127.0.0.1:", 12000+3*rand.IntN(6000))}
		free := true
		for _, addr := range []string{p.Addr, p.RouteAddr(), p.NATSAddr()} {
			ln, err := net.Listen("tcp", addr)
			if err != nil {
				free = false
				break
			}
			defer ln.Close()
		}
		if !free {
			continue
		}
		if peers = append(peers, p); len(peers) == n {
			return peers
		}
	}
	t.Fatal("no free ports")
	return nil
}

func (n *testNode) listen(cred *Credentials) {
	n.t.Helper()
	var err error
	if n.tr, err = NewTransport(TransportOptions{Cluster: "test", Node: n.peer.Node, Listen: n.peer.Addr, Credentials: cred, Log: n.log}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *testNode) start(ctx context.Context) error {
	n.fsm = &counter{}
	var err error
	n.raft, err = StartRaft(ctx, RaftOptions{
		Dir: n.dir, FSM: n.fsm, Cluster: "test", Node: n.peer.Node, Peers: n.peers, Transport: n.tr,
		Timing: fast, Log: n.log, noSync: true, snapshot: 1000 * n.trailing, trailing: n.trailing,
		Fatal: func(err error) { n.t.Errorf("%s: %v", n.peer.Node, err) },
	})
	return err
}

func (n *testNode) stop() {
	if n.raft != nil {
		n.raft.Stop()
		n.raft = nil
	}
	if n.tr != nil {
		n.tr.Close()
		n.tr = nil
	}
}

// testCluster makes nodes that are not started yet.
func testCluster(t *testing.T, n int) []*testNode {
	peers := freePeers(t, n)
	var out []*testNode
	for _, p := range peers {
		node := &testNode{t: t, peer: p, peers: peers, dir: t.TempDir(), log: testLog(t).With("at", p.Node)}
		t.Cleanup(node.stop)
		out = append(out, node)
	}
	return out
}

// startAll starts the nodes at once.
func startAll(t *testing.T, nodes ...*testNode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	errs := make(chan error)
	for _, n := range nodes {
		n.listen(nil)
		go func() { errs <- n.start(ctx) }()
	}
	for range nodes {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range nodes { // one that is stopped before would rightly wait for the others
		eventually(t, "a log at "+n.peer.Node, n.raft.hasLog)
	}
}

// eventually waits for what goroutines of raft bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func leaderOf(t *testing.T, nodes ...*testNode) *testNode {
	t.Helper()
	var l *testNode
	eventually(t, "a leader", func() bool {
		for _, n := range nodes {
			if n.raft != nil && n.raft.Leading() != 0 {
				l = n
				return true
			}
		}
		return false
	})
	return l
}

// propose commits a number through whoever leads.
func propose(t *testing.T, n uint64, nodes ...*testNode) {
	t.Helper()
	eventually(t, fmt.Sprint("commit of ", n), func() bool {
		for _, node := range nodes {
			if node.raft == nil {
				continue
			}
			_, err := node.raft.Propose(t.Context(), number(n))
			if err == nil {
				return true
			}
			if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnknownOutcome) {
				t.Fatal(err)
			}
		}
		return false
	})
}

func testLog(t *testing.T) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return slog.New(slog.DiscardHandler)
}

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

// A snapshot and the log after it come back as they were; what cannot be read is
// refused, or replaced by what can.
func TestSnapshots(t *testing.T) {
	dir := t.TempDir()
	start := func(restore error) (*Raft, *counter, error) {
		c := &counter{restore: restore}
		r, err := StartRaft(t.Context(), RaftOptions{Dir: dir, FSM: c, Node: "mx1", noSync: true})
		if err == nil {
			<-r.Leadership()
		}
		return r, c, err
	}
	var next uint64
	grow := func(r *Raft, n int) {
		t.Helper()
		for range n {
			if _, err := r.Propose(t.Context(), number(next)); err != nil {
				t.Fatal(err)
			}
			next++
		}
	}
	r, _, err := start(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // of which two are kept
		grow(r, 10)
		if err := r.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	grow(r, 5)
	r.Stop()
	kept, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*"))
	if len(kept) != 2 {
		t.Fatalf("kept %v", kept)
	}
	check := func() {
		t.Helper()
		r, c, err := start(nil)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the log is applied", func() bool { return len(c.numbers()) == int(next) })
		for i, n := range c.numbers() {
			if n != uint64(i) {
				t.Fatalf("entry %d is %d", i, n)
			}
		}
		r.Stop()
	}
	check()
	if _, _, err := start(fmt.Errorf("format 9: %w", ErrNewer)); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer snapshot: %v", err)
	}
	// The newest is damaged: the older one and the log do as well.
	slices.Sort(kept)
	state := filepath.Join(kept[1], "state.bin")
	b, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	b[3] ^= 1
	os.WriteFile(state, b, 0o600)
	check()
	// Unless the log does not reach back to it.
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := s.FirstIndex()
	s.DeleteRange(first, first+28)
	s.Close()
	if _, _, err := start(nil); err == nil || !strings.Contains(err.Error(), "the log does not go on after entry") {
		t.Errorf("with a gap: %v", err)
	}
}

// A node whose log ends before the others' begin gets a snapshot.
func TestSnapshotToJoiner(t *testing.T) {
	t.Parallel()
	nodes := testCluster(t, 3)
	for _, n := range nodes {
		n.trailing = 5
	}
	startAll(t, nodes...)
	for i := range uint64(30) {
		propose(t, i, nodes...)
	}
	victim := nodes[2]
	victim.stop()
	os.RemoveAll(victim.dir)
	for _, n := range nodes[:2] {
		eventually(t, "all entries", func() bool { return len(n.fsm.distinct()) == 30 })
		if err := n.raft.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		if first, err := n.raft.store.FirstIndex(); err != nil || first < 10 {
			t.Fatalf("the log still begins at %d (%v)", first, err)
		}
	}
	startAll(t, victim)
	propose(t, 30, nodes...)
	check := func() {
		t.Helper()
		eventually(t, "the state", func() bool { return slices.Equal(victim.fsm.distinct(), nodes[0].fsm.distinct()) })
	}
	check()
	victim.stop() // and again from its own snapshot and log
	startAll(t, victim)
	check()
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
