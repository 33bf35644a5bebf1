package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// mind looks after this node's membership, and as leader after everybody's.
func (r *Raft) mind() {
	t := time.NewTicker(r.o.Timing.Probe)
	defer t.Stop()
	reported, led := time.Now(), ""
	for {
		select {
		case <-t.C:
		case <-r.ctx.Done():
			return
		}
		r.o.Transport.setSelf(r.spoken(r.identity()))
		r.probes.follow(r.everybody())
		node, _ := r.Leader()
		if node != "" {
			r.sawLeader()
		}
		if node != led && node != "" {
			r.log.Info("the scheduler's leader", "node", node, "raft_term", r.raft.CurrentTerm())
			led = node
		}
		if r.Leaderless() >= 3*r.o.Timing.Heartbeat && time.Since(reported) >= r.o.Timing.Report {
			r.log.Warn("the scheduler has no leader; no limits can be spent or changed until it has", "reason", r.lacking())
			reported = time.Now()
		}
		if !r.leaving.Load() {
			r.stayMember()
		}
		if r.Leading() != 0 {
			r.tend()
		}
	}
}

// everybody is the peers of the configuration and raft's servers.
func (r *Raft) everybody() []Peer {
	out := slices.Clone(r.o.Peers)
	for _, s := range r.servers() {
		p := Peer{nodeOf(string(s.ID)), string(s.Address)}
		if !slices.ContainsFunc(out, func(o Peer) bool { return o.Addr == p.Addr }) {
			out = append(out, p)
		}
	}
	return out
}

// lacking says in words why there is no leader.
func (r *Raft) lacking() string {
	voters, here := 0, 0
	var why []string
	for _, s := range r.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(s.ID) == r.identity().Server {
			here++
			continue
		}
		n, _ := r.probes.at(string(s.Address))
		node := nodeOf(string(s.ID))
		switch {
		case n.err != nil:
			why = append(why, fmt.Sprintf("%s at %s is missing for %v: %s", node, s.Address, time.Since(n.since).Round(time.Second), words(n.err)))
		case n.status == nil:
			why = append(why, fmt.Sprintf("%s at %s has not answered yet", node, s.Address))
		case n.status.Server != string(s.ID):
			why = append(why, fmt.Sprintf("%s at %s has come back without its log and cannot be taken in while there is no leader", node, s.Address))
		default:
			here++
		}
	}
	if voters == 0 {
		for _, n := range r.probes.all() {
			if n.err != nil {
				why = append(why, fmt.Sprintf("%s at %s is missing: %s", n.node, n.addr, words(n.err)))
			}
		}
		return strings.Join(append([]string{"no entry of the log has reached this node yet"}, why...), "; ")
	}
	head := fmt.Sprintf("%d of %d voters are here, %d are needed", here, voters, voters/2+1)
	if len(why) == 0 {
		return head + "; an election is under way"
	}
	return head + ": " + strings.Join(why, "; ")
}

// stayMember asks to be taken in again when the leader does not know this node, or
// knows it at another address: it was removed as dead, or has moved.
func (r *Raft) stayMember() {
	for _, n := range r.probes.all() {
		s := n.status
		if n.err != nil || s == nil || s.State != "leader" || s.Term < r.raft.CurrentTerm() && r.raft.Leader() != "" {
			continue
		}
		me := s.server(r.identity().Server)
		if me != nil && me.Addr == r.self.Addr {
			return
		}
		if _, err := r.askToJoin(r.ctx, n.addr); err != nil {
			r.log.Warn("the leader does not take this node in", "leader", n.node, "reason", words(err))
			return
		}
		r.log.Info("taken in again", "by", n.node)
		return
	}
}

// seat is one raft server as its leader sees it.
type seat struct {
	server string
	node   string
	addr   string
	voter  bool
	self   bool
	listed bool          // among the leader's cluster.peers
	well   time.Duration // for how long it has answered every time; 0: it does not
	gone   time.Duration // since it was last heard of
	behind uint64        // entries its log lacks
}

// caughtUp is how many entries a joiner may lack and still get its vote.
const caughtUp = 500

// A change of members that the leader makes by itself.
const (
	promote = "promote"
	remove  = "remove"
)

// plan picks at most one change:
//
//   - a joiner that has been well for Stable and has caught up gets its vote;
//   - a voter not heard of for Dead is removed once it is replaced, that is when as many
//     voters as the configuration lists, and three at least, remain without it, and a
//     majority of them is well. Never because it is dead alone: three nodes of which one
//     is dead stand a second failure no better as two nodes, and it may come back;
//   - a joiner not heard of for Dead that is not listed any more is removed.
func plan(seats []seat, listed int, t Timing) (what string, who seat) {
	voters, well := 0, 0
	for _, s := range seats {
		if s.voter {
			voters++
			if s.self || s.well > 0 {
				well++
			}
		}
	}
	for _, s := range seats {
		if !s.voter && s.well >= t.Stable && s.behind <= caughtUp {
			return promote, s
		}
	}
	for _, s := range seats {
		if s.self || s.gone < t.Dead || s.well > 0 {
			continue
		}
		left := voters - 1
		switch {
		case !s.voter && !s.listed,
			s.voter && left >= max(3, listed) && well >= left/2+1:
			return remove, s
		}
	}
	return "", seat{}
}

// tend makes the change that is due, if one is.
func (r *Raft) tend() {
	if !r.changes.TryLock() { // somebody joins or leaves just now
		return
	}
	defer r.changes.Unlock()
	var seats []seat
	last := r.raft.LastIndex()
	for _, v := range r.servers() {
		if string(v.ID) == r.identity().Server && string(v.Address) != r.self.Addr {
			// It has moved and was elected all the same: it reaches the others.
			r.log.Info("this node has moved", "from", string(v.Address), "to", r.self.Addr)
			if err := r.raft.AddVoter(v.ID, raft.ServerAddress(r.self.Addr), 0, joinTimeout).Error(); err != nil {
				r.log.Warn("the new address could not be entered and will be tried again", "error", err)
			}
			return
		}
		s := seat{server: string(v.ID), node: nodeOf(string(v.ID)), addr: string(v.Address), voter: v.Suffrage == raft.Voter}
		s.self = s.server == r.identity().Server
		s.listed = slices.ContainsFunc(r.o.Peers, func(p Peer) bool { return p.Node == s.node })
		if n, ok := r.probes.at(s.addr); ok {
			s.gone = time.Since(n.since)
			if !n.seen.IsZero() {
				s.gone = time.Since(n.seen)
			}
			if n.err == nil && n.status != nil && n.status.Server == s.server {
				s.well = time.Since(n.well)
				s.behind = last - min(last, n.status.Last)
			}
		}
		seats = append(seats, s)
	}
	what, s := plan(seats, len(r.o.Peers), r.o.Timing)
	var err error
	switch what {
	case promote:
		r.log.Info("a joiner has caught up and gets its vote", "node", s.node, "server", s.server)
		err = r.raft.AddVoter(raft.ServerID(s.server), raft.ServerAddress(s.addr), 0, joinTimeout).Error()
	case remove:
		r.log.Warn("a dead node is removed from the cluster; it is replaced", "node", s.node, "server", s.server, "not_heard_of_for", s.gone.Round(time.Second))
		err = r.raft.RemoveServer(raft.ServerID(s.server), 0, joinTimeout).Error()
	}
	if err != nil {
		r.log.Warn("a change of members failed and will be tried again", "what", what, "node", s.node, "error", err)
	}
}
