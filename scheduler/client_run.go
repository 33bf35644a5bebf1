package scheduler

import (
	"context"
	"errors"
	"sync"
	"time"
)

// runner is the state of Client.Run: the stream to the leader and the search for
// it. Only Run touches it.
type runner struct {
	c       *Client
	ctx     context.Context
	cancel  func()
	wg      sync.WaitGroup
	timer   *time.Timer
	find    finder
	dialled chan dialResult
	dialing bool
	redial  int64 // not before
	s       *stream
	clock   rateWatch
	barred  int64 // no session until then: the clock was found wrong
	trouble trouble
}

// stream is one connection to one scheduler.
type stream struct {
	link   nodeLink
	where  string
	in     chan received
	done   chan struct{}
	state  streamState
	opened int64
	heard  int64     // the last frame came
	asked  int64     // the last one was sent
	owed   bool      // something was sent since the last frame came
	begun  SessionID // with which it was opened
	term   uint64
	conn   uint64
	seen   uint64 // number of the last frame worked in
	behind int64
	busy   bool
	left   bool // goodbye was said on it
}

type streamState int

const (
	streamOpening streamState = iota // open sent: the answer has the leader's term
	streamHello                      // hello sent
	streamReady
)

type received struct {
	f   *leaderFrame
	x   int64 // local clock when it came
	err error
}

type dialResult struct {
	link  nodeLink
	where string
	err   error
}

var (
	errSilent   = errors.New("no answer")
	errClock    = errors.New("this machine's clock is wrong")
	errOldTerm  = errors.New("it leads no more: a newer term is known")
	errGone     = errors.New("the session is over")
	errRedirect = errors.New("it does not lead")
)

// step does what is due.
func (r *runner) step(x int64) {
	c := r.c
	if ppm, bad := r.clock.look(c.o.Rates, x); bad {
		// Every bound we know assumes that the clock keeps its rate.
		c.o.Log.Error("this machine's clock runs at a wrong rate; nothing is sent until it is steady",
			"ppm", int(ppm), "limit_ppm", int(c.o.Params.Rho*1e6))
		r.barred = x + int64(10*time.Second)
		c.drop("clock")
		r.hangUp(errClock)
	}
	if u := c.until.Load(); u != 0 && x >= u {
		c.o.Log.Warn("the session with the scheduler has lapsed; nothing starts here until there is a new one")
		c.drop("lapsed")
		r.hangUp(errGone)
	}
	if s := r.s; s != nil {
		switch {
		case s.state != streamReady && x-s.opened > int64(opening), s.state == streamReady && s.owed && x-s.heard > int64(silence):
			r.hangUp(errSilent)
		case s.state == streamReady && !s.left && x >= r.beatAt():
			r.beat(x)
		}
	}
	if r.s == nil || r.s.state != streamReady {
		r.trouble.report(c.o.Log, x)
	}
	c.wake(x)
	if r.s == nil && !r.dialing && x >= max(r.redial, r.barred) {
		r.dial()
	}
}

// wait is how long nothing is due.
func (r *runner) wait(x int64) time.Duration {
	at := x + int64(time.Second)
	if u := r.c.until.Load(); u != 0 {
		at = min(at, u)
	}
	if s := r.s; s != nil && s.state == streamReady && !s.left {
		at = min(at, r.beatAt())
	}
	if r.s == nil && !r.dialing {
		at = min(at, max(r.redial, r.barred))
	}
	r.c.mu.Lock()
	if len(r.c.wakes) > 0 {
		at = min(at, r.c.wakes[0].at)
	}
	r.c.mu.Unlock()
	return time.Duration(at - x)
}

// beatAt is when the next beat is due.
func (r *runner) beatAt() int64 {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	gap := idleBeat
	switch {
	case r.c.urgent:
		gap = soonBeat
	case r.s.busy, r.c.owing, r.c.until.Load() == 0: // the last: a lease is to come
		gap = busyBeat
	}
	at := r.s.asked + int64(gap)
	if r.c.ackNext != r.c.acked {
		at = min(at, max(r.c.ackAt, r.s.asked+int64(soonBeat)))
	}
	return at
}

func (r *runner) beat(x int64) {
	f := r.c.compose(x)
	r.s.busy = f.busy
	r.send(f)
}

