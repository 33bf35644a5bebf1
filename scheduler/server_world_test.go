package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// world is three schedulers and some deliverers in a bubble: real Servers and
// Clients, each with a clock of its own that is as wrong as it may be, over a log
// and a network that the test steers. The bubble's clock is the truth.
type world struct {
	t       testing.TB
	ctx     context.Context
	began   time.Time
	rand    *rand.Rand
	raft    *twinRaft
	net     *twinNet
	servers []*worldServer
	clients []*worldClient
	addrs   []string
	run     sync.WaitGroup
	mu      sync.Mutex
	starts  map[string][]time.Time // by destination key, source, tenant
	stop    context.CancelFunc
}

type worldServer struct {
	*Server
	node  *twinNode
	end   context.CancelFunc
	wrong *atomic.Bool // its clock's rate
}

type worldClient struct {
	*Client
	w     *world
	name  string
	ck    *worldClock
	end   context.CancelFunc
	mu    sync.Mutex
	news  map[Lane]chan struct{}
	parts map[uint32]uint64
	gate  chan struct{} // closed: it runs; else it is frozen
	wrong atomic.Bool   // its clock's rate
	rules atomic.Int64  // how often OnRules was called
}

// worldClock is a node's clock.
type worldClock struct {
	began time.Time
	mu    sync.Mutex
	off   int64
	rate  float64
}

func (c *worldClock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off + int64(float64(time.Since(c.began))*c.rate)
}

// behind sets the clock back, as one that did not run for d.
func (c *worldClock) lost(d time.Duration) {
	c.mu.Lock()
	c.off -= int64(float64(d) * c.rate)
	c.mu.Unlock()
}

func (w *world) clock() *worldClock {
	e := DefaultParams().Rho * 0.98
	rate := []float64{1 + e, 1 - e, 1}[int(w.randN(3))]
	return &worldClock{began: w.began, off: int64(time.Hour) + w.randN(int64(time.Hour)), rate: rate}
}

// inWorld runs f in a bubble with three schedulers, of which the first leads.
func inWorld(t *testing.T, seed uint64, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, began: time.Now(), rand: rand.New(rand.NewPCG(seed, 1)), starts: map[string][]time.Time{}}
		w.ctx, w.stop = context.WithCancel(t.Context())
		w.raft = &twinRaft{t: t, rand: rand.New(rand.NewPCG(seed, 2)), delay: 2 * time.Millisecond}
		w.net = newTwinNet(time.Millisecond)
		for i := range 3 {
			w.addrs = append(w.addrs, fmt.Sprintf("s%d", i+1))
			w.servers = append(w.servers, w.server(w.addrs[i]))
		}
		w.raft.elect(w.servers[0].node)
		defer func() {
			w.stop()
			for _, s := range w.servers {
				w.net.breakAll(s.o.Node)
			}
			w.run.Wait()
		}()
		if err := w.operator("op").SubmitFile(w.ctx, noLimits("s1")); err != nil {
			t.Fatal(err)
		}
		f(w)
	})
}

// noLimits is the file of a node that has none. Nobody works before one is brought.
func noLimits(node string) shaping.Change {
	return shaping.Change{Op: shaping.OpFile, Node: node, Hash: "none"}
}

func (w *world) log(who string) *slog.Logger {
	if os.Getenv("SCHEDULER_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("who", who)
}

func (w *world) server(name string) *worldServer {
	wrong := &atomic.Bool{}
	s := &worldServer{wrong: wrong, Server: NewServer(ServerOptions{Node: name, Params: DefaultParams(), Clock: w.clock().now, Log: w.log(name), Rates: w.rates(wrong),
		Fatal: func(err error) { w.t.Errorf("%s: %v", name, err) }})}
	s.node = w.raft.node(name, s.State())
	var ctx context.Context
	ctx, s.end = context.WithCancel(w.ctx)
	w.net.mu.Lock()
	w.net.serve[name] = s.Serve
	w.net.mu.Unlock()
	w.run.Go(func() { s.Run(ctx, s.node, s.node.events) })
	return s
}

// rates is what Rates reads on a node: a second in 600 µs more, if it is wrong.
func (w *world) rates(wrong *atomic.Bool) func() (steered, raw int64) {
	var sum, last int64
	return func() (int64, int64) {
		x := int64(time.Since(w.began))
		d := x - last
		last = x
		if wrong.Load() {
			d += d * 6 / 10_000
		}
		sum += d
		return sum, x
	}
}

// killServer ends a scheduler, as kill -9 does.
func (w *world) killServer(i int) {
	s := w.servers[i]
	w.raft.kill(s.node)
	w.net.breakAll(s.o.Node)
	s.end()
}

// reviveServer starts it anew with what its disk holds.
func (w *world) reviveServer(i int) {
	w.servers[i] = w.server(w.servers[i].o.Node)
	n := w.servers[i].node
	w.raft.mu.Lock()
	k := len(w.raft.log)
	n.knows = w.raft.leader
	w.raft.mu.Unlock()
	n.catchUp(k)
}

func (w *world) client(name string) *worldClient { return w.successor(name, 0) }

// successor is a client that says which session its last process had.
func (w *world) successor(name string, former SessionID) *worldClient {
	c := &worldClient{w: w, name: name, ck: w.clock(), news: map[Lane]chan struct{}{}, parts: map[uint32]uint64{}, gate: make(chan struct{})}
	close(c.gate)
	var ctx context.Context
	ctx, c.end = context.WithCancel(w.ctx)
	c.Client = NewClient(ClientOptions{Node: name, Params: DefaultParams(), Clock: c.ck.now, Parts: true, Former: former, Log: w.log(name),
		Rates: w.rates(&c.wrong), OnRules: func() { c.rules.Add(1) },
		Wall:  func() int64 { return time.Now().UnixNano() },
		Peers: Peers{Addrs: w.addrs, Dial: w.net.dial(name)},
		News: func(l Lane) {
			select {
			case c.signal(l) <- struct{}{}:
			default:
			}
		},
		OnPart: func(gained bool, p Part) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if gained {
				c.parts[p.N] = p.Epoch
			} else if c.parts[p.N] == p.Epoch {
				delete(c.parts, p.N)
				time.AfterFunc(300*time.Millisecond, func() { c.PartGone(p) }) // something is under way still
			}
		}})
	w.mu.Lock()
	w.clients = append(w.clients, c)
	w.mu.Unlock()
	w.run.Go(func() { c.Run(ctx) })
	return c
}

