package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

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

func TestDecide(t *testing.T) {
	peers := []Peer{{"a", "a:1"}, {"b", "b:1"}, {"c", "c:1"}}
	self := func(node string) Status { return Status{Node: node, Server: node + "-new", Peers: peers} }
	fresh := func(node string) probed {
		return probed{node: node, addr: node + ":1", asked: true, status: &Status{Node: node, Server: node + "-1", Peers: peers}}
	}
	member := func(node, state string, term uint64, leader string, servers ...string) probed {
		p := fresh(node)
		p.status.HasLog, p.status.State, p.status.Term, p.status.ClusterID = true, state, term, "id"
		if leader != "" {
			p.status.Leader = Peer{leader, leader + ":1"}
		}
		for _, s := range servers {
			p.status.Servers = append(p.status.Servers, ServerStatus{Server: s})
		}
		return p
	}
	silent := func(node string) probed {
		return probed{node: node, addr: node + ":1", asked: true, err: errors.New("no route to host")}
	}
	foreign := func(node string) probed {
		return probed{node: node, addr: node + ":1", asked: true, err: &RefusedError{Node: node, Reason: "node " + node + " belongs to cluster x", Foreign: true}}
	}
	other := func(node string, peers []Peer) probed {
		p := fresh(node)
		p.status.Peers = peers
		return p
	}
	for _, tt := range []struct {
		name string
		self string
		seen []probed
		do   stepKind
		why  string // a part of it, or of the error
		err  bool
	}{
		{"the first founds when all answer", "a", []probed{fresh("b"), fresh("c")}, stepFound, "", false},
		{"the others wait for it", "b", []probed{fresh("a"), fresh("c")}, stepWait, "a is about to found", false},
		{"not while one is silent", "a", []probed{fresh("b"), silent("c")}, stepWait, "c at c:1: no route to host", false},
		{"not before all were asked", "a", []probed{fresh("b"), {node: "c", addr: "c:1"}}, stepWait, "c at c:1 has not answered yet", false},
		{"not with another list", "a", []probed{fresh("b"), other("c", peers[:2])}, stepWait, "c lists a=a:1, b=b:1, this node (a) a=a:1, b=b:1, c=c:1", false},
		{"the order of a list does not matter", "a", []probed{fresh("b"), other("c", []Peer{peers[2], peers[0], peers[1]})}, stepFound, "", false},
		{"start in a cluster that holds this server", "b", []probed{member("a", "candidate", 2, "", "a-1", "b-new"), silent("c")}, stepStart, "", false},
		{"join one that does not", "b", []probed{member("a", "leader", 2, "a", "a-1", "b-old"), silent("c")}, stepJoin, "", false},
		{"by way of a follower", "b", []probed{member("a", "follower", 2, "c", "a-1", "b-old"), silent("c")}, stepJoin, "", false},
		{"not without a leader", "b", []probed{member("a", "candidate", 2, "", "a-1", "b-old"), silent("c")}, stepWait, "no leader at present", false},
		{"never found beside a log", "a", []probed{member("b", "candidate", 2, "", "b-1"), fresh("c")}, stepWait, "no leader at present", false},
		{"a foreign peer ends it", "a", []probed{fresh("b"), foreign("c")}, stepWait, "c at c:1: node c belongs to cluster x", true},
		{"but not before all were asked", "a", []probed{{node: "b", addr: "b:1"}, foreign("c")}, stepWait, "b at b:1 has not answered yet", false},
		{"nor in a cluster that knows us", "a", []probed{member("b", "leader", 2, "b", "b-1", "a-new"), foreign("c")}, stepStart, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := decide(self(tt.self), tt.seen)
			if (err != nil) != tt.err {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				s.why = err.Error()
			}
			if s.do != tt.do || !strings.Contains(s.why, tt.why) {
				t.Fatalf("does %v because %q", s.do, s.why)
			}
		})
	}
}

