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
	"slices"
	"strings"
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

// lines is a log that can be searched.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), s)
}

// logged gives a node a log that can be searched.
func (n *testNode) logged() *lines {
	l := &lines{}
	n.log = slog.New(slog.NewTextHandler(l, nil))
	return l
}
