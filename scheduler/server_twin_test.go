package scheduler

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
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

// twinNet is the network between clients and servers, by name. Octets take delay to
// arrive; what crosses a cut is lost, and the connection breaks when it is mended.
type twinNet struct {
	delay time.Duration
	mu    sync.Mutex
	serve map[string]func(net.Conn)
	cuts  map[[2]string]bool
	conns []*twinConn
	stops map[string]chan struct{} // nodes that do not run: closed when they go on
}

func newTwinNet(delay time.Duration) *twinNet {
	return &twinNet{delay: delay, serve: map[string]func(net.Conn){}, cuts: map[[2]string]bool{}, stops: map[string]chan struct{}{}}
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func (w *twinNet) dial(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		select {
		case <-time.After(2 * w.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		w.mu.Lock()
		serve, cut := w.serve[to], w.cuts[pair(from, to)]
		w.mu.Unlock()
		if cut {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if serve == nil {
			return nil, errors.New("connection refused")
		}
		a, b := newTwinConns(w, from, to)
		w.mu.Lock()
		w.conns = append(w.conns, a, b)
		w.mu.Unlock()
		go serve(b)
		return a, nil
	}
}

// cut parts two names, or mends the way between them.
func (w *twinNet) cut(a, b string, yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[pair(a, b)] = yes
	for _, c := range w.conns {
		if pair(c.from, c.to) == pair(a, b) {
			if yes {
				c.lossy.Store(true)
			} else if c.lossy.Load() {
				c.Close()
			}
		}
	}
}

// breakAll ends every connection of a name, as its death does.
func (w *twinNet) breakAll(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.serve, name)
	for _, c := range w.conns {
		if c.from == name || c.to == name {
			c.Close()
		}
	}
}

// lose takes a name off the network, as when its machine loses power: nobody hears.
func (w *twinNet) lose(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for to := range w.serve {
		w.cuts[pair(name, to)] = true
	}
	for _, c := range w.conns {
		if c.from == name || c.to == name {
			c.lossy.Store(true)
		}
	}
}

// stop freezes a name's reads and writes; start lets them go on.
func (w *twinNet) stop(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stops[name] = make(chan struct{})
}

func (w *twinNet) start(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.stops[name])
	delete(w.stops, name)
}

func (w *twinNet) running(name string) {
	w.mu.Lock()
	c := w.stops[name]
	w.mu.Unlock()
	if c != nil {
		<-c
	}
}

// twinConn is one end of a connection.
type twinConn struct {
	w        *twinNet
	from, to string
	lossy    toggle
	in, out  *twinWay
	mu       sync.Mutex
	deadline time.Time
}

type toggle struct {
	mu sync.Mutex
	on bool
}

func (f *toggle) Store(v bool) { f.mu.Lock(); f.on = v; f.mu.Unlock() }
func (f *toggle) Load() bool   { f.mu.Lock(); defer f.mu.Unlock(); return f.on }

// twinWay is one direction.
type twinWay struct {
	mu     sync.Mutex
	chunks []twinChunk
	closed bool
	more   chan struct{}
}

type twinChunk struct {
	due time.Time
	b   []byte
}

func newTwinConns(w *twinNet, a, b string) (*twinConn, *twinConn) {
	up, down := &twinWay{more: make(chan struct{}, 1)}, &twinWay{more: make(chan struct{}, 1)}
	return &twinConn{w: w, from: a, to: b, in: down, out: up}, &twinConn{w: w, from: b, to: a, in: up, out: down}
}

func (c *twinConn) Write(b []byte) (int, error) {
	c.w.running(c.from)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.closed {
		return 0, io.ErrClosedPipe
	}
	if !c.lossy.Load() {
		c.out.chunks = append(c.out.chunks, twinChunk{time.Now().Add(c.w.delay), append([]byte(nil), b...)})
		select {
		case c.out.more <- struct{}{}:
		default:
		}
	}
	return len(b), nil
}

func (c *twinConn) Read(b []byte) (int, error) {
	for {
		c.in.mu.Lock()
		var wait time.Duration = -1
		if len(c.in.chunks) > 0 {
			h := &c.in.chunks[0]
			if wait = time.Until(h.due); wait <= 0 {
				n := copy(b, h.b)
				if h.b = h.b[n:]; len(h.b) == 0 {
					c.in.chunks = c.in.chunks[1:]
				}
				c.in.mu.Unlock()
				c.w.running(c.from)
				return n, nil
			}
		} else if c.in.closed {
			c.in.mu.Unlock()
			return 0, io.EOF
		}
		c.in.mu.Unlock()
		c.mu.Lock()
		until := c.deadline
		c.mu.Unlock()
		if !until.IsZero() {
			left := time.Until(until)
			if left <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
			if wait < 0 || left < wait {
				wait = left
			}
		}
		if wait < 0 {
			<-c.in.more
			continue
		}
		select {
		case <-c.in.more:
		case <-time.After(wait):
		}
	}
}

func (c *twinConn) Close() error {
	for _, w := range []*twinWay{c.in, c.out} {
		w.mu.Lock()
		w.closed = true
		w.mu.Unlock()
		select {
		case w.more <- struct{}{}:
		default:
		}
	}
	return nil
}

func (c *twinConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return nil
}
func (c *twinConn) SetWriteDeadline(time.Time) error { return nil }
func (c *twinConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *twinConn) LocalAddr() net.Addr              { return &net.IPAddr{} }
func (c *twinConn) RemoteAddr() net.Addr             { return &net.IPAddr{} }
