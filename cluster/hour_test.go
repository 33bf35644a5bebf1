package cluster

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var seed = flag.Uint64("seed", 0, "seed of the random faults; 0: the recorded ones")

// An hour of elections, partitions, kills and transfers with real raft, the real
// transport and the real log store, in fake time.
func TestHour(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1}
	if *seed != 0 {
		seeds = []uint64{*seed}
	}
	for _, s := range seeds {
		t.Run(fmt.Sprint(s), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { hour(t, s, hourLength) }) })
	}
}

// hourNode is a node of the hour.
type hourNode struct {
	peer Peer
	dir  string
	tr   *Transport
	raft atomic.Pointer[Raft] // nil: it does not run
	fsm  *counter
	wg   sync.WaitGroup
}

// hourWorld is everything that happens in the hour.
type hourWorld struct {
	t     *testing.T
	net   *memNet
	peers []Peer
	addrs []string
	nodes []*hourNode
	began time.Time

	mu       sync.Mutex
	leaders  map[uint64]string    // who led in a term
	acked    []uint64             // numbers that were committed for sure
	alone    map[string]time.Time // since when a node is cut off from both others
	last     time.Time            // of the last commit
	unknown  int
	refused  int
	zombie   int // proposals to a node that was alone and thought to lead
	elected  int
	transfer int

	elections []time.Duration // from a leader's death to the next leader
}

func (w *hourWorld) start(n *hourNode) {
	tr, err := NewTransport(TransportOptions{Cluster: "hour", Node: n.peer.Node, Listener: w.net.listen(n.peer.Addr), Dial: w.net.dial(n.peer.Addr)})
	if err != nil {
		w.t.Fatal(err)
	}
	n.tr, n.fsm = tr, &counter{}
	r, err := StartRaft(w.t.Context(), RaftOptions{
		Dir: n.dir, FSM: n.fsm, Cluster: "hour", Node: n.peer.Node, Peers: w.peers, Transport: tr,
		noSync: true, snapshot: 200, trailing: 40,
		Fatal: func(err error) { w.t.Errorf("%s: %v", n.peer.Node, err) }})
	if err != nil {
		w.t.Fatal(err)
	}
	n.wg.Go(func() { w.follow(n.peer.Node, r.Leadership()) })
	n.raft.Store(r)
}

// follow checks the events of one run of a node.
func (w *hourWorld) follow(node string, events <-chan Leadership) {
	var now Leadership
	for e := range events {
		if e.Leading == now.Leading || e.Leading && e.Term <= now.Term || !e.Leading && e.Term != now.Term {
			w.t.Errorf("%s: %+v after %+v", node, e, now)
		}
		now = e
		if !e.Leading {
			continue
		}
		w.mu.Lock()
		if o := w.leaders[e.Term]; o != "" && o != node {
			w.t.Errorf("term %d has two leaders, %s and %s", e.Term, o, node)
		}
		w.leaders[e.Term] = node
		w.elected++
		w.mu.Unlock()
	}
}

func (w *hourWorld) stop(n *hourNode, kill bool) {
	if kill {
		w.net.vanish(n.peer.Addr)
	}
	n.raft.Swap(nil).Stop()
	n.tr.Close()
	n.wg.Wait()
}

func (w *hourWorld) leader() *hourNode {
	for _, n := range w.nodes {
		if r := n.raft.Load(); r != nil && r.Leading() != 0 {
			return n
		}
	}
	return nil
}

// propose asks every node that thinks it leads, so that a leader without a majority is
// asked as well.
func (w *hourWorld) propose(number64 uint64) {
	for _, n := range w.nodes {
		r := n.raft.Load()
		if r == nil || r.Leading() == 0 {
			continue
		}
		w.mu.Lock()
		alone, cut := w.alone[n.peer.Addr]
		w.mu.Unlock()
		began := time.Now()
		_, err := r.Propose(w.t.Context(), number(number64))
		w.mu.Lock()
		switch {
		case err == nil:
			if cut && began.After(alone) && !w.alone[n.peer.Addr].IsZero() {
				w.t.Errorf("%s committed %d though it reached nobody", n.peer.Node, number64)
			}
			w.acked = append(w.acked, number64)
			w.last = time.Now()
		case errors.Is(err, ErrUnknownOutcome):
			w.unknown++
			if cut {
				w.zombie++
			}
		case errors.Is(err, ErrNotLeader):
			w.refused++
		default:
			w.t.Errorf("propose: %v", err)
		}
		w.mu.Unlock()
		if err == nil {
			return
		}
	}
}

func newHour(t *testing.T) *hourWorld {
	w := &hourWorld{t: t, net: newMemNet(), began: time.Now(), leaders: map[uint64]string{}, alone: map[string]time.Time{}}
	for _, n := range []string{"a", "b", "c"} {
		p := Peer{n, n + ":7000"}
		w.peers, w.addrs = append(w.peers, p), append(w.addrs, p.Addr)
		w.nodes = append(w.nodes, &hourNode{peer: p, dir: t.TempDir()})
	}
	return w
}

func (w *hourWorld) startAll() {
	var up sync.WaitGroup
	for _, n := range w.nodes {
		up.Go(func() { w.start(n) })
	}
	up.Wait()
}

