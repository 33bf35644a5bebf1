package command

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/queue"
	"github.com/tarishi/tarishi/scheduler"
	"github.com/tarishi/tarishi/smtp"
)

// storyNode is one process as serve wires it, from its start to its stop or death:
// only the listener, the dialer and the table of hosts are the world's.
type storyNode struct {
	t      *testing.T
	world  *world
	log    *storyLog
	folder *daemon.Folder
	nats   *cluster.NATS
	queue  *queue.Queue
	out    *deliverer.Deliverer
	server *smtp.Server
	door   *storyDoor

	council *council
	session *session
	endTalk context.CancelFunc // of the session with the scheduler
	talked  chan error

	endOut  context.CancelFunc
	outDone chan error
	inDone  chan error

	mu    sync.Mutex
	wire  *wire
	dying bool // being killed: what it logs of its own end means nothing
	dead  bool
	conns map[net.Conn]struct{} // to receivers
}

// startNode opens the store in c.Data and goes to work.
func startNode(t *testing.T, c *daemon.Config, w *world, log *storyLog) *storyNode {
	t.Helper()
	n := &storyNode{t: t, world: w, log: log, conns: map[net.Conn]struct{}{},
		outDone: make(chan error, 1), inDone: make(chan error, 1), talked: make(chan error, 1)}
	logger := slog.New(&nodeLog{n, nil})
	var err error
	if n.folder, err = daemon.OpenFolder(c.Data, daemon.Standalone); err != nil {
		t.Fatal(err)
	}
	n.open(c, logger)
	n.agree(c, logger)
	conf, err := delivererConfig(c, n.queue, nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	conf.Hosts, conf.Dial = w, n.dial
	sched := n.session.open(n.folder)
	conf.Scheduler, conf.Reactor = sched, sched
	if n.out, err = deliverer.New(conf); err != nil {
		t.Fatal(err)
	}
	n.session.attach(n.queue, n.out)
	policy, err := newPolicy(c, n.queue, newPluginHost(c, nil, nil, logger), "", nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	n.server = newServer(c, policy, nil, logger)
	n.door = newStoryDoor()
	ctx, cancel := context.WithCancel(context.Background())
	n.endOut = cancel
	talk, hush := context.WithCancel(context.Background())
	n.endTalk = hush
	go func() {
		if err := n.council.bringFile(talk, scheduler.NewOperator(n.council.reach, logger)); err != nil {
			n.talked <- err
			return
		}
		n.talked <- n.session.run(talk)
	}()
	go func() { n.outDone <- n.out.Run(ctx) }()
	go func() { n.inDone <- n.server.Serve(n.door) }()
	return n
}

// agree starts the scheduler on the bubble's clock.
func (n *storyNode) agree(c *daemon.Config, log *slog.Logger) {
	n.t.Helper()
	var err error
	if n.council, err = openCouncil(c, log); err != nil {
		n.t.Fatal(err)
	}
	n.council.clock = func() int64 { return time.Now().UnixNano() }
	n.council.rates = nil
	if err := n.council.join(n.t.Context(), n.folder); err != nil {
		n.t.Fatal(err)
	}
	n.session = newSession(c, n.council, log)
}

// open is openQueue with one difference: JetStream's background sync, which only a
// power cut would miss, comes once a minute. A day has 86,400 seconds.
func (n *storyNode) open(c *daemon.Config, log *slog.Logger) {
	n.t.Helper()
	dir := filepath.Join(n.folder.Path, "queue")
	var err error
	if n.nats, err = cluster.StartNATS(cluster.NATSOptions{Dir: dir, SyncEvery: time.Minute, Log: log}); err != nil {
		n.t.Fatal(err)
	}
	n.wire = &wire{nats: n.nats}
	n.queue, err = queue.Open(n.t.Context(), queue.Options{
		Server: n.wire, StreamsDir: cluster.StreamsDir(dir), Node: c.Hostname,
		MaxInline: int(c.Queue.MaxInline), Log: log,
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// stop is SIGTERM: no more mail in, open transactions end, the queue closes.
func (n *storyNode) stop(drain time.Duration) {
	n.t.Helper()
	limit, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	n.endOut()
	if err := n.server.Shutdown(limit); err != nil {
		n.t.Error("stopping the server:", err)
	}
	<-n.inDone
	if err := <-n.outDone; err != nil {
		n.t.Error("stopping the deliverer:", err)
	}
	n.endTalk()
	if err := <-n.talked; err != nil {
		n.t.Error("ending the session:", err)
	}
	last, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := n.queue.Close(last); err != nil {
		n.t.Error("closing the queue:", err)
	}
	stopNATS(n.nats)
	if err := n.council.close(); err != nil {
		n.t.Error("stopping the scheduler:", err)
	}
	n.world.add(n.out.Stats())
	if err := n.folder.Close(); err != nil {
		n.t.Error(err)
	}
}

// kill ends the process as kill -9 does: from one moment on it writes nothing and
// every connection is cut. What remains of its goroutines in our process finds
// every door shut; done says when the last of them has gone.
func (n *storyNode) kill() (done func()) {
	n.mu.Lock()
	n.dying = true
	n.mu.Unlock()
	// First, so that nobody hears of a cut connection and writes it down.
	n.wire.cut()
	stopNATS(n.nats)
	n.mu.Lock()
	n.dead = true
	for c := range n.conns {
		_ = c.Close()
	}
	n.mu.Unlock()
	n.world.add(n.out.Stats())
	n.endOut()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_ = n.server.Shutdown(gone)
	<-n.inDone
	_ = n.queue.Close(gone) // cannot say goodbye: the journal's server is gone
	n.council.end()         // before the session can say bye
	n.endTalk()
	_ = n.council.raft.Stop()
	n.council.wg.Wait()
	<-n.talked
	_ = n.folder.Close() // as the kernel does
	return func() { <-n.outDone }
}

// stopNATS stops a server that gets no more requests. It holds a lock for 50 ms, and a
// bubble does not count waiting for a lock as waiting: what has been asked is to be
// answered first.
func stopNATS(s *cluster.NATS) {
	synctest.Wait()
	s.Stop()
}

// isDead tells whether what the node's remains say is to be ignored.
func (n *storyNode) isDead() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dying
}

// dial reaches the receivers of the world through memory.
func (n *storyNode) dial(_ context.Context, _, addr string) (net.Conn, error) {
	conn, err := n.world.dial(addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	c := &nodeConn{Conn: conn, n: n}
	n.conns[c] = struct{}{}
	return c, nil
}

type nodeConn struct {
	net.Conn
	n    *storyNode
	once sync.Once
}

func (c *nodeConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		go func() { // kill closes us with mu held
			c.n.mu.Lock()
			delete(c.n.conns, c)
			c.n.mu.Unlock()
		}()
	})
	return err
}

// storyDoor is a listener whose connections are pipes from 127.0.0.1.
type storyDoor struct {
	conns chan net.Conn
	once  sync.Once
	shut  chan struct{}
}

func newStoryDoor() *storyDoor {
	return &storyDoor{conns: make(chan net.Conn), shut: make(chan struct{})}
}

// dial returns a client's end, or net.ErrClosed.
func (l *storyDoor) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	client := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:4711"))
	select {
	case l.conns <- localConn{theirs, client}:
		return ours, nil
	case <-l.shut:
		return nil, net.ErrClosed
	}
}

func (l *storyDoor) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.shut:
		return nil, net.ErrClosed
	}
}

func (l *storyDoor) Close() error   { l.once.Do(func() { close(l.shut) }); return nil }
func (l *storyDoor) Addr() net.Addr { return &net.TCPAddr{} }

type localConn struct {
	net.Conn
	client net.Addr
}

func (c localConn) RemoteAddr() net.Addr { return c.client }

// wire is the queue's way to JetStream, and can be cut.
type wire struct {
	nats  *cluster.NATS
	mu    sync.Mutex
	conns []net.Conn
	dead  bool
}

func (w *wire) InProcessConn() (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, net.ErrClosed
	}
	c, err := w.nats.InProcessConn()
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
	for _, c := range w.conns {
		_ = c.Close()
	}
}
