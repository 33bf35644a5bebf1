package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// prober asks every other node of the cluster again and again how it is. What it
// learns forms the cluster, says in words who is missing, and decides who is dead.
type prober struct {
	t      *Transport
	self   string
	every  time.Duration
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup

	mu    sync.Mutex
	nodes map[string]*probed // by address
}

// probed is what is known of the node at one address.
type probed struct {
	node   string // as we expect it there
	addr   string
	status *Status // the last answer; nil: none yet
	seen   time.Time
	well   time.Time // since when it has answered every time; zero: it does not
	since  time.Time // of the first failure in a row, or of the first attempt
	err    error     // why it does not answer; nil: it does
	asked  bool      // the first attempt is over
	stop   context.CancelFunc
}

func newProber(t *Transport, self Peer, every time.Duration) *prober {
	p := &prober{t: t, self: self.Addr, every: every, nodes: map[string]*probed{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// follow makes these the nodes that are asked.
func (p *prober) follow(peers []Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := map[string]bool{}
	for _, peer := range peers {
		if peer.Addr == p.self {
			continue
		}
		want[peer.Addr] = true
		if n := p.nodes[peer.Addr]; n != nil {
			n.node = peer.Node
			continue
		}
		ctx, stop := context.WithCancel(p.ctx)
		n := &probed{node: peer.Node, addr: peer.Addr, since: time.Now(), stop: stop}
		p.nodes[peer.Addr] = n
		p.wg.Go(func() { p.ask(ctx, n) })
	}
	for addr, n := range p.nodes {
		if !want[addr] {
			n.stop()
			delete(p.nodes, addr)
		}
	}
}

// ask keeps one node's entry up to date.
func (p *prober) ask(ctx context.Context, n *probed) {
	a := asker{t: p.t, addr: n.addr}
	defer a.close()
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		one, done := context.WithTimeout(ctx, max(2*p.every, time.Second))
		s, err := a.status(one)
		done()
		if ctx.Err() != nil {
			return
		}
		p.note(n, s, err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *prober) note(n *probed, s *Status, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if err == nil && s.Node != n.node {
		err = fmt.Errorf("node %s answers there, not %s", s.Node, n.node)
	}
	if err != nil {
		if n.err == nil {
			n.since = now
		}
		n.err, n.well, n.asked = err, time.Time{}, true
		return
	}
	if n.well.IsZero() {
		n.well = now
	}
	n.status, n.seen, n.err, n.asked = s, now, nil, true
}

// all returns what is known, in the order of the nodes' names.
func (p *prober) all() []probed {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []probed
	for _, n := range p.nodes {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b probed) int { return strings.Compare(a.node, b.node) })
	return out
}

// at returns what is known of one address.
func (p *prober) at(addr string) (probed, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.nodes[addr]
	if !ok {
		return probed{}, false
	}
	return *n, true
}

func (p *prober) stop() {
	p.cancel()
	p.wg.Wait()
}

// words says why a node does not answer.
func words(err error) string {
	var refused *RefusedError
	var dns *net.DNSError
	switch {
	case errors.As(err, &refused):
		return refused.Reason
	case errors.As(err, &dns):
		return "its name " + dns.Name + " does not resolve"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused: nothing listens there"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "it does not answer"
	}
	return err.Error()
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