// send sends a frame with what every frame has.
func (r *runner) send(f *nodeFrame) {
	s := r.s
	f.seen, f.behind = s.seen, s.behind
	f.sent = r.c.o.Clock()
	s.asked, s.owed = f.sent, true
	if err := s.link.Send(f); err != nil {
		r.hangUp(err)
	}
}

func (r *runner) in() chan received {
	if r.s == nil {
		return nil
	}
	return r.s.in
}

// dial tries the next scheduler that may lead.
func (r *runner) dial() {
	where := r.find.next()
	r.dialing = true
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, silence)
		defer cancel()
		link, err := r.find.peers.open(ctx, where, 0)
		r.dialled <- dialResult{link, where, err}
	})
}

// took begins the handshake on a new connection.
func (r *runner) took(d dialResult) {
	r.dialing = false
	x := r.c.o.Clock()
	if d.err != nil {
		r.c.o.Log.Debug("no connection to a scheduler", "addr", d.where, "err", d.err)
		r.trouble.note(d.where, d.err.Error())
		r.redial = x + int64(r.find.failed())
		return
	}
	s := &stream{link: d.link, where: d.where, in: make(chan received), done: make(chan struct{}), opened: x, heard: x}
	r.s = s
	r.wg.Go(func() { // reads until the link is closed
		for {
			f, err := s.link.Recv()
			select {
			case s.in <- received{f, r.c.o.Clock(), err}:
			case <-s.done:
				return
			}
			if err != nil {
				return
			}
		}
	})
	o := &openFrame{node: r.c.o.Node, former: r.c.o.Former}
	r.c.mu.Lock()
	r.c.stats.Streams++
	if r.c.h != nil {
		o.session = r.c.h.Session()
	}
	r.c.mu.Unlock()
	s.begun = o.session
	r.send(&nodeFrame{open: o})
}

// got works in what came from the scheduler.
func (r *runner) got(f received) {
	if f.err != nil {
		r.hangUp(f.err)
		return
	}
	s := r.s
	s.heard, s.owed, s.seen = f.x, false, f.f.number
	switch {
	case f.f.redirect != nil:
		r.trouble.note(s.where, f.f.redirect.why)
		r.find.redirected(f.f.redirect.addr)
		r.hangUp(errRedirect)
	case f.f.gone:
		r.c.o.Log.Warn("the scheduler does not know our session any more; beginning a new one")
		r.c.drop("unknown to the leader")
		r.hangUp(errGone)
	case s.state == streamOpening:
		r.hello(f)
	default:
		r.answer(f)
	}
}

// hello says what we hold to the leader of a term, now that it is known.
func (r *runner) hello(f received) {
	s, c := r.s, r.c
	s.term = f.f.term
	if c.o.Begun != nil && s.begun == 0 && f.f.session != 0 {
		c.o.Begun(f.f.session)
	}
	h, err := c.hello(s.begun, f.f, f.x)
	if err != nil {
		r.hangUp(err)
		return
	}
	s.conn, s.state = h.Conn, streamHello
	r.send(&nodeFrame{hello: h})
}

func (r *runner) answer(f received) {
	s, c := r.s, r.c
	if s.state == streamHello {
		s.state = streamReady
		r.find.found(s.where)
		r.trouble = trouble{}
		c.o.Log.Info("session with the scheduler", "addr", s.where, "term", s.term, "session", uint64(f.f.session))
	}
	behind, err := c.work(f.f, s.conn, f.x)
	if err != nil {
		c.o.Log.Error("limits of the scheduler cannot be used; nothing is sent from here", "err", err)
		c.drop("limits")
		r.hangUp(err)
		r.redial = f.x + int64(10*time.Second)
		return
	}
	s.behind = int64(behind)
	c.connected(s.where, s.term, true)
	c.tell()
}

// hangUp ends the stream and plans the next. What the session holds stands until
// its lease is over.
func (r *runner) hangUp(err error) {
	s := r.s
	if s == nil {
		return
	}
	r.s = nil
	s.link.Close()
	close(s.done)
	r.c.connected(s.where, s.term, false)
	r.redial = r.c.o.Clock()
	switch {
	case errors.Is(err, errRedirect), errors.Is(err, errGone):
		r.redial += int64(r.find.moved())
	case s.state == streamReady:
		r.find.lost(errors.Is(err, errSilent))
		r.redial += int64(jitter(50 * time.Millisecond))
	default:
		r.redial += int64(r.find.failed())
	}
	r.c.o.Log.Debug("stream to a scheduler ended", "addr", s.where, "err", err)
}
