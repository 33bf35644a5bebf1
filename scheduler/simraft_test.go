package scheduler

import (
	"bytes"
	"fmt"
)

// entry is one entry of the simulated log.
type entry struct {
	raftTerm uint64
	data     []byte
}

// node is a machine that runs a scheduler.
type node struct {
	s       *sim
	id      int
	clock   localClock
	up      bool
	cut     bool // it has no majority
	frozen  bool // the machine stands still, its clock too
	thaw    int64
	run     int // counts its starts
	fsm     *FSM
	applied int
	bound   Follower
	snap    []byte
	snapAt  int

	leader   *Leader
	lclock   LeaderClock
	raftTerm uint64
	taken    int64 // when the last proposal is taken in
	told     int64 // when its outcome is known
	conns    map[SessionID]*conn
}

func (n *node) local() int64  { return n.clock.at(n.s.now) }
func (n *node) cluster() Time { return n.lclock.At(n.local()) }

// catchUp applies the log up to k, and returns what the last entry came to.
func (n *node) catchUp(k int) (result any, err error) {
	for n.applied < k {
		e := n.s.log[n.applied]
		c, perr := ParseCommand(e.data)
		if perr != nil {
			panic(perr)
		}
		if n.leader != nil && c.Type == TermStart {
			n.leader = nil // there is another one
		}
		result, err = n.fsm.Apply(e.raftTerm, c)
		n.applied++
		term, stamp := n.fsm.Stamp()
		n.bound.Observe(n.s.p, term, stamp, n.local())
		if n.leader != nil && (c.Type == Join || c.Type == Change) {
			n.leader.Changed(n.cluster())
		}
	}
	return result, err
}

// propose gives an entry to the raft of a node that led in raftTerm. done hears of its
// result, or nothing.
func (s *sim) propose(n *node, raftTerm uint64, c *Command, done func(any, error), lost func()) {
	run, data := n.run, c.Append(nil)
	n.taken = max(n.taken, s.now+s.delay()) // in order
	if m := s.mix.slowRaft; m > 0 {
		n.taken = max(n.taken, s.now+s.soon(m))
	}
	s.at(n.taken, func() {
		e := entry{raftTerm, data}
		if !n.up || n.run != run {
			if s.r.Intn(2) == 0 {
				s.limbo = append(s.limbo, e)
			}
			return
		}
		if n.cut || s.raftTerm > raftTerm {
			s.limbo = append(s.limbo, e)
			return
		}
		if s.o.faults != "" && s.now > 5*sec && s.r.Intn(3000) == 0 { // it was never taken in
			if lost != nil {
				lost()
			}
			return
		}
		s.append(e)
		k := len(s.log)
		s.count.Entries++
		s.count.Octets += len(data)
		for _, f := range s.nodes {
			if f == n {
				continue
			}
			frun := f.run
			s.in(s.delay(), func() {
				if f.up && !f.cut && f.run == frun {
					f.catchUp(k)
				}
			})
		}
		n.told = max(n.told, s.now+s.delay())
		s.at(n.told, func() {
			if n.up && n.run == run && !n.cut {
				for n.applied < k-1 {
					n.catchUp(n.applied + 1)
				}
				if n.applied < k { // else it was, when the node was elected again
					done(n.catchUp(k))
				}
			}
		})
	})
}

func (s *sim) elect() {
	var able []*node
	for _, n := range s.nodes {
		if n.up && !n.cut {
			able = append(able, n)
		}
	}
	if len(able)*2 <= len(s.nodes) {
		s.in(300*ms, s.elect)
		return
	}
	n := able[s.r.Intn(len(able))]
	s.raftTerm++
	s.count.Elections++
	// What the old leader never saw committed may be so all the same.
	for _, e := range s.limbo {
		if k := len(s.log); k > 0 && e.raftTerm < s.log[k-1].raftTerm {
			continue // terms never go down along the log
		}
		if s.r.Intn(2) == 0 {
			break
		}
		s.append(e)
	}
	s.limbo = nil
	if n.leader != nil {
		n.leader = nil
	}
	n.catchUp(len(s.log))
	for _, o := range s.nodes {
		if o.up && !o.cut {
			o.leader = nil
		}
	}
	s.elected = n
	s.begin(n, s.raftTerm)
	raftTerm := s.raftTerm
	s.in(2*sec, func() { // an election may come to nothing
		if s.raftTerm == raftTerm && (n.leader == nil || n.raftTerm != raftTerm) {
			s.elect()
		}
	})
}