// However the nodes are started, and started again, one cluster comes of it.
func TestFormationOrders(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			t.Parallel()
			nodes := testCluster(t, 3)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			errs := make(chan error, 3)
			for k, i := range order {
				n := nodes[i]
				n.listen(nil)
				go func() { errs <- n.start(ctx) }()
				var s *Status
				eventually(t, "an answer", func() bool {
					var err error
					s, err = n.tr.Status(ctx, n.peer.Addr)
					return err == nil
				})
				if s.HasLog && k < 2 {
					t.Fatalf("%s has founded a cluster of %d nodes", n.peer.Node, k+1)
				}
			}
			for range nodes {
				if err := <-errs; err != nil {
					t.Fatal(err)
				}
			}
			propose(t, 1, nodes...)
			for _, n := range nodes {
				eventually(t, "the entry", func() bool { return len(n.fsm.distinct()) == 1 })
			}
			for _, n := range nodes {
				n.stop()
			}
			slices.Reverse(order)
			for _, i := range order {
				startAll(t, nodes[i])
			}
			propose(t, 2, nodes...)
			for _, n := range nodes {
				eventually(t, "both entries", func() bool { return slices.Equal(n.fsm.distinct(), []uint64{1, 2}) })
				if len(n.raft.servers()) != 3 || n.raft.identity().ClusterID != nodes[0].raft.identity().ClusterID {
					t.Fatalf("%s: %d servers, cluster %s", n.peer.Node, len(n.raft.servers()), n.raft.identity().ClusterID)
				}
			}
		})
	}
}

func TestMissingPeer(t *testing.T) {
	t.Parallel()
	nodes := testCluster(t, 3)
	logs := []*lines{nodes[0].logged(), nodes[1].logged()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := make(chan error, 2)
	for _, n := range nodes[:2] {
		n.listen(nil)
		go func() { errs <- n.start(ctx) }()
	}
	want := "node3 at " + nodes[2].peer.Addr + ": the connection is refused: nothing listens there"
	for _, l := range logs {
		eventually(t, want+" in the log", func() bool { return l.has(want) })
	}
	cancel()
	for range 2 {
		if err := <-errs; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	// And with a log, but no majority.
	for _, n := range nodes {
		n.stop()
	}
	startAll(t, nodes...)
	for _, n := range nodes {
		n.stop()
	}
	startAll(t, nodes[0])
	eventually(t, "a reason in the log", func() bool {
		return logs[0].has("1 of 3 voters are here, 2 are needed: node2 at " + nodes[1].peer.Addr + " is missing for")
	})
}

func TestWipedDisk(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"a follower", "the leader"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			nodes := testCluster(t, 3)
			startAll(t, nodes...)
			propose(t, 1, nodes...)
			victim := leaderOf(t, nodes...)
			if who == "a follower" {
				victim = nodes[(slices.Index(nodes, victim)+1)%3]
			}
			old := victim.raft.identity().Server
			victim.stop()
			os.RemoveAll(victim.dir)
			propose(t, 2, nodes...)
			startAll(t, victim)
			if now := victim.raft.identity().Server; now == old || nodeOf(now) != victim.peer.Node {
				t.Fatalf("it came back as %s, it was %s", now, old)
			}
			propose(t, 3, nodes...)
			eventually(t, "all entries at the node that lost them", func() bool { return len(victim.fsm.distinct()) == 3 })
			eventually(t, "its vote back, and no trace of its old id", func() bool {
				servers := victim.raft.servers()
				return len(servers) == 3 && victim.raft.voters() == 3 &&
					!slices.ContainsFunc(victim.raft.Members(), func(m Member) bool { return m.Server == old })
			})
		})
	}
}

func TestForeignPeer(t *testing.T) {
	nodes := testCluster(t, 3)
	logs := []*lines{nodes[0].logged(), nodes[1].logged(), nodes[2].logged()}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	errs := make(chan error, 3)
	for i, n := range nodes {
		cluster := "test"
		if i == 2 {
			cluster = "other"
		}
		var err error
		if n.tr, err = NewTransport(TransportOptions{Cluster: cluster, Node: n.peer.Node, Listen: n.peer.Addr, Log: n.log}); err != nil {
			t.Fatal(err)
		}
		go func() {
			var err error
			n.raft, err = StartRaft(ctx, RaftOptions{Dir: n.dir, FSM: &counter{}, Cluster: cluster, Node: n.peer.Node, Peers: n.peers, Transport: n.tr, Timing: fast, Log: n.log})
			errs <- err
		}()
	}
	for range nodes {
		if err := <-errs; !errors.Is(err, ErrForeign) {
			t.Errorf("error %v", err)
		} else if !strings.Contains(err.Error(), `to cluster "other"`) || !strings.Contains(err.Error(), `cluster "test"`) {
			t.Errorf("error %v does not name both clusters", err)
		}
	}
	for i, l := range logs[1:] { // node1 and node2, or node3, were asked by a stranger
		if !l.has("a node was refused") {
			t.Errorf("%s does not log the stranger", nodes[i+1].peer.Node)
		}
	}
	// Two clusters of one name know each other by their ids.
	a := judgeHello(identity{Cluster: "test", ClusterID: "1", Node: "a"}, hello{Kind: kindRaft, Cluster: "test", ClusterID: "2", Node: "b"}, nil, &kind{})
	if a.Code != helloForeign || !strings.Contains(a.Reason, "two different clusters that are both called") {
		t.Errorf("answer %+v", a)
	}
}

