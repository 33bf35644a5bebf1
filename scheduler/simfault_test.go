package scheduler

import "github.com/tarishi/tarishi/shaping"

// mix is how often each thing goes wrong, relative to the others, and how often
// anything does. Aimed mixes make rare sequences frequent.
type mix struct {
	least, most                                            int64 // between two faults
	die, cutOff, freeze, transfer, allDown, follower, rest int   // schedulers
	killed, leave, unreach, cut, drag                      int   // deliverers
	slowRaft                                               int64 // an entry takes as long, sometimes
	patience                                               int64 // of deliverers with a silent leader
	election                                               int64 // begins so much later, at most
	unaware                                                int64 // a leader whose machine stood still hears so late, at most, that there is another
	hears                                                  bool  // a deliverer that hears the leader late goes on hearing it
}

// mixes by name.
var mixes = map[string]mix{
	"storm": {least: 4 * sec, most: 26 * sec, die: 20, cutOff: 25, freeze: 10, transfer: 8, allDown: 4, follower: 6, rest: 16,
		killed: 10, leave: 7, unreach: 7, cut: 5, drag: 2, patience: sec, election: 2 * sec},
	// The same, for classes and tenants of different weight.
	"crowds": {least: 4 * sec, most: 26 * sec, die: 20, cutOff: 25, freeze: 10, transfer: 8, allDown: 4, follower: 6, rest: 16,
		killed: 10, leave: 7, unreach: 7, cut: 5, drag: 2, patience: sec, election: 2 * sec},
	// Elections while reservations are under way.
	"elections": {least: 2 * sec, most: 6 * sec, die: 10, cutOff: 30, transfer: 5, killed: 2, slowRaft: 400 * ms, patience: sec / 2, election: sec / 2},
	// Everything down, and up again with clocks that lost the time.
	"restarts": {least: 6 * sec, most: 16 * sec, die: 10, cutOff: 10, allDown: 20, transfer: 30, rest: 10, patience: sec, election: 2 * sec},
	// Leaders whose machines, and clocks, stand still.
	"freezes": {least: 4 * sec, most: 12 * sec, freeze: 50, die: 3, unreach: 4, patience: 4 * sec, election: 2 * sec},
	// Leaders that are replaced while they stand still and do not know, and deliverers that meet them.
	"thaws": {least: 5 * sec, most: 9 * sec, freeze: 30, transfer: 20, unreach: 20, unaware: sec, patience: 4 * sec, election: 2 * sec},
	// Answers that come late, and new terms to come late from.
	"lags": {least: sec, most: 4 * sec, drag: 40, transfer: 20, die: 5, killed: 10, patience: 4 * sec, election: 2 * sec, hears: true},
	// Deliverers that nobody reaches, while limits change.
	"cuts": {least: 4 * sec, most: 12 * sec, cut: 20, drag: 15, die: 3, transfer: 3, killed: 2, patience: sec, election: 2 * sec},
}

// inject makes one thing go wrong, and then the next.
func (s *sim) inject() {
	m := &s.mix
	faults := []struct {
		weight int
		do     func()
	}{
		{m.die, s.leaderDies}, {m.cutOff, s.leaderCutOff}, {m.freeze, s.freeze}, {m.transfer, s.transfer}, {m.allDown, s.allDown},
		{m.follower, s.followerDies}, {m.rest, func() { s.snapshot(s.nodes[s.r.Intn(len(s.nodes))]) }},
		{m.killed, s.delivererKilled}, {m.leave, s.delivererLeaves}, {m.unreach, s.delivererBlocked}, {m.cut, s.delivererCut}, {m.drag, s.delivererDragged},
	}
	sum := 0
	for _, f := range faults {
		sum += f.weight
	}
	k := s.r.Intn(sum)
	for _, f := range faults {
		if k -= f.weight; k < 0 {
			f.do()
			break
		}
	}
	s.in(m.least+s.soon(m.most-m.least), s.inject)
}

func (s *sim) leaderDies() {
	n := s.elected
	s.crash(n)
	s.in(sec+s.soon(20*sec), func() { s.restart(n) })
	s.in(sec*8/10+s.soon(2*sec), s.elect)
}

// leaderCutOff cuts the leader off from the others; it goes on as one.
func (s *sim) leaderCutOff() {
	if n := s.elected; n.up && !n.cut {
		n.cut = true
		s.in(sec*3/10+s.soon(s.mix.election), s.elect)
		s.in(2*sec+s.soon(10*sec), func() { s.heal(n) })
	}
}

func (s *sim) allDown() {
	for _, n := range s.nodes {
		s.crash(n)
		s.in(3*sec+s.soon(5*sec), func() { s.restart(n) })
	}
	s.in(9*sec, s.elect)
}

func (s *sim) followerDies() {
	if n := s.nodes[s.r.Intn(len(s.nodes))]; n != s.elected && n.up {
		s.crash(n)
		s.in(s.soon(10*sec), func() { s.restart(n) })
	}
}

// delivererKilled: with permits in hand. Another one comes.
func (s *sim) delivererKilled() {
	i := s.r.Intn(len(s.deliverers))
	dead := s.deliverers[i]
	dead.stop()
	s.deliverers[i] = s.newDeliverer()
	if s.o.broken == deadAlive {
		dead = s.deliverers[s.r.Intn(len(s.deliverers))]
	}
	if dead.h != nil {
		s.deliverers[i].former = dead.h.Session() // it says so when it joins
	}
}

func (s *sim) delivererLeaves() {
	i := s.r.Intn(len(s.deliverers))
	s.deliverers[i].leave()
	s.deliverers[i] = s.newDeliverer()
}

