package scheduler

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// twinRaft is raft with everything but its promises taken away: one log, of which
// every node applies a prefix, in order; terms that never go down along it; and at
// most one node that can commit. What was proposed and not answered when a leader
// is lost may or may not be in the log.
type twinRaft struct {
	t     testing.TB
	rand  *rand.Rand
	delay time.Duration // to commit

	mu     sync.Mutex
	log    []twinEntry
	term   uint64
	leader *twinNode
	nodes  []*twinNode
	limbo  []*twinProposal // of the leader, in order
}

type twinEntry struct {
	term uint64
	data []byte
	p    *twinProposal // that waits for it; nil: nobody does
}

type twinProposal struct {
	node *twinNode
	term uint64
	data []byte
	done chan any // closed: nobody knows
}

// twinNode is one node of it.
type twinNode struct {
	r       *twinRaft
	name    string
	events  chan Leadership
	apply   sync.Mutex
	state   *State
	applied int

	// Under twinRaft.mu:
	up    bool
	cut   bool   // from the others: it cannot commit, and does not know
	leads uint64 // the term in which it thinks that it leads
	knows *twinNode
}

func (r *twinRaft) node(name string, s *State) *twinNode {
	n := &twinNode{r: r, name: name, state: s, events: make(chan Leadership, 1024), up: true}
	r.mu.Lock()
	r.nodes = append(r.nodes, n)
	r.mu.Unlock()
	return n
}

// catchUp applies the log up to k.
func (n *twinNode) catchUp(k int) {
	n.apply.Lock()
	defer n.apply.Unlock()
	for {
		n.r.mu.Lock()
		if n.applied >= k || !n.up {
			n.r.mu.Unlock()
			return
		}
		e := n.r.log[n.applied]
		n.applied++
		at := n.applied
		n.r.mu.Unlock()
		v := n.state.Apply(uint64(at), e.term, e.data)
		if e.p != nil && e.p.node == n {
			e.p.done <- v
		}
	}
}

// append commits an entry: from now on it is in everybody's log, and each applies
// it in its own time. The caller holds mu.
func (r *twinRaft) append(e twinEntry) int {
	if k := len(r.log); k > 0 && r.log[k-1].term > e.term {
		r.t.Fatalf("an entry of term %d after one of term %d", e.term, r.log[k-1].term)
	}
	r.log = append(r.log, e)
	k := len(r.log)
	for _, n := range r.nodes {
		if n.up && !n.cut && n != r.leader {
			time.AfterFunc(r.delay+rand.N(20*time.Millisecond), func() {
				r.mu.Lock()
				ok := n.up && !n.cut
				r.mu.Unlock()
				if ok {
					n.catchUp(k)
				}
			})
		}
	}
	return k
}

func (n *twinNode) Propose(ctx context.Context, data []byte) (any, error) {
	r := n.r
	r.mu.Lock()
	if !n.up || n.leads == 0 {
		r.mu.Unlock()
		return nil, ErrNotLeader
	}
	p := &twinProposal{n, n.leads, append([]byte(nil), data...), make(chan any, 1)}
	r.limbo = append(r.limbo, p)
	r.mu.Unlock()
	time.AfterFunc(r.delay, func() { r.commit(p) })
	select {
	case v, ok := <-p.done:
		if !ok {
			return nil, ErrUnknownOutcome
		}
		return v, nil
	case <-ctx.Done():
		return nil, errors.Join(ErrUnknownOutcome, context.Cause(ctx))
	}
}

// commit commits what its leader proposed up to p, if it still leads and reaches
// the others.
func (r *twinRaft) commit(p *twinProposal) {
	r.mu.Lock()
	n := p.node
	if r.leader != n || n.leads != p.term || n.cut || !n.up {
		r.mu.Unlock()
		return // election decides
	}
	var mine []*twinProposal
	for len(r.limbo) > 0 {
		q := r.limbo[0]
		r.limbo = r.limbo[1:]
		if q.node == n && q.term == p.term {
			mine = append(mine, q)
		}
		if q == p {
			break
		}
	}
	k := 0
	for _, q := range mine {
		k = r.append(twinEntry{q.term, q.data, q})
	}
	r.mu.Unlock()
	n.catchUp(k)
}

// elect makes n the leader of a new term. What the old leader had not committed may
// survive, a prefix of it: some other node may have had it.
func (r *twinRaft) elect(n *twinNode) {
	r.mu.Lock()
	old := r.leader
	if !n.up || n.cut {
		r.mu.Unlock()
		r.t.Fatalf("%s cannot be elected", n.name)
	}
	survive := r.rand.IntN(len(r.limbo) + 1)
	for i, p := range r.limbo {
		if i < survive && p.node == old && (len(r.log) == 0 || r.log[len(r.log)-1].term <= p.term) {
			r.append(twinEntry{p.term, p.data, nil})
		}
		close(p.done)
	}
	r.limbo = nil
	r.term++
	r.leader = n
	k := len(r.log)
	for _, o := range r.nodes {
		if o.up && !o.cut {
			o.knows = n
			if o != n && o.leads != 0 {
				o.leads = 0
				o.events <- Leadership{}
			}
		}
	}
	if n.leads != 0 {
		n.events <- Leadership{}
	}
	n.leads = r.term
	term := r.term
	r.mu.Unlock()
	n.catchUp(k)
	n.events <- Leadership{true, term}
}

// part cuts a node off from the others, or joins it again.
func (r *twinRaft) part(n *twinNode, cut bool) {
	r.mu.Lock()
	n.cut = cut
	k := len(r.log)
	if !cut && r.leader != n {
		n.knows = r.leader
		if n.leads != 0 {
			n.leads = 0
			n.events <- Leadership{}
		}
	}
	r.mu.Unlock()
	if !cut {
		n.catchUp(k)
	}
}

// kill ends a node for good; restart is a new node that has the whole log.
func (r *twinRaft) kill(n *twinNode) {
	r.mu.Lock()
	n.up, n.leads = false, 0
	r.mu.Unlock()
}

func (n *twinNode) Barrier(ctx context.Context) error {
	r := n.r
	select {
	case <-time.After(r.delay):
	case <-ctx.Done():
	}
	for {
		r.mu.Lock()
		ok, leads, cut := r.leader == n && n.up && !n.cut, n.leads, n.cut
		k := len(r.log)
		r.mu.Unlock()
		switch {
		case ok:
			n.catchUp(k)
			return nil
		case leads == 0 || !cut:
			return ErrNotLeader
		}
		select { // an old leader that is cut off waits
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (n *twinNode) Leader() (node, addr string) {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	if n.knows == nil {
		return "", ""
	}
	return n.knows.name, n.knows.name
}

func (n *twinNode) Transfer(context.Context) error {
	n.r.mu.Lock()
	var to *twinNode
	for _, o := range n.r.nodes {
		if o != n && o.up && !o.cut {
			to = o
		}
	}
	leads := n.r.leader == n && !n.cut
	n.r.mu.Unlock()
	if to == nil || !leads {
		return errors.New("there is nobody to hand it to")
	}
	n.r.elect(to)
	return nil
}
