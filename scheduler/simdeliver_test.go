package scheduler

import "github.com/tarishi/tarishi/shaping"

// deliverer is a machine that sends.
type deliverer struct {
	s       *sim
	name    int
	clock   localClock
	up      bool
	leaving bool
	slow    bool
	h       *Holdings
	table   *shaping.Table
	version uint64
	conn    *conn
	heard   int64 // the last answer
	deaf    int64 // does not look for another leader before
	blocked map[int]bool
	joining int64
	former  SessionID // of the machine that was killed in its place
	born    int64

	lines   map[Lane]*line
	sockets map[SlotID]*socket
	loose   SlotID // the last connection that needed no slot
	parts   map[uint32]tenure
	bounds  map[Lane]*shaping.Bounds // of the rules it has
}

// line is the mail of one lane, which never ends.
type line struct {
	wake bool // an attempt is on the agenda
	next int  // recipients of the next message
	sent int
}

func (s *sim) newDeliverer() *deliverer {
	s.names++
	d := &deliverer{
		s: s, name: s.names, clock: s.clock(), up: true, slow: s.r.Intn(4) == 0, blocked: map[int]bool{},
		lines: map[Lane]*line{}, sockets: map[SlotID]*socket{}, parts: map[uint32]tenure{}, joining: -10 * sec, born: s.now,
	}
	d.table, _ = (&shaping.Book{}).Table()
	d.bounds = map[Lane]*shaping.Bounds{}
	var beat func()
	beat = func() {
		if d.up {
			d.beat()
			s.in(40*ms+s.soon(5*ms), beat)
		}
	}
	s.in(s.soon(40*ms), beat)
	return d
}

func (d *deliverer) local() int64 { return d.clock.at(d.s.now) }

// stop is the death of the machine: its sockets close with it, unseen by anybody.
func (d *deliverer) stop() {
	d.up = false
	for _, id := range d.socketIDs() {
		d.sockets[id].close(false)
	}
	for n := range d.parts {
		d.endTenure(n)
	}
}

// beat finds a leader, or says to the one there is what it has to say.
func (d *deliverer) beat() {
	s := d.s
	if d.h != nil && d.h.Lease() > 1 && d.h.Lapse(d.local()) {
		d.lapse()
	}
	if c := d.conn; c == nil || c.broken || s.now-d.heard > max(s.mix.patience, sec/2)+s.soon(sec) && s.now > d.deaf {
		d.connect()
		return
	}
	if s.o.faults != "" && s.r.Intn(4000) == 0 { // the connection breaks
		d.conn.broken = true
		if s.r.Intn(2) == 0 {
			c, id := d.conn, d.h.Session()
			s.in(s.soon(100*ms), func() {
				if c.n.leader == c.l {
					c.l.Cut(c.n.cluster(), id, c.num)
				}
			})
		}
		return
	}
	d.speak()
}

// connect tries the machines it can reach until one says that it leads.
func (d *deliverer) connect() {
	s := d.s
	n := s.nodes[s.r.Intn(len(s.nodes))]
	if !n.up || n.leader == nil || d.blocked[n.id] || n.frozen {
		return
	}
	if d.h == nil {
		if s.now-d.joining < 2*sec {
			return
		}
		d.joining = s.now
		s.propose(n, n.raftTerm, &Command{Type: Join, Node: "d"}, func(r any, err error) {
			if d.up && d.h == nil && err == nil {
				s.count.Joins++
				d.h = NewHoldings(s.p, r.(SessionID))
				if l := n.leader; d.former != 0 && l != nil {
					s.count.Buried++
					l.Dead(n.cluster(), d.former)
				}
			}
		}, nil)
		return
	}
	l := n.leader
	hello, ok := d.h.Hello(l.Term(), d.version)
	if !ok {
		return // a leader of the past
	}
	c := &conn{s: s, d: d, n: n, l: l, num: hello.Conn, there: s.now, back: s.now}
	if s.mix.hears && s.r.Intn(2) == 0 { // the first answers come late, all together
		c.back += 200*ms + s.soon(2*sec)
	}
	d.conn, d.heard = c, s.now
	if s.r.Intn(2) == 0 { // it knows the clock from asking for the term, or from the first beat on
		d.h.Met(l.Term(), d.local(), n.cluster(), d.local())
	}
	h := d.h
	c.toLeader(func() {
		s.trace("d%d session %d hello to node %d term %d claims %v %v", d.name, hello.Session, n.id, hello.Term, hello.Slots, hello.Parts)
		if h == d.h && l.Hello(n.cluster(), hello) {
			n.conns[hello.Session] = c
		}
	})
}