func hour(t *testing.T, seed uint64, length time.Duration) {
	w := newHour(t)
	w.startAll()
	done := make(chan struct{})
	var clients sync.WaitGroup
	for c := range uint64(2) { // the second one still proposes while the first waits for an outcome
		clients.Go(func() {
			for i := c; ; i += 2 {
				w.propose(i)
				select {
				case <-done:
					return
				case <-time.After(250 * time.Millisecond):
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	for time.Since(w.began) < length {
		w.calm(3 * time.Second)
		w.fault(rng)
	}
	w.calm(3 * time.Second)
	close(done)
	clients.Wait()
	w.judge()
	for _, n := range w.nodes {
		w.stop(n, false)
	}
}

// calm waits until numbers are committed again, which must not take long, and a little.
func (w *hourWorld) calm(rest time.Duration) {
	from := time.Now()
	for {
		w.mu.Lock()
		last := w.last
		w.mu.Unlock()
		if last.After(from) {
			break
		}
		if time.Since(from) > 10*time.Second {
			w.t.Fatalf("nothing was committed for 10 s with nothing in the way, %v after the beginning", time.Since(w.began))
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(rest)
}

// fault lets one thing go wrong and mends it.
func (w *hourWorld) fault(rng *rand.Rand) {
	l := w.leader()
	if l == nil {
		return
	}
	other := w.nodes[rng.IntN(3)]
	hold := time.Duration(200+rng.IntN(15000)) * time.Millisecond
	switch rng.IntN(7) {
	case 0: // the leader alone
		w.mu.Lock()
		w.alone[l.peer.Addr] = time.Now()
		w.mu.Unlock()
		w.net.isolate(l.peer.Addr, w.addrs, true)
		time.Sleep(hold)
		w.mu.Lock()
		delete(w.alone, l.peer.Addr)
		w.mu.Unlock()
		w.net.isolate(l.peer.Addr, w.addrs, false)
	case 1: // any node alone
		w.mu.Lock()
		w.alone[other.peer.Addr] = time.Now()
		w.mu.Unlock()
		w.net.isolate(other.peer.Addr, w.addrs, true)
		time.Sleep(hold)
		w.mu.Lock()
		delete(w.alone, other.peer.Addr)
		w.mu.Unlock()
		w.net.isolate(other.peer.Addr, w.addrs, false)
	case 2: // one link, one way
		to := w.addrs[rng.IntN(3)]
		if to == other.peer.Addr {
			return
		}
		w.net.set(other.peer.Addr, to, true)
		time.Sleep(hold)
		w.net.set(other.peer.Addr, to, false)
	case 3: // what the leader says gets lost, what it is told does not
		for _, a := range w.addrs {
			w.net.set(l.peer.Addr, a, a != l.peer.Addr)
		}
		time.Sleep(hold)
		for _, a := range w.addrs {
			w.net.set(l.peer.Addr, a, false)
		}
	case 4: // the leader's process dies
		w.stop(l, true)
		from := time.Now()
		for w.leader() == nil && time.Since(from) < time.Minute {
			time.Sleep(time.Millisecond)
		}
		w.elections = append(w.elections, time.Since(from))
		time.Sleep(hold)
		w.start(l)
	case 5: // a restart
		w.stop(other, rng.IntN(2) == 0)
		time.Sleep(hold)
		w.start(other)
	case 6:
		if err := l.raft.Load().Transfer(w.t.Context()); err != nil {
			w.t.Errorf("transfer: %v", err)
		}
		w.transfer++
	}
}

// judge looks at what is left at the end.
func (w *hourWorld) judge() {
	t := w.t
	var states [][]uint64
	for _, n := range w.nodes {
		n := n
		for range 200 { // followers apply a little later
			if len(states) > 0 && len(n.fsm.numbers()) < len(states[0]) {
				time.Sleep(10 * time.Millisecond)
			}
		}
		states = append(states, n.fsm.numbers())
		if !slices.IsSorted(n.fsm.terms) {
			t.Errorf("%s applied entries of falling terms", n.peer.Node)
		}
	}
	for i := range states[1:] {
		short := min(len(states[0]), len(states[i+1]))
		if !slices.Equal(states[0][:short], states[i+1][:short]) {
			t.Errorf("nodes %s and %s applied different entries", w.nodes[0].peer.Node, w.nodes[i+1].peer.Node)
		}
	}
	there := map[uint64]bool{}
	for _, n := range slices.MaxFunc(states, func(a, b []uint64) int { return len(a) - len(b) }) {
		there[n] = true
	}
	for _, n := range w.acked {
		if !there[n] {
			t.Errorf("%d was committed and is lost", n)
		}
	}
	slices.Sort(w.elections)
	if len(w.elections) == 0 {
		t.Fatal("no leader died")
	}
	longest := w.elections[len(w.elections)-1]
	t.Logf("%d committed, %d unknown (%d at a leader without a majority), %d refused; %d terms, %d transfers; %d leaders died and were replaced after %v (median), %v (longest)",
		len(w.acked), w.unknown, w.zombie, w.refused, w.elected, w.transfer, len(w.elections), w.elections[len(w.elections)/2], longest)
	if longest > 3*time.Second {
		t.Errorf("a dead leader was replaced after %v, which is too long", longest)
	}
	hours := time.Since(w.began).Hours()
	if float64(w.elected) < 100*hours || float64(w.unknown) < 50*hours || float64(w.zombie) < 20*hours || float64(w.transfer) < 10*hours {
		t.Errorf("too little went wrong for this to prove anything")
	}
}

// A node that reaches nobody stops at once all the same.
func TestStopBehindACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newHour(t)
		w.startAll()
		for w.leader() == nil {
			time.Sleep(time.Millisecond)
		}
		l := w.leader()
		w.net.isolate(l.peer.Addr, w.addrs, true)
		time.Sleep(300 * time.Millisecond) // requests are under way, and it still leads
		if l.raft.Load().Leading() == 0 {
			t.Error("it leads no more")
		}
		began := time.Now()
		w.stop(l, false)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the stop took %v", took)
		}
		for _, n := range w.nodes {
			if n != l {
				w.stop(n, false)
			}
		}
	})
}
