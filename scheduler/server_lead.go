package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// How often a leader looks.
const (
	busyTurn   = 10 * time.Millisecond // while a session waits for something
	idleTurn   = 50 * time.Millisecond // while there are sessions
	restTurn   = time.Second
	stallTime  = 3 * time.Second // without a commit: let another node lead
	lagging    = 20 * Millisecond
	inboxRoom  = 1024
	batchLimit = 512 // frames worked in between two turns
)

// lead runs one term after another while raft says that this node leads. A term
// ends early when something is amiss; the next one starts from the log, as any
// leader does.
func (s *Server) lead(ctx context.Context, raftTerm uint64) {
	for ctx.Err() == nil {
		err := s.govern(ctx, raftTerm)
		if ctx.Err() != nil {
			return
		}
		s.o.Log.Warn("this node stops leading the scheduler", "raft_term", raftTerm, "err", err)
		if errors.Is(err, errAbdicate) {
			hand, cancel := context.WithTimeout(ctx, stallTime)
			if err := s.raft.Transfer(hand); err != nil {
				s.o.Log.Error("the leadership cannot be given away", "err", err)
			}
			cancel()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

var errAbdicate = errors.New("another node should lead")

// reign is one term of this node's.
type reign struct {
	s      *Server
	term   uint64
	clock  LeaderClock
	leader *Leader // under State.mu
	ctx    context.Context
	end    context.CancelCauseFunc
	inbox  chan frameFrom
	poke   chan struct{} // an entry has changed the book or the sessions
	tail   sync.WaitGroup

	// Under State.mu:
	dirty    bool
	sessions map[SessionID]*sessionStream
	force    chan struct{} // closed and made anew after every cycle, for whoever waits

	// The driving goroutine's:
	rules     *ruleBook
	ticking   bool
	tickAt    int64
	ticked    chan ticked
	expiring  chan error
	expireAt  int64
	watch     rateWatch
	reactor   reactor
	draining  chan struct{} // closed: Drain was asked for
	drainOnce sync.Once
	drained   chan struct{}
}

// frameFrom is something that a stream has to say to the reign.
type frameFrom struct {
	from *sessionStream
	f    *nodeFrame // nil: the stream is broken
}

type ticked struct {
	c   *Command
	err error
}

func (r *reign) now() Time { return r.clock.At(r.s.o.Clock()) }

// govern begins a term and drives its Leader until ctx or the term ends.
func (s *Server) govern(ctx context.Context, raftTerm uint64) error {
	st := s.state
	// What was committed before is applied first. A restarted node that knows nothing of
	// its log yet would begin at zero, and every window would wait for the past to pass.
	if err := s.raft.Barrier(ctx); err != nil {
		return fmt.Errorf("begin a term: %w", err)
	}
	st.mu.Lock()
	x := s.o.Clock()
	clock := StartClock(st.bound(x), x)
	st.mu.Unlock()
	c := Command{Type: TermStart, Clock: clock.At(x), RaftTerm: raftTerm}
	v, err := s.propose(ctx, &c)
	if err != nil {
		return fmt.Errorf("begin a term: %w", err)
	}
	term, ok := v.(uint64)
	if !ok {
		return fmt.Errorf("begin a term: %v is no term", v)
	}
	r := &reign{s: s, term: term, clock: clock, inbox: make(chan frameFrom, inboxRoom), poke: make(chan struct{}, 1),
		sessions: map[SessionID]*sessionStream{}, force: make(chan struct{}), dirty: true, ticked: make(chan ticked, 1),
		reactor: reactor{done: make(chan error, 1)}, expiring: make(chan error, 1), draining: make(chan struct{}), drained: make(chan struct{})}
	r.ctx, r.end = context.WithCancelCause(ctx)
	defer r.tail.Wait()
	defer r.end(nil)
	st.mu.Lock()
	if t, _ := st.f.Stamp(); t != term {
		st.mu.Unlock()
		return fmt.Errorf("begin a term: term %d has begun since", t)
	}
	r.leader = NewLeader(s.o.Params, st.f, term, r.now())
	if s.o.Alone && !s.led {
		r.leader.Alone(r.now())
	}
	s.led = true
	st.changed = func() {
		r.dirty = true
		select {
		case r.poke <- struct{}{}:
		default:
		}
	}
	st.mu.Unlock()
	s.o.Log.Info("this node leads the scheduler", "term", term, "raft_term", raftTerm)
	s.reign.Store(r)
	defer func() {
		s.reign.CompareAndSwap(r, nil)
		st.mu.Lock()
		st.changed = func() {}
		r.leader = nil
		close(r.force)
		r.force = nil
		st.mu.Unlock()
	}()
	return r.drive()
}

// propose commits a command and returns what it came to.
func (s *Server) propose(ctx context.Context, c *Command) (any, error) {
	v, err := s.raft.Propose(ctx, c.Append(nil))
	if err != nil {
		return nil, err
	}
	a, ok := v.(applied)
	if !ok {
		return nil, fmt.Errorf("%w: the log answered %T", ErrUnknownOutcome, v)
	}
	return a.value, a.err
}

// drive is the goroutine that the Leader belongs to.
func (r *reign) drive() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var events []frameFrom
		select {
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		case e := <-r.inbox:
			events = append(events, e)
		case t := <-r.ticked:
			r.ticking = false
			if t.err != nil {
				return fmt.Errorf("an entry could not be committed: %w", t.err)
			}
			r.s.state.mu.Lock()
			r.leader.Committed(r.now(), t.c)
			r.s.state.mu.Unlock()
		case <-r.expiring:
			r.expireAt = r.s.o.Clock() + int64(time.Second)
		case <-r.poke:
		case <-timer.C:
		}
	more:
		for len(events) < batchLimit {
			select {
			case e := <-r.inbox:
				events = append(events, e)
			default:
				break more
			}
		}
		if err := r.healthy(); err != nil {
			return err
		}
		timer.Reset(r.cycle(events))
	}
}

// healthy tells whether this node may lead on.
func (r *reign) healthy() error {
	x := r.s.o.Clock()
	if ppm, bad := r.watch.look(r.s.o.Rates, x); bad {
		r.s.o.Log.Error("this machine's clock runs at a wrong rate", "ppm", int(ppm), "limit_ppm", maxRate)
		return fmt.Errorf("%w: its clock runs at a wrong rate", errAbdicate)
	}
	if r.ticking && x-r.tickAt > int64(stallTime) && !r.s.o.Alone {
		return fmt.Errorf("%w: nothing was committed for %v", errAbdicate, stallTime)
	}
	return nil
}

// cycle works in what has come, hands out what there is, and answers. It returns
// how long nothing need be done.
func (r *reign) cycle(events []frameFrom) time.Duration {
	st := r.s.state
	st.mu.Lock()
	now := r.now()
	var book *shaping.Book
	if r.dirty {
		r.dirty = false
		r.leader.Changed(now)
		book = st.f.Book()
	}
	touched := map[*sessionStream]bool{}
	for _, e := range events {
		r.handle(e, now)
		touched[e.from] = true
	}
	r.leader.Turn(now, func(id SessionID, o Order) {
		if n := r.sessions[id]; n != nil {
			n.order(o)
			touched[n] = true
		}
	})
	select {
	case <-r.draining:
		if r.leader.Drain(now) {
			select {
			case <-r.drained:
			default:
				close(r.drained)
			}
		}
	default:
	}
	var tick *Command
	if !r.ticking {
		tick = r.leader.Tick(now)
	}
	pause := restTurn
	lag := 0
	var left []SessionID
	for _, n := range r.sessions {
		pause = min(pause, idleTurn)
		if n.busy {
			pause = busyTurn
		}
		n.recall(now)
		if n.behind > lagging {
			lag++
		}
		if n.parted() {
			touched[n] = true
			left = append(left, n.id)
		}
	}
	if 2*lag > len(r.sessions) {
		r.end(fmt.Errorf("%w: its clock has stood still", errAbdicate))
	}
	for n := range touched {
		n.lease, n.led = r.leader.Lease(n.id), r.leader.Led()
	}
	close(r.force)
	r.force = make(chan struct{})
	all := book != nil
	sessions := make([]*sessionStream, 0, len(r.sessions))
	for _, n := range r.sessions {
		if all || touched[n] {
			sessions = append(sessions, n)
		}
	}
	for _, id := range left {
		delete(r.sessions, id)
	}
	st.mu.Unlock()

	if tick != nil {
		r.ticking, r.tickAt = true, r.s.o.Clock()
		r.tail.Go(func() {
			_, err := r.s.propose(r.ctx, tick)
			r.ticked <- ticked{tick, err}
		})
	}
	if book != nil {
		r.renew(book)
	}
	r.expire()
	r.react()
	for _, n := range sessions {
		n.flush(r.rules)
	}
	return pause
}

// renew makes the book what sessions are given.
func (r *reign) renew(b *shaping.Book) {
	if r.rules != nil && r.rules.version == b.Version {
		return
	}
	rules, err := newRuleBook(b)
	if err != nil { // a Book is made of what encodes
		r.end(fmt.Errorf("%w: %w", errAbdicate, err))
		return
	}
	r.rules = rules
}

// expire ends suspensions whose time has come, by the wall clock: it is the one
// place where people and not windows are concerned.
func (r *reign) expire() {
	x := r.s.o.Clock()
	if r.rules == nil || x < r.expireAt {
		return
	}
	now := time.Now()
	for _, s := range r.rules.book.Suspensions {
		if s.Until.IsZero() || s.Until.After(now) {
			continue
		}
		r.expireAt = forever // until this one is done
		c := Command{Type: Change, Change: &shaping.Change{Op: shaping.OpExpire, Author: "tarishi", At: now.UTC()}}
		r.tail.Go(func() {
			_, err := r.s.propose(r.ctx, &c)
			r.expiring <- err
		})
		return
	}
	r.expireAt = x + int64(time.Second)
}

// drain stops handing out until nothing is outstanding, or ctx ends.
func (r *reign) drain(ctx context.Context) {
	r.drainOnce.Do(func() { close(r.draining) })
	select {
	case r.poke <- struct{}{}:
	default:
	}
	select {
	case <-r.drained:
	case <-r.ctx.Done():
	case <-ctx.Done():
	}
}
