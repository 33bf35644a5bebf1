package scheduler

// conn is one connection between a deliverer and a scheduler: what is sent on it
// arrives in order, late, or not at all.
type conn struct {
	s      *sim
	d      *deliverer
	n      *node
	l      *Leader
	num    uint64 // of the Hello
	there  int64  // when the last thing sent arrives, either way
	back   int64
	broken bool
}

// toLeader sends something up; it waits in the socket while the machine stands still.
func (c *conn) toLeader(f func()) {
	c.there = max(c.there, c.s.now+c.s.delay())
	run := c.n.run
	c.s.at(c.there, func() {
		if c.n.frozen {
			c.s.at(c.n.thaw+c.s.soon(ms), func() { c.arrive(run, f) })
			return
		}
		c.arrive(run, f)
	})
}

func (c *conn) arrive(run int, f func()) {
	if c.n.up && c.n.run == run && c.n.leader == c.l && !c.d.blocked[c.n.id] && !c.lost() {
		f()
	}
}

// toDeliverer sends something down. Even what comes on a connection given up long ago
// is read: the session itself must know better than to take it.
func (c *conn) toDeliverer(f func()) {
	c.back = max(c.back+20_000+c.s.soon(80_000), c.s.now+c.s.delay()) // one by one
	c.s.at(c.back, func() {
		if c.d.up && !c.d.blocked[c.n.id] && !c.lost() {
			f()
		}
	})
}

// lost: of what was under way when a connection broke, some arrives still.
func (c *conn) lost() bool { return c.broken && c.s.r.Intn(2) == 0 }

// send gives an order to a session's newest connection.
func (n *node) send(id SessionID, o Order) {
	c := n.conns[id]
	if c == nil {
		return
	}
	if o.Hold != nil {
		n.s.count.Holds++
	}
	if o.Grant != nil {
		n.s.count.Granted += o.Grant.N
		if n.s.elected != n {
			n.s.count.Zombie += o.Grant.N
		}
	}
	term, h := c.l.Term(), c.d.h
	c.toDeliverer(func() {
		if h != nil && c.d.h == h {
			c.d.order(term, c.num, o)
		}
	})
}