// A node that has died is removed when another has taken its place, and not before.
func TestReplacement(t *testing.T) {
	t.Parallel()
	nodes := testCluster(t, 4)
	before, after := nodes[0].peers[:3], []Peer{nodes[0].peer, nodes[1].peer, nodes[3].peer}
	timing := fast
	timing.Dead = 300 * time.Millisecond
	start := func(n *testNode, peers []Peer) {
		t.Helper()
		n.listen(nil)
		n.fsm = &counter{}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var err error
		if n.raft, err = StartRaft(ctx, RaftOptions{Dir: n.dir, FSM: n.fsm, Cluster: "test", Node: n.peer.Node, Peers: peers, Transport: n.tr, Timing: timing, Log: n.log, noSync: true}); err != nil {
			t.Error(err)
		}
	}
	var up sync.WaitGroup
	for _, n := range nodes[:3] {
		up.Go(func() { start(n, before) })
	}
	up.Wait()
	propose(t, 1, nodes...)
	eventually(t, "the entry at node3", func() bool { return len(nodes[2].fsm.distinct()) == 1 })
	nodes[2].stop()
	for _, n := range nodes[:2] { // a rolling restart with the new list
		n.stop()
		start(n, after)
		propose(t, 2, nodes...)
	}
	if n := len(nodes[0].raft.servers()); n != 3 {
		t.Fatalf("%d servers before the replacement", n)
	}
	start(nodes[3], after)
	eventually(t, "node4 in the place of node3", func() bool {
		var names []string
		for _, s := range nodes[0].raft.servers() {
			names = append(names, nodeOf(string(s.ID)))
		}
		slices.Sort(names)
		return slices.Equal(names, []string{"node1", "node2", "node4"}) && nodes[0].raft.voters() == 3
	})
	// It comes back, is not listed, and is told so.
	log := nodes[2].logged()
	start(nodes[2], nodes[0].peers)
	eventually(t, "a refusal that names the mend", func() bool { return log.has("is not among cluster.peers of the leader") })
}

// A node that the configuration gives another address is found there.
func TestMovedNode(t *testing.T) {
	t.Parallel()
	nodes := testCluster(t, 3)
	startAll(t, nodes...)
	propose(t, 1, nodes...)
	moved := slices.Clone(nodes[0].peers)
	moved[2].Addr = freePeers(t, 1)[0].Addr
	server := nodes[2].raft.identity().Server
	for i, n := range nodes { // one by one
		n.stop()
		n.peer, n.peers = moved[i], moved
		startAll(t, n)
		propose(t, uint64(i)+2, nodes...)
	}
	eventually(t, "the new address in raft's configuration, and all entries there", func() bool {
		return slices.ContainsFunc(nodes[0].raft.Members(), func(m Member) bool {
			return m.Server == server && m.Addr == moved[2].Addr && m.Voter
		}) && len(nodes[2].fsm.distinct()) == 4
	})
}

