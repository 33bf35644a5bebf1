package scheduler

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Raft is what the scheduler needs of consensus.
type Raft interface {
	// Propose commits an entry and returns what State.Apply made of it, here. An
	// error other than ErrNotLeader means that it may be committed, now or later.
	Propose(ctx context.Context, entry []byte) (any, error)
	// Barrier commits an empty entry: this node led until then, and everything that
	// was committed before is applied here.
	Barrier(ctx context.Context) error
	// Leader names whoever leads, as far as is known; addr is what a Dial takes.
	Leader() (node, addr string)
	// Transfer hands the leadership to another node, if there is one.
	Transfer(ctx context.Context) error
}

// Leadership is the beginning or the end of this node's leadership.
type Leadership struct {
	Leading bool
	Term    uint64 // of raft
}

// Errors of proposals. Whoever implements Raft returns them.
var (
	ErrNotLeader      = errors.New("this node does not lead the cluster")
	ErrUnknownOutcome = errors.New("it is not known whether that was done")
)

// ServerOptions is what a Server needs.
type ServerOptions struct {
	Node      string // of the configuration
	Params    Params
	Clock     func() int64                // BootTime
	Boot      string                      // BootID; empty: the clock is not kept over a restart
	ClockFile string                      // where it is kept; empty: nowhere
	Rates     func() (steered, raw int64) // Rates; nil: not watched
	Alone     bool                        // there is no other node: sessions of before this process are dead
	Fatal     func(error)                 // the log holds what this version cannot apply: the process must stop
	Streams   int                         // at the same time, at most; 0: 4096
	Log       *slog.Logger
}

// Server is the scheduler of one node. While the node leads, it runs a Leader and
// serves sessions and operators; otherwise it says who does.
type Server struct {
	o     ServerOptions
	state *State
	raft  Raft // under mu until Run is called
	led   bool // has led before, in this process; of the goroutine that leads

	reign atomic.Pointer[reign] // nil: not leading
	slots chan struct{}         // one for each stream served

	doubled doubled

	mu     sync.Mutex
	over   bool           // no new streams
	links  sync.WaitGroup // goroutines of streams; grows under mu
	closed chan struct{}  // closed with over
}

// NewServer makes a Server. Raft drives its State from before Run on.
func NewServer(o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { o.Log.Error("the scheduler cannot go on", "err", err) }
	}
	if o.Streams == 0 {
		o.Streams = 4096
	}
	return &Server{o: o, state: newState(o), slots: make(chan struct{}, o.Streams), closed: make(chan struct{})}
}

// State is what raft replicates.
func (s *Server) State() *State { return s.state }

// Run serves until ctx ends. Every change of leadership must come through changes,
// in order; the channel may be closed.
func (s *Server) Run(ctx context.Context, raft Raft, changes <-chan Leadership) error {
	s.mu.Lock()
	s.raft = raft
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		s.mu.Lock()
		if !s.over {
			s.over = true
			close(s.closed)
		}
		s.mu.Unlock()
		s.links.Wait()
	}()
	var lead sync.WaitGroup
	defer lead.Wait()
	depose := func() {}
	defer func() { depose() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.state.saveClock()
		case l, ok := <-changes:
			if !ok {
				changes = nil
				l = Leadership{}
			}
			depose()
			lead.Wait()
			depose = func() {}
			if l.Leading {
				own, stop := context.WithCancel(ctx)
				depose = func() { stop() }
				lead.Go(func() { s.lead(own, l.Term) })
			}
		}
	}
}

// Leading tells whether this node runs the scheduler now, and in which term.
func (s *Server) Leading() (term uint64, ok bool) {
	if r := s.reign.Load(); r != nil {
		return r.term, true
	}
	return 0, false
}

// Drain prepares for a stop: when this node leads, it stops handing out, makes the
// log exact and gives the leadership to another. Run goes on.
func (s *Server) Drain(ctx context.Context) error {
	r := s.reign.Load()
	if r == nil {
		return nil
	}
	r.drain(ctx)
	err := s.raft.Transfer(ctx)
	if err != nil {
		r.end(err) // it hands nothing out any more; a new term of ours does
	}
	return err
}

// ServerStats is what a Server has to show. The counters are of this term.
type ServerStats struct {
	Leading  bool
	Term     uint64
	Sessions int // with a stream
	Granted  uint64
	Started  uint64
	Late     uint64 // of those started: by a deliverer's stall, over the limit perhaps

	Counters  int // of limits, in use
	Waiting   int // lanes that want permits
	Reactions int // to replies, in force
}

// Stats tells how it goes.
func (s *Server) Stats() ServerStats {
	r := s.reign.Load()
	if r == nil {
		return ServerStats{}
	}
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if r.leader == nil {
		return ServerStats{}
	}
	waiting := 0
	for _, ln := range r.leader.laneList {
		for _, w := range ln.wants {
			if w.n > 0 {
				waiting++
				break
			}
		}
	}
	return ServerStats{Leading: true, Counters: len(r.leader.list), Waiting: waiting, Term: r.term, Sessions: len(r.sessions),
		Granted: uint64(r.leader.granted), Started: uint64(r.leader.starts), Late: uint64(r.leader.late), Reactions: len(s.state.f.Book().Reactions)}
}

// Serve talks to a node over a connection until either ends it.
func (s *Server) Serve(conn net.Conn) {
	link := accepted(conn, idleStream)
	if !s.enter() {
		link.Close()
		return
	}
	defer s.links.Done()
	s.serve(link)
}

// link joins a node in this process.
func (s *Server) link() (nodeLink, error) {
	if s == nil {
		return nil, errors.New("no scheduler is configured")
	}
	if !s.enter() {
		return nil, errClosed
	}
	node, leader := pipe()
	go func() {
		defer s.links.Done()
		s.serve(leader)
	}()
	return node, nil
}

// enter admits one stream, unless the server has ended.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.links.Add(1)
	}
	return !s.over
}

// elsewhere says who leads, if not this node.
func (s *Server) elsewhere(why string) *redirect {
	r := &redirect{why: why}
	s.mu.Lock()
	raft := s.raft
	s.mu.Unlock()
	if raft != nil {
		r.node, r.addr = raft.Leader()
	}
	if r.node == s.o.Node {
		r.node, r.addr = "", "" // it is about to
	}
	return r
}