// told is how often the deliverer was told that rules or session are new.
func (c *worldClient) told() int64 { return c.rules.Load() }

func (c *worldClient) signal(l Lane) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.news[l]
	if ch == nil {
		ch = make(chan struct{}, 1)
		c.news[l] = ch
	}
	return ch
}

// freeze stops the process; its clock goes on. thaw lets it run.
func (c *worldClient) freeze() {
	c.mu.Lock()
	c.gate = make(chan struct{})
	c.mu.Unlock()
	c.w.net.stop(c.name)
}

func (c *worldClient) thaw() {
	c.mu.Lock()
	close(c.gate)
	c.mu.Unlock()
	c.w.net.start(c.name)
}

// running waits while the process is frozen.
func (c *worldClient) running() {
	c.mu.Lock()
	g := c.gate
	c.mu.Unlock()
	<-g
}

func (w *world) operator(from string) *Operator {
	return NewOperator(Peers{Addrs: w.addrs, Dial: w.net.dial(from)}, w.log("operator"))
}

// set sets a rule and waits until it is in force.
func (w *world) set(r shaping.Rule) Progress {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 2*time.Minute)
	defer cancel()
	p, err := w.operator("op").Change(ctx, shaping.Change{Op: shaping.OpSet, Author: "test", Rule: &r}, nil)
	if err != nil {
		w.t.Fatalf("set %v: %v", r, err)
	}
	return p
}

// eventually waits in the bubble until ok.
func (w *world) eventually(d time.Duration, what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) {
		synctest.Wait()
		if ok() {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func dest(domain string) shaping.Destination { return shaping.Destination{Key: "domain:" + domain} }

func laneTo(domain string) Lane { return Lane{Dest: dest(domain), Kind: Transaction} }

// started notes a start by the true clock.
func (w *world) started(key string) {
	w.mu.Lock()
	w.starts[key] = append(w.starts[key], time.Now())
	w.mu.Unlock()
}

func (w *world) count(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.starts[key])
}

// send starts transactions to a destination as fast as it may, until ctx ends, with
// up to many waiting.
func (c *worldClient) send(ctx context.Context, l Lane, many int) {
	h := c.Lane(l)
	news := c.signal(l)
	for ctx.Err() == nil {
		c.running()
		h.Want(many, many, 1)
		p, v := h.Take(1)
		if p == nil {
			wait := 20 * time.Millisecond
			if !v.NotBefore.IsZero() {
				wait = max(time.Until(v.NotBefore), 100*time.Microsecond)
			}
			select {
			case <-news:
			case <-time.After(wait):
			case <-ctx.Done():
			}
			continue
		}
		c.running()
		if p.Begin() != nil {
			continue
		}
		time.Sleep(time.Duration(c.w.randN(int64(2 * time.Millisecond)))) // to the write
		c.w.started(l.Dest.Key)
		p.Began()
	}
	h.Want(0, 0, 0)
}

func (w *world) randN(n int64) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.Int64N(n)
}

// since counts the starts since t.
func (w *world) since(key string, t time.Time) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.starts[key] {
		if s.After(t) {
			n++
		}
	}
	return n
}

// check judges the starts of a destination: at most n in any window of that length.
func (w *world) check(key string, n int, length time.Duration) {
	w.t.Helper()
	w.checkSince(time.Time{}, key, n, length)
}

// checkSince judges those after an instant.
func (w *world) checkSince(from time.Time, key string, n int, length time.Duration) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.starts[key]
	sort.Slice(s, func(i, j int) bool { return s[i].Before(s[j]) })
	for len(s) > 0 && s[0].Before(from) {
		s = s[1:]
	}
	for i := n; i < len(s); i++ {
		if d := s[i].Sub(s[i-n]); d < length {
			w.t.Errorf("%s: %d starts within %v (from %v on), more than %d in %v", key, n+1, d, s[i-n].Sub(w.began), n, length)
			return
		}
	}
}
