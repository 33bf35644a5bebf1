package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

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