func TestPlan(t *testing.T) {
	timing := Timing{}
	timing.fill()
	long, short := 11*time.Minute, time.Minute
	up := func(n string) seat {
		return seat{server: n + "-1", node: n, voter: true, well: time.Hour, listed: true}
	}
	leader := up("a")
	leader.self, leader.well = true, 0
	down := func(n string, gone time.Duration, listed bool) seat {
		return seat{server: n + "-1", node: n, voter: true, gone: gone, listed: listed}
	}
	joiner := func(n string, well time.Duration, behind uint64) seat {
		return seat{server: n + "-1", node: n, well: well, behind: behind, listed: true}
	}
	for _, tt := range []struct {
		name   string
		seats  []seat
		listed int
		want   string
	}{
		{"all well", []seat{leader, up("b"), up("c")}, 3, " "},
		{"a dead one of three stays", []seat{leader, up("b"), down("c", long, true)}, 3, " "},
		{"a dead one that is replaced goes", []seat{leader, up("b"), down("c", long, false), up("d")}, 3, "remove c"},
		{"not so soon", []seat{leader, up("b"), down("c", short, false), up("d")}, 3, " "},
		{"not before the replacement votes", []seat{leader, up("b"), down("c", long, false), joiner("d", time.Second, 0)}, 3, " "},
		{"a dead one of five stays", []seat{leader, up("b"), up("c"), up("d"), down("e", long, true)}, 5, " "},
		{"not when too few are well", []seat{leader, up("b"), down("c", short, true), down("d", long, false), down("e", long, false)}, 3, " "},
		{"one at a time", []seat{leader, up("b"), up("c"), down("d", long, false), down("e", long, false)}, 3, "remove d"},
		{"a joiner gets its vote", []seat{leader, up("b"), joiner("c", 11*time.Second, 20)}, 3, "promote c"},
		{"not while it is behind", []seat{leader, up("b"), joiner("c", time.Hour, 5000)}, 3, " "},
		{"nor at once", []seat{leader, up("b"), joiner("c", 9*time.Second, 0)}, 3, " "},
		{"a joiner that is gone and not listed goes", []seat{leader, up("b"), up("c"), {server: "d-1", node: "d", gone: long}}, 3, "remove d"},
		{"one that is listed stays", []seat{leader, up("b"), up("c"), {server: "d-1", node: "d", gone: long, listed: true}}, 4, " "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			what, who := plan(tt.seats, tt.listed, timing)
			if got := what + " " + who.node; got != tt.want {
				t.Fatalf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	nodes := testCluster(t, 3)
	startAll(t, nodes...)
	propose(t, 1, nodes...)
	l := leaderOf(t, nodes...) // the hardest case: it has to hand over first
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := l.raft.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	l.raft = nil
	propose(t, 2, nodes...)
	rest := slices.DeleteFunc(slices.Clone(nodes), func(n *testNode) bool { return n == l })
	eventually(t, "two members", func() bool { return len(rest[0].raft.servers()) == 2 && len(rest[1].raft.servers()) == 2 })
	l.stop()
	l.listen(nil)
	if err := l.start(ctx); err == nil || !strings.Contains(err.Error(), "has left its cluster") {
		t.Errorf("a node that has left starts again: %v", err)
	}
	// With its folder away it may come back.
	if err := os.Rename(l.dir, filepath.Join(t.TempDir(), "away")); err != nil {
		t.Fatal(err)
	}
	l.stop()
	startAll(t, l)
	eventually(t, "three voters", func() bool { return l.raft.voters() == 3 })
}

// A second machine with a node's name must not push the real one out.
func TestNodeRunsTwice(t *testing.T) {
	t.Parallel()
	nodes := testCluster(t, 3)
	startAll(t, nodes...)
	l := leaderOf(t, nodes...)
	victim := nodes[(slices.Index(nodes, l)+1)%3]
	rogue, err := NewTransport(TransportOptions{Cluster: "test", Node: victim.peer.Node})
	if err != nil {
		t.Fatal(err)
	}
	defer rogue.Close()
	for _, tt := range []struct {
		q    statusRequest
		want string
	}{
		{statusRequest{Op: "join", Server: victim.peer.Node + "-12345678", Addr: victim.peer.Addr}, "running twice?"},
		{statusRequest{Op: "join", Server: victim.peer.Node + "-12345678", Addr: "127.0.0.1:1"}, "the list must be the same"},
		{statusRequest{Op: "join", Server: "node9-12345678", Addr: victim.peer.Addr}, "in the name of server"},
		{statusRequest{Op: "leave", Server: string(l.raft.identity().Server)}, "in the name of server"},
		{statusRequest{Op: "reboot"}, "unknown request"},
	} {
		a := asker{t: rogue, addr: l.peer.Addr}
		reply, err := a.ask(t.Context(), tt.q)
		a.close()
		if err != nil || !strings.Contains(reply.Error, tt.want) {
			t.Errorf("%+v: %+v, %v; want %q", tt.q, reply, err, tt.want)
		}
	}
	if len(l.raft.servers()) != 3 || l.raft.voters() != 3 {
		t.Error("a member is gone")
	}
}