// speak sends one beat.
func (d *deliverer) speak() {
	s, c, h := d.s, d.conn, d.h
	q := d.local()
	b := Beat{Version: d.version, Parts: !d.leaving, Draining: d.leaving}
	if !d.leaving {
		for i := range s.world.lanes {
			x := &s.world.lanes[i]
			switch {
			case x.Kind == Transaction && d.bound(x.Lane):
				n, _ := h.InHand(x.Lane, q)
				ln := d.line(x.Lane)
				if ln.next == 0 {
					ln.next = x.recipients(s)
				}
				want := max(0, d.waiting(x, ln)-n)
				b.Wants = append(b.Wants, Want{x.Lane, want, want * x.mean(), ln.next})
			case x.Kind == Connection:
				d.speakOfConnections(x, &b, q)
			}
		}
	}
	h.Report(&b, q)
	for i := range b.Uses {
		if b.Uses[i].Returned > 0 {
			s.count.Expired++ // nothing is given back for want of mail
		}
	}
	l := c.l
	c.toLeader(func() {
		if h != d.h {
			return
		}
		if s.o.broken == dupReturn && s.r.Intn(20) == 0 {
			c.l.Beat(c.n.cluster(), b)
		}
		l.Beat(c.n.cluster(), b)
		stamp, lease, term, led := c.n.cluster(), l.Lease(b.Session), l.Term(), l.Led()
		book, table := c.n.fsm.Book(), c.n.fsm.Table()
		c.toDeliverer(func() {
			if h == d.h {
				d.answer(c, q, term, stamp, lease, led, b.Seq, book.Version, table)
			}
		})
	})
	d.work()
}

// speakOfConnections asks for slots, and for permits to begin connections; where no
// slot is needed, it opens them.
func (d *deliverer) speakOfConnections(x *mailLane, b *Beat, q int64) {
	all, up := 0, 0
	for _, k := range d.sockets {
		if k.lane == x.Lane {
			all++
			if k.up {
				up++
			}
		}
	}
	switch {
	case d.slotBound(x.Lane):
		b.Slots = append(b.Slots, SlotWant{x.Lane, x.backlog})
	case d.h.MayStart(q):
		for ; all < x.backlog; all++ {
			d.loose++
			d.open(&Slot{looseSlots + d.loose, x.Lane})
		}
	}
	if d.bound(x.Lane) {
		n, _ := d.h.InHand(x.Lane, q)
		b.Wants = append(b.Wants, Want{Lane: x.Lane, N: max(0, all-up-n)})
	}
}

func (d *deliverer) answer(c *conn, q int64, term uint64, stamp, lease, led Time, seq uint64, version uint64, table *shaping.Table) {
	d.h.Answer(term, c.num, q, stamp, d.local(), lease, seq, led)
	if c != d.conn || c.broken {
		return
	}
	d.heard = d.s.now
	if lease == 0 { // this session is over
		d.lapse()
		d.h, d.conn = nil, nil
		return
	}
	if version > d.version {
		d.adopt(version, table)
	}
	d.work()
}

// adopt takes new rules: before it says so, nothing it does may break them.
func (d *deliverer) adopt(version uint64, table *shaping.Table) {
	d.version, d.table, d.bounds = version, table, map[Lane]*shaping.Bounds{}
	for _, id := range d.socketIDs() {
		if k := d.sockets[id]; id >= looseSlots && d.slotBound(k.lane) {
			k.close(true)
		}
	}
}

// order takes what the leader says.
func (d *deliverer) order(term, num uint64, o Order) {
	s := d.s
	if !d.h.Order(term, num, o) {
		s.count.RefusedOld++
		return
	}
	switch {
	case o.Grant != nil:
		d.attempt(o.Grant.Lane)
	case o.Slot != nil:
		s.count.Slots++
		d.open(o.Slot)
	case o.EndSlot != 0:
		s.count.Turns++
		if k := d.sockets[o.EndSlot]; k != nil {
			k.end()
		}
	case o.Part != nil:
		s.trace("d%d part %v", d.name, *o.Part)
		s.count.Parts++
		d.beginTenure(*o.Part)
	case o.EndPart != nil:
		p := *o.EndPart
		s.trace("d%d endpart %v", d.name, p)
		s.in(s.soon(500*ms), func() {
			if d.up && d.h != nil && d.h.Parts()[p.N] == p.Epoch {
				d.endTenure(p.N)
				d.h.Gone(p)
			}
		})
	}
}

