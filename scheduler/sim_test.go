package scheduler

import (
	"container/heap"
	"math/rand"

	"github.com/tarishi/tarishi/shaping"
)

// The simulator: schedulers, deliverers and the ways between them, in virtual time,
// from one seed. It drives the shipped FSM, Leader and Holdings; what it invents is
// clocks, a raft that keeps raft's promises and no others, connections and faults.

const ms, sec = int64(1_000_000), int64(1_000_000_000)

type event struct {
	at, seq int64
	do      func()
}

type agenda []event

func (q agenda) Len() int { return len(q) }
func (q agenda) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].seq < q[j].seq
}
func (q agenda) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *agenda) Push(x any)   { *q = append(*q, x.(event)) }
func (q *agenda) Pop() any {
	o := *q
	x := o[len(o)-1]
	*q = o[:len(o)-1]
	return x
}

// localClock is one machine's clock: its own start, its own rate.
type localClock struct {
	off  int64
	rate float64
}

func (c localClock) at(t int64) int64 { return c.off + int64(c.rate*float64(t)) }

type sim struct {
	now    int64 // true time
	agenda agenda
	seq    int64
	r      *rand.Rand
	p      Params
	world  *simWorld
	o      options
	mix    mix

	nodes    []*node
	log      []entry
	limbo    []entry
	raftTerm uint64
	elected  *node

	deliverers []*deliverer
	names      int

	book     *shaping.Book
	rules    []inForce // versions of the rules, as they came into force
	problems []string

	starts      map[Lane][]start
	waits       map[Lane][]int64 // of lanes with mail that comes every so often
	connections []span
	tenures     []tenure

	count counts
}

// options of a run.
type options struct {
	seed    int64
	length  int64
	faults  string // of mixes; empty: none
	changes bool   // change limits while it runs
	broken  mutation
	trace   func(string, ...any)
}

// counts shows that a run was not idle.
type counts struct {
	Elections, Freezes, Crashes, Snapshots, Lapses, Changes, Joins, Buried   int
	Entries, Octets                                                          int
	Granted, Starts, Expired, RefusedOld, Slots, Turns, Parts, Holds, Zombie int
	OpenReserved                                                             int
}

func (s *sim) at(t int64, f func()) {
	s.seq++
	heap.Push(&s.agenda, event{t, s.seq, f})
}
func (s *sim) in(d int64, f func()) { s.at(s.now+d, f) }

// soon is within most.
func (s *sim) soon(most int64) int64 { return s.r.Int63n(most) }

// delay is one way, 0.2 to 1 ms mostly, and far longer at times.
func (s *sim) delay() int64 {
	d := 200_000 + s.soon(800_000)
	if s.o.faults != "" {
		switch x := s.r.Float64(); {
		case x < 0.0004: // longer than a permit lives, and than the horizon
			d += s.soon(6 * sec)
		case x < 0.002:
			d += s.soon(400 * ms)
		case x < 0.02:
			d += s.soon(30 * ms)
		}
	}
	return d
}

// clock makes a machine's clock; the extremes of what is allowed are frequent.
func (s *sim) clock() localClock {
	e := s.p.Rho * 0.98
	rate := 1 + (s.r.Float64()*2-1)*e
	switch s.r.Intn(4) {
	case 0:
		rate = 1 + e
	case 1:
		rate = 1 - e
	}
	return localClock{s.soon(1_000_000_000_000), rate}
}

func newSim(o options, w *simWorld) *sim {
	p := DefaultParams()
	p.broken = o.broken
	s := &sim{r: rand.New(rand.NewSource(o.seed)), p: p, o: o, mix: mixes[o.faults], world: w, starts: map[Lane][]start{}, waits: map[Lane][]int64{}, book: &shaping.Book{}}
	for range 3 {
		s.nodes = append(s.nodes, &node{s: s, id: len(s.nodes), clock: s.clock(), up: true, fsm: NewFSM(p), conns: map[SessionID]*conn{}})
	}
	for range w.deliverers {
		s.deliverers = append(s.deliverers, s.newDeliverer())
	}
	return s
}

func (s *sim) run() {
	s.at(0, s.elect)
	if s.o.faults != "" {
		s.in(10*sec, s.inject)
	}
	if s.o.changes {
		s.in(15*sec, s.change)
	}
	for len(s.agenda) > 0 && s.agenda[0].at <= s.o.length {
		e := heap.Pop(&s.agenda).(event)
		s.now = e.at
		e.do()
		if s.count.Starts > int(s.o.length/sec)*2000 {
			return // a mutant without brakes
		}
	}
	for _, d := range s.deliverers {
		d.stop()
	}
}

// trace tells what happens, with -v and -seeds 1.
func (s *sim) trace(format string, args ...any) {
	if s.o.trace != nil {
		s.o.trace("%.3fs: "+format, append([]any{float64(s.now) / 1e9}, args...)...)
	}
}