// delivererBlocked can not reach some of the schedulers, for a while.
func (s *sim) delivererBlocked() {
	d := s.deliverers[s.r.Intn(len(s.deliverers))]
	for _, n := range s.nodes {
		d.blocked[n.id] = s.r.Intn(2) == 0
	}
	s.in(s.soon(6*sec), func() { d.blocked = map[int]bool{} })
}

// delivererCut reaches none of them, mostly for longer than its lease.
func (s *sim) delivererCut() {
	d := s.deliverers[s.r.Intn(len(s.deliverers))]
	for _, n := range s.nodes {
		d.blocked[n.id] = true
	}
	s.in(10*sec+s.soon(50*sec), func() { d.blocked = map[int]bool{} })
}

// delivererDragged hears the leader late, and then not at all.
func (s *sim) delivererDragged() {
	d := s.deliverers[s.r.Intn(len(s.deliverers))]
	c := d.conn
	if c == nil || c.broken {
		return
	}
	late := sec + s.soon(3*sec)
	c.back = max(c.back, s.now+late)
	d.deaf = s.now + late + 20*ms
	if s.mix.hears {
		return
	}
	s.at(d.deaf, func() {
		for _, n := range s.nodes {
			d.blocked[n.id] = true
		}
		s.in(35*sec+s.soon(20*sec), func() { d.blocked = map[int]bool{} })
	})
}

// heal brings a node back to the others.
func (s *sim) heal(n *node) {
	n.cut = false
	if s.elected != n || n.raftTerm != s.raftTerm {
		n.leader = nil
	}
	if n.up {
		n.catchUp(len(s.log))
	}
}

// freeze stops the leader's machine, and its clock, for a while.
func (s *sim) freeze() {
	n := s.elected
	if !n.up || n.cut || n.frozen {
		return
	}
	d := sec/2 + s.soon(8*sec)
	n.cut, n.frozen, n.thaw = true, true, s.now+d
	run := n.run
	if d > sec {
		s.in(sec+s.soon(min(2*sec, d-sec/2)), s.elect)
	}
	s.at(n.thaw, func() {
		if n.run != run {
			n.frozen = false
			return
		}
		n.clock.off -= int64(n.clock.rate * float64(d))
		n.frozen = false
		s.count.Freezes++
		late := 30 * ms // the first answer of a follower tells it
		if s.mix.unaware > 0 {
			late += s.soon(s.mix.unaware)
		}
		s.in(late, func() {
			if n.run != run {
				return
			}
			n.cut, n.leader = false, nil
			if s.elected == n {
				s.in(sec, s.elect)
			}
			if n.up {
				n.catchUp(len(s.log))
			}
		})
	})
}

// transfer has the leader stop, and another elected.
func (s *sim) transfer() {
	n := s.elected
	l := n.leader
	if l == nil || s.r.Intn(3) == 0 {
		s.elect()
		return
	}
	end := s.now + 2*sec
	var drain func()
	drain = func() {
		switch {
		case n.leader != l || !n.up || n.frozen:
		case l.Drain(n.cluster()) || s.now > end:
			s.elect()
		default:
			s.in(10*ms, drain)
		}
	}
	drain()
}

// leave has a deliverer go in good order.
func (d *deliverer) leave() {
	s := d.s
	d.leaving = true
	var wait func()
	end := s.now + 10*sec
	wait = func() {
		switch {
		case !d.up:
		case len(d.sockets) == 0 && len(d.parts) == 0 && d.conn != nil && d.h != nil:
			c, id := d.conn, d.h.Session()
			c.toLeader(func() { c.l.Bye(c.n.cluster(), id) })
			s.in(s.soon(sec), d.stop)
		case s.now > end:
			d.stop()
		default:
			s.in(100*ms, wait)
		}
	}
	s.in(100*ms, wait)
}

// change changes a rule, and waits until it is in force.
func (s *sim) change() {
	if k := len(s.rules); k > 0 && s.rules[k-1].from == 0 && s.now-s.rules[k-1].written < 90*sec {
		s.in(sec, s.change)
		return
	}
	n := s.elected
	if n.leader == nil || !n.up {
		s.in(sec, s.change)
		return
	}
	subject := s.world.changes[s.r.Intn(len(s.world.changes))]
	c := subject[s.r.Intn(len(subject))]
	s.propose(n, n.raftTerm, &Command{Type: Change, Change: c}, func(any, error) {}, nil)
	s.in(5*sec+s.soon(30*sec), s.change)
}

// inForce is one version of the rules, and when it was.
type inForce struct {
	version uint64
	table   *shaping.Table
	written int64 // in the log
	from    int64 // a leader says it is in force; 0: none did
}

// append takes an entry into the log for good.
func (s *sim) append(e entry) {
	s.log = append(s.log, e)
	if CommandType(e.data[1]) != Change {
		return
	}
	c, err := ParseCommand(e.data)
	if err != nil {
		panic(err)
	}
	if b, err := s.book.Apply(*c.Change); err == nil {
		t, err := b.Table()
		if err != nil {
			panic(err)
		}
		if b.Version == s.book.Version {
			return // it changed nothing
		}
		s.book = b
		s.rules = append(s.rules, inForce{b.Version, t, s.now, 0})
		s.count.Changes++
	}
}

// watchForce asks a leader whether the last change is in force.
func (s *sim) watchForce(n *node, now Time) {
	for i := len(s.rules) - 1; i >= 0 && s.rules[i].from == 0; i-- {
		if done, _ := n.leader.InForce(s.rules[i].version, now); done {
			s.rules[i].from = s.now
		}
	}
}
