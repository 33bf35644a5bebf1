package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// Member is a node of the cluster as this node sees it.
type Member struct {
	Node    string
	Addr    string
	Server  string // raft id; empty: listed among the peers, but no member (yet)
	Release string
	Self    bool
	Voter   bool
	// State is leader, follower or candidate as the node itself says; waiting: it takes
	// no part yet; missing: it does not answer, Why says why.
	State    string
	Why      string
	LastSeen time.Duration // ago; -1: never since this process began
	Term     uint64
	Applied  uint64 // index of the last entry it has applied
	Behind   uint64 // entries its log lacks of the longest log known
}

// Members lists raft's servers and the peers that are none, in the order of names.
func (r *Raft) Members() []Member {
	self := r.status()
	me := Member{Node: r.o.Node, Addr: r.self.Addr, Server: self.Server, Release: self.Release, Self: true, State: self.State, Term: self.Term, Applied: self.Applied}
	longest := self.Last
	if !r.clustered() {
		me.Voter = true
		return []Member{me}
	}
	out := []Member{}
	last := map[string]uint64{r.self.Addr: self.Last}
	for _, n := range r.probes.all() {
		m := Member{Node: n.node, Addr: n.addr, State: "missing", LastSeen: -1}
		if s := n.status; s != nil {
			m.LastSeen = time.Since(n.seen)
			m.Release, m.Term, m.Applied, m.State = s.Release, s.Term, s.Applied, s.State
			last[n.addr] = s.Last
			longest = max(longest, s.Last)
		}
		if n.err != nil {
			m.State, m.Why = "missing", words(n.err)
		}
		out = append(out, m)
	}
	out = append(out, me)
	for i := range out {
		m := &out[i]
		for _, s := range self.Servers {
			if s.Addr == m.Addr && s.Node == m.Node {
				m.Server, m.Voter = s.Server, s.Voter
			}
		}
		if l := last[m.Addr]; m.State != "missing" {
			m.Behind = longest - l
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// Voting tells whether this node has a vote. One that came back without its disk has
// none until it has all that was agreed on: who takes the next one away before that
// may take the majority away.
func (r *Raft) Voting() bool {
	if !r.clustered() {
		return true
	}
	own := raft.ServerID(r.identity().Server)
	return slices.ContainsFunc(r.servers(), func(s raft.Server) bool { return s.ID == own && s.Suffrage == raft.Voter })
}

// Status is what this node says of itself.
func (r *Raft) Status() Status { return r.status() }

func (r *Raft) status() Status {
	id := r.identity()
	s := Status{
		Cluster: id.Cluster, ClusterID: r.spoken(id).ClusterID, Node: r.o.Node, Server: id.Server, Release: r.o.Release,
		Peers: r.o.Peers, HasLog: r.hasLog(), State: "waiting",
	}
	if !r.running.Load() {
		return s
	}
	s.State = strings.ToLower(r.raft.State().String())
	if s.State == "shutdown" {
		s.State = "stopped"
	}
	s.Term, s.Last, s.Applied = r.raft.CurrentTerm(), r.raft.LastIndex(), r.raft.AppliedIndex()
	s.Leader.Node, s.Leader.Addr = r.Leader()
	for _, v := range r.servers() {
		s.Servers = append(s.Servers, ServerStatus{Server: string(v.ID), Node: nodeOf(string(v.ID)), Addr: string(v.Address), Voter: v.Suffrage == raft.Voter})
	}
	return s
}

func (r *Raft) serveStatus(c net.Conn, peer string) { serveStatus(c, peer, r.answer) }

// answer is the other side of asker.ask.
func (r *Raft) answer(peer string, q statusRequest) statusReply {
	var err error
	switch q.Op {
	case "status":
	case "join":
		err = r.takeIn(peer, q)
	case "leave":
		err = r.dismiss(peer, q)
	default:
		err = fmt.Errorf("unknown request %q", q.Op)
	}
	if err != nil {
		reply := statusReply{Error: err.Error()}
		var other *NotLeaderError
		if errors.As(err, &other) {
			reply.Leader = Peer{other.Node, other.Addr}
		}
		return reply
	}
	s := r.status()
	return statusReply{Status: &s}
}

// checkRaft decides whose raft requests are taken.
func (r *Raft) checkRaft(h hello) error {
	if h.Want == "" {
		return errors.New("a raft connection names the server it wants")
	}
	known := slices.ContainsFunc(r.o.Peers, func(p Peer) bool { return p.Node == h.Node }) ||
		slices.ContainsFunc(r.servers(), func(s raft.Server) bool { return nodeOf(string(s.ID)) == h.Node })
	if !known {
		return fmt.Errorf("node %s is neither a member nor among cluster.peers of node %s", h.Node, r.o.Node)
	}
	if id := r.identity(); r.hasLog() && h.ClusterID != "" && h.ClusterID != id.ClusterID {
		return fmt.Errorf("node %s is of cluster id %s, node %s of %s", h.Node, h.ClusterID, r.o.Node, id.ClusterID)
	}
	if h.ClusterID == "" {
		return nil // it only asks for votes, as all do before the first entry
	}
	return r.adopt(h.ClusterID)
}

// takeIn is the leader's answer to a node that wants to become a member.
func (r *Raft) takeIn(node string, q statusRequest) error {
	r.changes.Lock()
	defer r.changes.Unlock()
	if r.Leading() == 0 {
		return r.notLeader()
	}
	if nodeOf(q.Server) != node {
		return fmt.Errorf("node %s asks in the name of server %q", node, q.Server)
	}
	i := slices.IndexFunc(r.o.Peers, func(p Peer) bool { return p.Node == node })
	if i < 0 {
		return fmt.Errorf("node %s is not among cluster.peers of the leader, %s; list it on all nodes and restart them one by one", node, r.o.Node)
	}
	if r.o.Peers[i].Addr != q.Addr {
		return fmt.Errorf("node %s says its address is %s, cluster.peers of the leader, %s, says %s; the list must be the same on all nodes", node, q.Addr, r.o.Node, r.o.Peers[i].Addr)
	}
	// A second machine started with a node's name must not push the real one out.
	ctx, cancel := context.WithTimeout(r.ctx, helloTimeout)
	defer cancel()
	s, err := r.o.Transport.Status(ctx, q.Addr)
	if err != nil {
		return fmt.Errorf("the leader, %s, cannot reach node %s at %s: %s", r.o.Node, node, q.Addr, words(err))
	}
	if s.Server != q.Server {
		return fmt.Errorf("at %s answers server %s, not %s: is node %s running twice?", q.Addr, s.Server, q.Server, node)
	}
	for _, v := range r.servers() {
		switch {
		case string(v.ID) == q.Server && string(v.Address) == q.Addr:
			return nil // it is one
		case string(v.ID) == q.Server:
			r.log.Info("a member has moved", "node", node, "from", string(v.Address), "to", q.Addr)
			if v.Suffrage == raft.Voter {
				return r.raft.AddVoter(v.ID, raft.ServerAddress(q.Addr), 0, joinTimeout).Error()
			}
			return r.raft.AddNonvoter(v.ID, raft.ServerAddress(q.Addr), 0, joinTimeout).Error()
		case nodeOf(string(v.ID)) == node:
			// Its log is gone and its vote with it. First out, then in: for a moment the
			// others alone are the cluster.
			r.log.Warn("a node has come back without its log; its old server is removed", "node", node, "old", string(v.ID), "new", q.Server)
			if err := r.raft.RemoveServer(v.ID, 0, joinTimeout).Error(); err != nil {
				return fmt.Errorf("remove its old server %s: %w", v.ID, err)
			}
		case string(v.Address) == q.Addr:
			return fmt.Errorf("the address %s belongs to member %s", q.Addr, nodeOf(string(v.ID)))
		}
	}
	r.log.Info("a node joins; it has no vote before it has caught up", "node", node, "server", q.Server)
	return r.raft.AddNonvoter(raft.ServerID(q.Server), raft.ServerAddress(q.Addr), 0, joinTimeout).Error()
}

// dismiss is the leader's answer to a node that leaves.
func (r *Raft) dismiss(node string, q statusRequest) error {
	r.changes.Lock()
	defer r.changes.Unlock()
	if r.Leading() == 0 {
		return r.notLeader()
	}
	if nodeOf(q.Server) != node || q.Server == r.identity().Server {
		return fmt.Errorf("node %s asks in the name of server %q", node, q.Server)
	}
	r.log.Info("a node leaves", "node", node, "server", q.Server)
	return r.raft.RemoveServer(raft.ServerID(q.Server), 0, joinTimeout).Error()
}

// Leave takes this node out of the cluster for good and stops raft. Its folder refuses
// another start. The last voter cannot leave.
func (r *Raft) Leave(ctx context.Context) error {
	if !r.clustered() {
		return errors.New("one node on its own has nothing to leave")
	}
	r.leaving.Store(true)
	if err := r.leave(ctx); err != nil {
		r.leaving.Store(false)
		return err
	}
	r.mu.Lock()
	r.id.Left = true
	err := r.store.setIdentity(r.id)
	r.mu.Unlock()
	return errors.Join(err, r.Stop())
}

func (r *Raft) leave(ctx context.Context) error {
	why := errors.New("no leader is known")
	for {
		if r.voters() < 2 {
			return errors.New("this is the last node with a vote; stop it instead")
		}
		if err := r.Transfer(ctx); err != nil {
			return err
		}
		if node, addr := r.Leader(); node != "" && node != r.o.Node {
			one, cancel := context.WithTimeout(ctx, joinTimeout)
			a := asker{t: r.o.Transport, addr: addr}
			reply, err := a.ask(one, statusRequest{Op: "leave", Server: r.identity().Server})
			a.close()
			cancel()
			if err == nil && reply.Error == "" {
				return nil
			}
			if why = err; err == nil {
				why = errors.New(reply.Error)
			}
		}
		select {
		case <-time.After(r.o.Timing.Probe / 4):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), why)
		}
	}
}
