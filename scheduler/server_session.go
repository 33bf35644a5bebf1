package scheduler

import (
	"sync"
)

const (
	maxOrders  = 4096    // in one frame
	maxBacklog = 1 << 17 // orders that a node does not read
)

// sessionStream is the stream of one node to the leader.
type sessionStream struct {
	id   SessionID
	node string
	r    *reign
	link leaderLink
	wake chan struct{}
	done chan struct{}
	once sync.Once

	// The reign's, under State.mu:
	conn    uint64
	hello   bool // said, and taken
	leaving bool // said goodbye, and is told when the log has it
	busy    bool
	idled   bool // its lease left it no time for anything: what it wanted was dropped
	behind  Time
	lease   Time
	led     Time

	mu      sync.Mutex // between the reign and the goroutine that writes
	next    leaderFrame
	due     bool
	number  uint64
	sum     uint64 // of the rules it has, or is being given
	flights []unread
	orders  []Order
}

// unread is a grant in a frame that the node may not have read yet.
type unread struct {
	number        uint64
	lane          Lane
	n, recipients int
}

// handle works in one frame. The caller holds State.mu.
func (r *reign) handle(e frameFrom, now Time) {
	n := e.from
	switch f := e.f; {
	case f == nil:
		if r.sessions[n.id] == n {
			delete(r.sessions, n.id)
			r.leader.Cut(now, n.id, n.conn)
		}
	case f.hello != nil:
		n.greet(f, now)
	case !n.hello: // the stream's goroutine lets nothing else through before
	case f.bye:
		n.leaving = true
		r.leader.Bye(now, n.id)
	case f.beat != nil:
		b := *f.beat
		b.Session, b.Conn = n.id, n.conn
		n.busy, n.behind = f.busy, Time(f.behind)
		n.discount(b.Wants, f.seen)
		r.leader.Beat(now, b)
		r.sighted(f.sightings)
		if r.leader.Lease(n.id) == 0 { // it is over here, whatever it believes
			n.mu.Lock()
			n.next.gone = true
			n.mu.Unlock()
		}
		n.recall(now)
		n.answer(f.sent, b.Seq)
	}
}

// greet works in what the node holds. The caller holds State.mu.
func (n *sessionStream) greet(f *nodeFrame, now Time) {
	r := n.r
	h := f.hello.Hello
	h.Session = n.id
	n.conn = h.Conn
	if !r.leader.Hello(now, h) {
		n.mu.Lock()
		n.next.gone = true
		n.mu.Unlock()
		n.answer(f.sent, 0)
		n.flush(nil)
		return
	}
	if old := r.sessions[n.id]; old != nil && old != n {
		old.close() // the node has come back before we saw it go
	}
	n.hello, n.busy = true, true
	r.sessions[n.id] = n
	n.mu.Lock()
	n.sum = f.hello.sum
	n.mu.Unlock()
	n.answer(f.sent, 0)
}

// parted tells a node that has said goodbye that its session is over: the log says so,
// and no later leader waits for it. The caller holds State.mu.
func (n *sessionStream) parted() bool {
	if !n.leaving || n.r.leader.Knows(n.id) {
		return false
	}
	n.mu.Lock()
	n.next.gone = true
	n.mu.Unlock()
	return true
}

// recall has the node say again what it wants once its lease leaves time for it: the
// leader drops what is wanted by others. The caller holds State.mu.
func (n *sessionStream) recall(now Time) {
	switch {
	case !n.r.leader.Able(n.id, now):
		n.idled = true
	case n.idled:
		n.idled = false
		n.mu.Lock()
		n.next.again = true
		n.mu.Unlock()
	}
}

// answer makes the next frame answer a frame of the node's.
func (n *sessionStream) answer(sent int64, seq uint64) {
	n.mu.Lock()
	n.next.echo = sent
	n.next.ack = max(n.next.ack, seq)
	n.mu.Unlock()
}

// order puts an order into the next frame.
func (n *sessionStream) order(o Order) {
	n.mu.Lock()
	n.orders = append(n.orders, o)
	over := len(n.orders) > maxBacklog
	n.mu.Unlock()
	if over {
		n.close()
	}
}

// discount takes off what is wanted what has been granted since the node said so
// and had not come to it: else it would be granted twice.
func (n *sessionStream) discount(wants []Want, seen uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := 0
	for i < len(n.flights) && n.flights[i].number <= seen {
		i++
	}
	n.flights = append(n.flights[:0], n.flights[i:]...)
	if len(wants) == 0 || len(n.flights)+len(n.orders) == 0 {
		return
	}
	on := map[Lane]unread{}
	add := func(l Lane, k, recipients int) {
		f := on[l]
		f.n, f.recipients = f.n+k, f.recipients+recipients
		on[l] = f
	}
	for _, f := range n.flights {
		add(f.lane, f.n, f.recipients)
	}
	for _, o := range n.orders {
		if g := o.Grant; g != nil {
			add(g.Lane, g.N, g.Recipients)
		}
	}
	for i := range wants {
		w := &wants[i]
		if f, ok := on[w.Lane]; ok {
			w.N, w.Recipients = max(0, w.N-f.n), max(0, w.Recipients-f.recipients)
			if w.N == 0 {
				w.Recipients, w.Head = 0, 0
			}
			w.Recipients = max(w.Recipients, w.Head)
		}
	}
}

// flush lets the writer write. rules are those in force.
func (n *sessionStream) flush(rules *ruleBook) {
	n.mu.Lock()
	if rules != nil && n.sum != rules.sum && !n.next.gone {
		n.next.rules, n.sum = rules, rules.sum
	}
	n.next.lease, n.next.led = n.lease, n.led
	n.due = true
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// write sends the frames, until the stream or the reign ends.
func (n *sessionStream) write() {
	defer n.close()
	for {
		select {
		case <-n.done:
			return
		case <-n.r.ctx.Done():
			n.link.Send(&leaderFrame{redirect: n.r.s.elsewhere("it leads no more")})
			return
		case <-n.wake:
		}
		for {
			f := n.frame()
			if f == nil {
				break
			}
			if err := n.link.Send(f); err != nil || f.gone {
				return
			}
		}
	}
}

// frame is the next frame to send; nil: none is due.
func (n *sessionStream) frame() *leaderFrame {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.due {
		return nil
	}
	f := n.next
	n.next.rules, n.next.again = nil, false
	n.number++
	f.number, f.session, f.term = n.number, n.id, n.r.term
	k := min(len(n.orders), maxOrders)
	f.orders = n.orders[:k:k]
	n.orders = n.orders[k:]
	if n.due = len(n.orders) > 0; !n.due {
		n.orders = nil
	}
	for _, o := range f.orders {
		if g := o.Grant; g != nil {
			n.flights = append(n.flights, unread{f.number, g.Lane, g.N, g.Recipients})
		}
	}
	f.stamp = n.r.now()
	return &f
}

func (n *sessionStream) close() {
	n.once.Do(func() {
		close(n.done)
		n.link.Close()
	})
}
