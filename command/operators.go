package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/queue"
	"github.com/tarishi/tarishi/scheduler"
	"github.com/tarishi/tarishi/shaping"
)

// operatorLimits is the limits as the admin port sees them, wherever their leader is.
type operatorLimits struct {
	op    *scheduler.Operator
	hosts *dns.Resolver
	c     *daemon.Config
}

// leaderPatience is how long an operator's question waits for somebody to lead: an
// election takes two seconds, and a lost majority any time.
const leaderPatience = 8 * time.Second

// ledBy bounds a question to the leader, and says what is missing when it has no answer.
func ledBy(ctx context.Context, ask func(context.Context) error) error {
	limit, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	err := ask(limit)
	if err != nil && limit.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("no scheduler leads, or none can be reached, for %v by now: a majority of the nodes with that role must run (%w)", leaderPatience, err)
	}
	return err
}

func (o operatorLimits) Book(ctx context.Context) (b *shaping.Book, err error) {
	err = ledBy(ctx, func(ctx context.Context) error {
		b, err = o.op.Book(ctx)
		return err
	})
	return b, err
}

func (o operatorLimits) Live(ctx context.Context, max int) ([]admin.LiveLimit, int, error) {
	var a scheduler.LiveAnswer
	err := ledBy(ctx, func(ctx context.Context) (err error) {
		a, err = o.op.Live(ctx, scheduler.LiveQuery{Limit: max})
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return liveLimits(a), a.Total, nil
}

// liveLimits is how the leader says that limits stand, with its clock's times by ours.
func liveLimits(a scheduler.LiveAnswer) []admin.LiveLimit {
	now := time.Now()
	out := make([]admin.LiveLimit, len(a.Live))
	for i, l := range a.Live {
		out[i] = admin.LiveLimit{Counter: l.Counter, Field: l.Unit, Max: l.Max, Used: l.Used, InFlight: l.InFlight, Waiting: l.Waiting, From: l.From,
			Kept: l.Kept, Shadow: l.Shadow, Started: l.Started, Held: l.Held}
		if l.Shadow {
			out[i].Since = now.Add(-time.Duration(a.Now - l.Since)).Round(time.Second)
		}
		if l.Length > 0 {
			out[i].Window = shaping.FormatLength(time.Duration(l.Length))
		}
		if d := time.Duration(l.Next - a.Now); d > 0 && d < 2*shaping.MaxWindow { // further off: it is not known
			out[i].Next = now.Add(time.Duration(l.Next - a.Now))
		}
	}
	return out
}

func (o operatorLimits) Change(ctx context.Context, c shaping.Change) (uint64, error) {
	// Asked first whether there is one: a change whose outcome is unknown is worse than none.
	if _, err := o.Book(ctx); err != nil {
		return 0, err
	}
	v, err := o.op.Commit(ctx, c)
	if errors.Is(err, scheduler.ErrUnknownOutcome) {
		err = fmt.Errorf("%w: %w", admin.ErrUnknown, err)
	}
	return v, err
}

func (o operatorLimits) InForce(ctx context.Context, version uint64, waiting func([]admin.Laggard)) (time.Time, error) {
	p, err := o.op.Wait(ctx, version, func(p scheduler.Progress) {
		out := make([]admin.Laggard, len(p.Waiting))
		for i, w := range p.Waiting {
			out[i] = admin.Laggard{Node: w.Node, Until: time.Now().Add(w.Lease)}
		}
		waiting(out)
	})
	return p.InForce, err
}

// MX asks as a deliverer would, routes first.
func (o operatorLimits) MX(ctx context.Context, d mail.Domain) ([]string, error) {
	var routes []deliverer.Route
	for _, r := range o.c.Routes {
		routes = append(routes, deliverer.Route{Name: r.Name, To: r.To, Via: r.Via})
	}
	table, err := deliverer.NewRoutes(routes)
	if err != nil {
		return nil, err
	}
	if _, ok := table.For(d); ok {
		return nil, nil
	}
	hosts, err := o.hosts.MailHosts(ctx, d)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, h := range hosts {
		if !h.Implicit { // the domain's own address is no provider's
			names = append(names, h.Host)
		}
	}
	return names, nil
}

// operatorNodes is the nodes as the admin port sees them.
type operatorNodes struct {
	k  *council
	op *scheduler.Operator
	q  *store
	c  *daemon.Config
}

func (o operatorNodes) Nodes(ctx context.Context) (admin.NodesView, error) {
	v := admin.NodesView{Now: time.Now()}
	if o.c.Clustered() {
		v.Cluster = o.c.Cluster.Name
	}
	lines := map[string]*admin.NodeLine{}
	line := func(node string) *admin.NodeLine {
		l := lines[node]
		if l == nil {
			l = &admin.NodeLine{Node: node, Here: node == o.k.node()}
			lines[node] = l
		}
		return l
	}
	here := line(o.k.node())
	here.Roles, here.Release = o.c.Roles, version()
	o.raft(ctx, &v, line)
	o.streams(ctx, &v)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if ss, err := o.op.Sessions(ctx); err != nil {
		v.Reasons = append(v.Reasons, "the sessions are not known: "+err.Error())
	} else {
		for _, s := range ss {
			l := line(s.Node)
			l.Sessions = append(l.Sessions, admin.SessionLine{
				Session: uint64(s.ID), Lease: v.Now.Add(s.Lease),
				Version: s.Version, Partitions: s.Partitions, Slots: s.Slots, Draining: s.Draining,
			})
		}
	}
	o.nodes(ctx, &v, line)
	for _, l := range lines {
		v.Nodes = append(v.Nodes, *l)
	}
	slices.SortFunc(v.Nodes, func(a, b admin.NodeLine) int { return strings.Compare(a.Node, b.Node) })
	return v, nil
}

// raft fills in who takes part in keeping the limits.
func (o operatorNodes) raft(ctx context.Context, v *admin.NodesView, line func(string) *admin.NodeLine) {
	if o.k.raft == nil {
		// The schedulers are elsewhere: each says of itself how it is.
		for _, p := range o.k.peers {
			l := line(p.Node)
			l.Addr = p.Addr
			ask, cancel := context.WithTimeout(ctx, 2*time.Second)
			st, err := o.k.transport.Status(ask, p.Addr)
			cancel()
			if err != nil {
				l.Error = err.Error()
				continue
			}
			l.Release = st.Release
			l.Raft = &admin.RaftLine{State: st.State, Term: st.Term, Applied: st.Applied, Voter: true, Contact: time.Now()}
			if st.Leader.Node != "" {
				v.Leader, v.Term = st.Leader.Node, st.Term
			}
		}
		return
	}
	v.Leader, _ = o.k.raft.Leader()
	if !o.c.Clustered() && o.k.raft.Leading() != 0 {
		v.Leader = o.k.node()
	}
	v.Term = o.k.raft.Status().Term
	if v.Leader == "" {
		v.Reasons = append(v.Reasons, "no node leads: limits cannot change, and what is limited does not move")
	}
	for _, m := range o.k.raft.Members() {
		name := m.Node
		if !o.c.Clustered() {
			name = o.k.node() // a node on its own has no name among others
		}
		l := line(name)
		l.Addr = m.Addr
		if m.Release != "" {
			l.Release = m.Release
		}
		l.Raft = &admin.RaftLine{State: m.State, Voter: m.Voter, Term: m.Term, Applied: m.Applied}
		if m.LastSeen >= 0 {
			l.Raft.Contact = time.Now().Add(-m.LastSeen)
		}
		if m.State == "missing" {
			l.Error = m.Why
		}
	}
}

// nodes fills in what each node says of itself.
func (o operatorNodes) nodes(ctx context.Context, v *admin.NodesView, line func(string) *admin.NodeLine) {
	answers, err := o.q.AskNodes(ctx, askNode, nil)
	if err != nil {
		v.Reasons = append(v.Reasons, "the nodes could not be asked: "+err.Error())
		return
	}
	v.Reasons = append(v.Reasons, namesakes(answers)...)
	for _, a := range answers {
		var n nodeAnswer
		if a.Body == nil || json.Unmarshal(a.Body, &n) != nil {
			continue // what is wrong with it the others tell
		}
		l := line(a.Node)
		l.Roles, l.Release, l.Connections, l.Permits = n.Roles, n.Release, n.Connections, n.Permits
	}
}

// namesakes names the nodes that more than one process says it is.
func namesakes(answers []queue.NodeAnswer) (out []string) {
	n := map[string]int{}
	for _, a := range answers {
		if a.Body == nil {
			continue // a process of before, which is dead
		}
		if n[a.Node]++; n[a.Node] == 2 {
			out = append(out, fmt.Sprintf("two processes say that they are %s: give each its own cluster.node", a.Node))
		}
	}
	return out
}

// streams fills in how the queue's copies are, by the word of each stream's leader.
func (o operatorNodes) streams(ctx context.Context, v *admin.NodesView) {
	if o.q.nats != nil {
		v.Reasons = append(v.Reasons, o.q.nats.Health().Problems...)
	}
	for _, s := range o.q.Copies(ctx) {
		l := admin.StreamLine{Stream: s.Stream, Leader: s.Leader, Messages: s.Messages, Bytes: s.Octets}
		if s.Err != nil {
			l.Error = s.Err.Error()
			v.Reasons = append(v.Reasons, fmt.Sprintf("stream %s: %v", s.Stream, s.Err))
		}
		for _, c := range s.Copies {
			l.Replicas = append(l.Replicas, admin.ReplicaLine{Node: c.Server, Current: c.Behind == 0 && c.Problem == "", Lag: c.Behind, Seen: time.Now().Add(-c.Seen)})
			if c.Problem != "" {
				v.Reasons = append(v.Reasons, c.Problem)
			}
		}
		v.Streams = append(v.Streams, l)
	}
}

func (o operatorNodes) Remove(ctx context.Context, node string) error {
	if o.k.raft == nil {
		return errors.New("this node takes no part in keeping the limits; ask one with the scheduler role")
	}
	err := o.k.raft.Remove(ctx, node)
	if err != nil && !errors.Is(err, cluster.ErrNoMember) || o.q.nats == nil {
		return err
	}
	// The scheduler's part may have gone before: the leader removes who is replaced. Each
	// has to be a member of one at least.
	if e := o.q.nats.Evict(ctx, node); e != nil && (err != nil || !errors.Is(e, cluster.ErrNoMember)) {
		return fmt.Errorf("the queue's copies on %s are still waited for; ask again: %w", node, e)
	}
	return nil
}

func (o operatorNodes) Transfer(ctx context.Context) (string, error) {
	if o.k.server == nil || !o.c.Clustered() {
		return "", errors.New("this node takes no part in keeping a cluster's limits; ask one with the scheduler role")
	}
	if _, leads := o.k.server.Leading(); !leads {
		node, _ := o.k.raft.Leader()
		return "", fmt.Errorf("%s leads, and this node does not: ask it", node)
	}
	if err := o.k.server.Drain(ctx); err != nil {
		return "", err
	}
	// The other one leads by raft, and says so in a moment.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(2 * time.Second); ; {
		if node, _ := o.k.raft.Leader(); node != "" && node != o.k.node() {
			return node, nil
		}
		select {
		case <-tick.C:
		case <-limit:
			return "another node", nil
		}
	}
}