// begin has a node that raft has elected begin its term.
func (s *sim) begin(n *node, raftTerm uint64) {
	base := n.bound.At(s.p, n.local())
	if s.p.broken == wallClock {
		base += Time(s.soon(2 * sec))
	}
	clock := StartClock(base, n.local())
	again := func() {
		if s.raftTerm == raftTerm && n.up && !n.cut {
			s.begin(n, raftTerm)
		}
	}
	for _, h := range n.fsm.order {
		if h.open > 0 {
			s.count.OpenReserved++
			break
		}
	}
	s.propose(n, raftTerm, &Command{Type: TermStart, Clock: base, RaftTerm: raftTerm}, func(r any, err error) {
		if s.raftTerm != raftTerm {
			return
		}
		if err != nil {
			s.problem("TermStart: %v", err)
			return
		}
		n.lclock, n.raftTerm = clock, raftTerm
		clear(n.conns)
		s.trace("node %d leads term %v", n.id, r)
		n.leader = NewLeader(s.p, n.fsm, r.(uint64), n.cluster())
		if r.(uint64) == 1 {
			s.setUp(n, raftTerm)
		}
		if s.mix.unaware > 0 && r.(uint64) > 1 { // before all have met it
			s.in(100*ms+s.soon(sec), s.freeze)
		}
		s.lead(n)
	}, again)
}

// setUp writes the first rules.
func (s *sim) setUp(n *node, raftTerm uint64) {
	for _, c := range s.world.book {
		s.propose(n, raftTerm, &Command{Type: Change, Change: c}, func(_ any, err error) {
			if err != nil {
				panic(err)
			}
		}, func() { panic("lost") })
	}
}

// lead runs a leader until it is none any more.
func (s *sim) lead(n *node) {
	l, run, raftTerm := n.leader, n.run, n.raftTerm
	anew := func() {
		if n.leader == l {
			n.leader = nil
			if s.raftTerm == raftTerm && !n.cut {
				s.begin(n, raftTerm)
			}
		}
	}
	var turn func()
	turn = func() {
		if !n.up || n.run != run || n.leader != l {
			return
		}
		if n.frozen {
			s.at(n.thaw+s.soon(ms), turn)
			return
		}
		now := n.cluster()
		l.Turn(now, func(id SessionID, o Order) { n.send(id, o) })
		if c := l.Tick(now); c != nil {
			s.propose(n, raftTerm, c, func(_ any, err error) {
				if n.leader != l {
					return
				}
				if err != nil { // one was lost while it was cut off
					anew()
					return
				}
				l.Committed(n.cluster(), c)
			}, anew)
		}
		s.watchForce(n, now)
		s.in(10*ms, turn)
	}
	turn()
}

// snapshot has a node go on from its own snapshot.
func (s *sim) snapshot(n *node) {
	if !n.up || n.leader != nil || n.applied == 0 {
		return
	}
	b := n.fsm.Snapshot()
	f, err := Restore(s.p, b)
	if err != nil {
		s.problem("restore: %v", err)
		return
	}
	if again := f.Snapshot(); !bytes.Equal(b, again) {
		s.problem("a restored state has another snapshot")
	}
	n.fsm, n.snap, n.snapAt = f, b, n.applied
	s.count.Snapshots++
}

func (s *sim) crash(n *node) {
	n.up, n.leader = false, nil
	n.run++
	s.count.Crashes++
}

func (s *sim) restart(n *node) {
	if n.up {
		return
	}
	n.up, n.cut, n.frozen = true, false, false
	n.clock = s.clock() // of another machine: the old bound is worth nothing
	n.bound = Follower{}
	if n.snap != nil {
		f, err := Restore(s.p, n.snap)
		if err != nil {
			panic(err)
		}
		n.fsm, n.applied = f, n.snapAt
	} else {
		n.fsm, n.applied = NewFSM(s.p), 0
	}
	if term, stamp := n.fsm.Stamp(); term > 0 {
		n.bound.Observe(s.p, term, stamp, n.local())
	}
	n.catchUp(len(s.log))
}

func (s *sim) problem(format string, args ...any) {
	if len(s.problems) < 20 {
		s.problems = append(s.problems, fmt.Sprintf("%.3fs: ", float64(s.now)/1e9)+fmt.Sprintf(format, args...))
	}
}
