package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

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

// A node is removed when the others do not list it any more, and only then: what is
// listed would be taken in again.
func TestRemove(t *testing.T) {
	t.Parallel()
	nodes := testCluster(t, 4)
	startAll(t, nodes...)
	propose(t, 1, nodes...)
	l := leaderOf(t, nodes...)
	refused := func(n *testNode, node, want string) {
		t.Helper()
		if err := n.raft.Remove(t.Context(), node); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("remove %s at %s: %v, want %q", node, n.peer.Node, err, want)
		}
	}
	i := slices.Index(nodes, l)
	dead, rest := nodes[(i+1)%4], []*testNode{l, nodes[(i+2)%4], nodes[(i+3)%4]}
	refused(l, "node9", "is no member")
	refused(l, l.peer.Node, "hand leadership over first")
	refused(rest[1], dead.peer.Node, l.peer.Node+" at "+l.peer.Addr+" does")
	refused(l, dead.peer.Node, "still among cluster.peers")
	for _, n := range rest {
		n.stop()
		n.peers = slices.DeleteFunc(slices.Clone(n.peers), func(p Peer) bool { return p == dead.peer })
		startAll(t, n)
	}
	eventually(t, "it answers still, and is not removed", func() bool {
		l := leaderOf(t, nodes...)
		if l == dead { // elected while the others restarted
			_ = dead.raft.Transfer(t.Context())
			return false
		}
		err := l.raft.Remove(t.Context(), dead.peer.Node)
		return err != nil && strings.Contains(err.Error(), "stop it first")
	})
	dead.stop()
	eventually(t, "the dead one is gone", func() bool {
		l = leaderOf(t, rest...)
		err := l.raft.Remove(t.Context(), dead.peer.Node)
		if err != nil && !strings.Contains(err.Error(), "answers") && !errors.Is(err, ErrNotLeader) {
			t.Fatal(err)
		}
		return len(l.raft.servers()) == 3
	})
	propose(t, 2, rest...)
	// Its disk is refused.
	log := dead.logged()
	dead.listen(nil)
	if err := dead.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a refusal that names the reason", func() bool { return log.has("is not among cluster.peers of the leader") })
	dead.stop()

	l = leaderOf(t, rest...)
	last := rest[(slices.Index(rest, l)+1)%3]
	if d := l.raft.Leaderless() + last.raft.Leaderless(); d > fast.Probe*10 {
		t.Errorf("no leader for %v, say those who have one", d)
	}
	for _, n := range rest {
		if n != last {
			n.stop()
		}
	}
	eventually(t, "the last one knows of no leader", func() bool { return last.raft.Leaderless() > 3*fast.Heartbeat })
}
