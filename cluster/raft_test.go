package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
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
}

// freePeers finds ports for n nodes. Other tests may take one before it is listened on,
// which fails loudly.
func freePeers(t *testing.T, n int) []Peer {
	var peers []Peer
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		peers = append(peers, Peer{fmt.Sprint("node", i+1), ln.Addr().String()})
	}
	return peers
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
		Timing: fast, Log: n.log, noSync: true,
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

func TestThreeNodes(t *testing.T) {
	nodes := testCluster(t, 3)
	startAll(t, nodes...)
	for i := range uint64(10) {
		propose(t, i, nodes...)
	}
	l := leaderOf(t, nodes...)
	l.stop()
	propose(t, 10, nodes...)
	for _, n := range nodes {
		if n.raft != nil {
			eventually(t, "all entries at "+n.peer.Node, func() bool { return len(n.fsm.numbers()) == 11 })
		}
	}
}
