package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// How a cluster begins. A node that has a log runs raft with it. A node that has none
// asks all peers, again and again:
//
//   - a peer has a log, and its configuration holds this very server: run raft, the
//     leader brings the rest;
//   - a peer has a log, and this server is not in it: ask the leader to be taken in. So
//     comes back a node that has lost its disk;
//   - nobody has a log, all answer, all list the same peers: the node whose name comes
//     first founds the cluster with the servers it has just talked to. Only one node ever
//     does, so there are never two first configurations, and never while a peer is
//     silent: it may have the log.
type step struct {
	do        stepKind
	clusterID string
	leader    Peer   // whom to ask
	why       string // what this node waits for
}

type stepKind int

const (
	stepWait stepKind = iota
	stepStart
	stepJoin
	stepFound
)

// ErrForeign means that a peer belongs to another cluster.
var ErrForeign = errors.New("a peer belongs to another cluster")

// decide says what a node without a log does next.
func decide(self Status, seen []probed) (step, error) {
	var member, leader *Status
	var silent, foreign []string
	for _, n := range seen {
		switch {
		case !n.asked:
			silent = append(silent, fmt.Sprintf("%s at %s has not answered yet", n.node, n.addr))
		case isForeign(n.err):
			foreign = append(foreign, fmt.Sprintf("%s at %s: %s", n.node, n.addr, words(n.err)))
		case n.err != nil:
			silent = append(silent, fmt.Sprintf("%s at %s: %s", n.node, n.addr, words(n.err)))
		case n.status.HasLog:
			if member == nil || n.status.Term > member.Term {
				member = n.status
			}
			if n.status.State == "leader" && (leader == nil || n.status.Term > leader.Term) {
				leader = n.status
			}
		}
	}
	if leader != nil {
		member = leader
	}
	if member != nil {
		s := step{clusterID: member.ClusterID, leader: member.Leader}
		switch {
		case member.server(self.Server) != nil:
			s.do = stepStart
		case s.leader.Addr != "":
			s.do = stepJoin
		default:
			s.why = fmt.Sprintf("the cluster has no leader at present, so it cannot take this node in (%s)", strings.Join(append(silent, foreign...), "; "))
		}
		return s, nil
	}
	asked := !slices.ContainsFunc(seen, func(n probed) bool { return !n.asked })
	if len(foreign) > 0 && asked {
		return step{}, fmt.Errorf("%w: %s; see cluster.name and cluster.peers", ErrForeign, strings.Join(foreign, "; "))
	}
	if len(silent) > 0 {
		return step{why: "a new cluster is founded when all its nodes answer: " + strings.Join(silent, "; ")}, nil
	}
	for _, n := range seen {
		if !samePeers(n.status.Peers, self.Peers) {
			return step{why: fmt.Sprintf("all nodes must list the same peers: %s lists %s, this node (%s) %s",
				n.node, listPeers(n.status.Peers), self.Node, listPeers(self.Peers))}, nil
		}
	}
	for _, n := range seen {
		if n.node < self.Node {
			return step{why: firstNode(self.Peers) + " is about to found the cluster"}, nil
		}
	}
	return step{do: stepFound}, nil
}

func isForeign(err error) bool {
	var r *RefusedError
	return errors.As(err, &r) && r.Foreign
}

func firstNode(peers []Peer) string {
	return slices.MinFunc(peers, func(a, b Peer) int { return strings.Compare(a.Node, b.Node) }).Node
}

// takePart gets raft running.
func (r *Raft) takePart(ctx context.Context) error {
	if !r.clustered() {
		var found raft.Configuration
		if !r.hasLog() {
			found.Servers = []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(r.id.Server), Address: "local"}}
		}
		return r.run(found)
	}
	r.o.Transport.setSelf(r.spoken(r.id))
	r.o.Transport.Handle(kindStatus, r.serveStatus)
	r.probes = newProber(r.o.Transport, r.self, r.o.Timing.Probe)
	r.probes.follow(r.o.Peers)
	if r.hasLog() {
		return r.run(raft.Configuration{})
	}
	r.log.Info("no replicated state here yet; asking the peers", "node", r.self.Node, "peers", listPeers(r.o.Peers))
	return r.form(ctx)
}

// form asks until this node takes part.
func (r *Raft) form(ctx context.Context) error {
	tick := time.NewTicker(r.o.Timing.Probe / 4)
	defer tick.Stop()
	reported, said := time.Now(), ""
	for {
		s, err := decide(r.status(), r.probes.all())
		if err == nil {
			switch s.do {
			case stepStart:
				return r.begin(s.clusterID, raft.Configuration{})
			case stepFound:
				return r.found()
			case stepJoin:
				var id string
				if id, err = r.askToJoin(ctx, s.leader.Addr); err == nil {
					r.log.Info("taken into the cluster", "cluster", r.o.Cluster, "cluster_id", id, "by", s.leader.Node)
					return r.begin(id, raft.Configuration{})
				}
				s.why, err = fmt.Sprintf("%s at %s does not take this node in: %s", s.leader.Node, s.leader.Addr, words(err)), nil
			}
		}
		if err != nil {
			return err
		}
		if r.o.Waits != nil {
			r.o.Waits("this node takes no part in the cluster yet: " + s.why)
		}
		if every := r.o.Timing.Report; time.Since(reported) >= every || s.why != said && time.Since(reported) >= every/5 {
			r.log.Warn("this node takes no part in the cluster yet", "node", r.self.Node, "reason", s.why)
			reported, said = time.Now(), s.why
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), s.why)
		}
	}
}

// begin starts raft as part of a cluster.
func (r *Raft) begin(clusterID string, found raft.Configuration) error {
	if err := r.adopt(clusterID); err != nil {
		return err
	}
	return r.run(found)
}

// found makes a new cluster of this node and those it has just talked to.
func (r *Raft) found() error {
	servers := []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(r.id.Server), Address: raft.ServerAddress(r.self.Addr)}}
	for _, n := range r.probes.all() {
		servers = append(servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(n.status.Server), Address: raft.ServerAddress(n.addr)})
	}
	id := randomHex(8)
	r.log.Info("founding the cluster", "cluster", r.o.Cluster, "cluster_id", id, "nodes", listPeers(r.o.Peers))
	return r.begin(id, raft.Configuration{Servers: servers})
}

// askToJoin asks a leader to take this node in and returns the cluster's id.
func (r *Raft) askToJoin(ctx context.Context, addr string) (clusterID string, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	a := asker{t: r.o.Transport, addr: addr}
	defer a.close()
	reply, err := a.ask(ctx, statusRequest{Op: "join", Server: r.identity().Server, Addr: r.self.Addr})
	switch {
	case err != nil:
		return "", err
	case reply.Error != "":
		return "", errors.New(reply.Error)
	case reply.Status == nil || reply.Status.ClusterID == "":
		return "", errors.New("its answer names no cluster")
	}
	return reply.Status.ClusterID, nil
}