// lapse: the lease is over, or the session is.
func (d *deliverer) lapse() {
	d.s.trace("d%d lapses", d.name)
	for _, id := range d.socketIDs() {
		d.sockets[id].close(false)
	}
	for n := range d.parts {
		d.endTenure(n)
	}
}

func (d *deliverer) line(l Lane) *line {
	x := d.lines[l]
	if x == nil {
		x = new(line)
		d.lines[l] = x
	}
	return x
}

// rule is what bounds a lane, under the rules this deliverer has.
func (d *deliverer) rule(l Lane) *shaping.Bounds {
	b := d.bounds[l]
	if b == nil {
		x := d.table.Bounds(l.Dest, l.Source, l.Tenant)
		b = &x
		d.bounds[l] = b
	}
	return b
}

// bound tells whether a lane needs permits.
func (d *deliverer) bound(l Lane) bool {
	b := d.rule(l)
	for i := range b.Counters {
		if (b.Counters[i].Unit == shaping.NewConnections) == (l.Kind == Connection) {
			return true
		}
	}
	return b.Suspended != nil
}

func (d *deliverer) slotBound(l Lane) bool {
	b := d.rule(l)
	return len(b.Slots) > 0 || b.Suspended != nil
}

// waiting is how many messages of a lane there are.
func (d *deliverer) waiting(x *mailLane, ln *line) int {
	if x.every == 0 {
		return x.backlog
	}
	return min(x.backlog, int((d.s.now-d.born)/x.every)-ln.sent)
}

// work has every lane that can go on do so.
func (d *deliverer) work() {
	for i := range d.s.world.lanes {
		if x := &d.s.world.lanes[i]; x.Kind == Transaction {
			d.attempt(x.Lane)
		}
	}
}

// attempt starts what may be started in a lane, one after the other.
func (d *deliverer) attempt(l Lane) {
	ln := d.line(l)
	if l.Kind == Connection || ln.wake {
		return
	}
	ln.wake = true
	d.s.in(0, func() { ln.wake = false; d.try(l, ln) })
}

func (d *deliverer) again(l Lane, ln *line, in int64) {
	if !ln.wake {
		ln.wake = true
		d.s.in(in, func() { ln.wake = false; d.try(l, ln) })
	}
}

func (d *deliverer) try(l Lane, ln *line) {
	s := d.s
	if !d.up || d.h == nil || d.leaving || d.waiting(s.world.lane(l), ln) <= 0 {
		return
	}
	x := d.local()
	if ln.next == 0 {
		ln.next = s.world.lane(l).recipients(s)
	}
	if !d.bound(l) { // no rule, no permit: a live session is enough
		if d.h.MayStart(x) {
			d.start(l, ln.next)
			ln.next = 0
			d.again(l, ln, 40*ms+s.soon(40*ms))
		}
		return
	}
	t, wait := d.h.Take(l, ln.next, x)
	if t == nil {
		if wait > 0 {
			d.again(l, ln, max(wait-x, 0)+20_000)
		}
		return
	}
	if d.h.Begin(t, x) != nil {
		d.again(l, ln, 0)
		return
	}
	// The write comes a little after the look at the clock.
	gap := s.soon(50_000)
	if s.o.faults != "" && s.r.Intn(50) == 0 {
		gap = s.soon(int64(s.p.Margin) * 9 / 10)
	}
	h, n := d.h, ln.next
	ln.next = 0
	if x := s.world.lane(l); x.every > 0 { // how long the oldest message has waited
		s.waits[l] = append(s.waits[l], s.now-(d.born+int64(ln.sent+1)*x.every))
	}
	ln.sent++
	s.in(gap, func() {
		if !d.up {
			return
		}
		d.start(l, n)
		h.Began(t, d.local())
		next := int64(10_000)
		if d.slow && s.o.faults != "" {
			next = s.soon(20 * ms)
		}
		d.again(l, ln, next)
	})
}

// start is the first octet of a transaction on its way.
func (d *deliverer) start(l Lane, recipients int) {
	d.s.count.Starts++
	d.s.starts[l] = append(d.s.starts[l], start{d.s.now, int32(recipients)})
}
