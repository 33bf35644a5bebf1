package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// The stress test drives a queue with everything that may happen to it, in an
// order drawn from a seed, beside a model that is as simple as can be: a set of
// deliveries, each waiting, held or in hand. TARISHI_SEED repeats one run,
// TARISHI_STRESS sets how long it takes.
type stress struct {
	*node
	t   *testing.T
	rng *rand.Rand

	mu      sync.Mutex
	known   map[string]*modelled // by delivery id
	hand    map[*Job]struct{}    // offered and not ended
	stopped context.CancelFunc
	loops   sync.WaitGroup
	bodies  map[string]string // message -> what it must read as
	n       int
}

type modelled struct {
	job  *Job // in whose hand it is
	held bool
	done bool
	// ended or moved, and not confirmed by a Flush: a crash may undo it
	fresh bool
}

func TestStress(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("TARISHI_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	lasts := 3 * time.Second
	if s := os.Getenv("TARISHI_STRESS"); s != "" {
		lasts, _ = time.ParseDuration(s)
	}
	t.Logf("TARISHI_SEED=%d", seed)
	s := &stress{t: t, rng: rand.New(rand.NewPCG(seed, 0)), known: map[string]*modelled{}, hand: map[*Job]struct{}{}, bodies: map[string]string{}}
	s.node = open(t, Options{MaxInline: 2000, Sync: noSync, AckWait: 3 * time.Second})
	s.run()
	steps := []func(){s.add, s.end, s.operate, s.flushed, s.restart, s.crashed}
	weights := []int{90, 240, 8, 4, 1, 2}
	total := 0
	for _, w := range weights {
		total += w
	}
	for end := time.Now().Add(lasts); time.Now().Before(end) && !t.Failed(); {
		n := s.rng.IntN(total)
		for i, w := range weights {
			if n -= w; n < 0 {
				steps[i]()
				break
			}
		}
	}
	s.finish()
}

// run starts what a deliverer does: one goroutine that fetches and one that drains.
func (s *stress) run() {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.stopped = cancel
	q := s.Queue
	s.loops.Go(func() {
		for ctx.Err() == nil {
			js, _ := q.Fetch(ctx, 20)
			for _, j := range js {
				s.offered(j)
			}
		}
	})
	s.loops.Go(func() {
		_ = q.Drain(ctx, func(mail.Line) int { return 5 }, s.offered)
	})
}

// offered checks a job that the queue hands out.
func (s *stress) offered(j *Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.known[j.ID()]
	switch {
	case m == nil:
		m = &modelled{} // its commit has not returned yet
		s.known[j.ID()] = m
	case m.done:
		s.t.Errorf("%s is offered after its end (generation %d)", j.ID(), j.Generation)
	case m.job != nil:
		s.t.Errorf("%s is offered while it is in hand (generations %d and %d)", j.ID(), m.job.Generation, j.Generation)
	case m.held:
		s.t.Errorf("%s is offered while it is held", j.ID())
	}
	m.job = j
	s.hand[j] = struct{}{}
}

var lanesOfStress = []string{"a.test", "b.test", "c.test", "d.test"}

// add accepts one message to some destinations, with a body of some size.
func (s *stress) add() {
	s.n++
	id := fmt.Sprintf("m%05d", s.n)
	var to []string
	for _, d := range lanesOfStress[:1+s.rng.IntN(len(lanesOfStress))] {
		to = append(to, "u@"+d)
	}
	if s.rng.IntN(4) == 0 { // many lanes, so that the stream is read in its own order
		to = []string{fmt.Sprintf("u@x%d.test", s.rng.IntN(40))}
	}
	body := strings.Repeat(id+"\r\n", 1+s.rng.IntN(300))
	s.mu.Lock()
	s.bodies[id] = body
	s.mu.Unlock()
	s.accept(id, body, to...)
	s.mu.Lock()
	for i := range to {
		if key := mail.DeliveryID(id, i); s.known[key] == nil {
			s.known[key] = &modelled{}
		}
	}
	s.mu.Unlock()
}

// take removes one job from the hand, to end it; nil when there is none.
func (s *stress) take() *Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	for j := range s.hand {
		delete(s.hand, j)
		return j
	}
	return nil
}

// end ends one job, in one of the ways there are.
func (s *stress) end() {
	j := s.take()
	if j == nil {
		return
	}
	if s.rng.IntN(20) == 0 {
		s.check(j)
	}
	s.mu.Lock()
	m := s.known[j.ID()]
	m.job, m.fresh = nil, true
	way := s.rng.IntN(8)
	m.done = way < 4
	s.mu.Unlock()
	next := j.Delivery
	switch way {
	case 0, 1, 2, 3:
		j.Done(Attempt{})
	case 4:
		j.Wait(next, nil)
	case 5:
		next.Attempts++
		next.Due = time.Now().Add(time.Duration(s.rng.IntN(300)) * time.Millisecond)
		j.Wait(next, &Attempt{})
	case 6:
		next.Attempts++
		j.Wait(next, &Attempt{})
	default:
		j.Release()
	}
}

func (s *stress) check(j *Job) {
	s.mu.Lock()
	want := s.bodies[j.Message.ID]
	s.mu.Unlock()
	r, err := j.Open(s.t.Context())
	if err != nil {
		s.t.Error(err)
		return
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		k, err := r.Read(buf)
		b.Write(buf[:k])
		if err != nil {
			break
		}
	}
	if b.String() != want {
		s.t.Errorf("%s: %d octets, not those that came", j.ID(), b.Len())
	}
}

// operate is an operator's command on one lane: hold, release, remove, or nothing.
func (s *stress) operate() {
	f := Filter{Destination: mail.Domain(lanesOfStress[s.rng.IntN(len(lanesOfStress))])}
	what := s.rng.IntN(8)
	_, err := s.Select(s.t.Context(), f, func(j *Job) error {
		next := j.Delivery
		s.mu.Lock()
		m := s.known[j.ID()]
		if m == nil {
			m = &modelled{}
			s.known[j.ID()] = m
		}
		if m.done || m.job != nil {
			s.t.Errorf("%s is selected, done %v, in hand %v", j.ID(), m.done, m.job != nil)
		}
		m.fresh = true
		switch {
		case what < 3:
			m.held, next.Held = true, true
		case what < 6:
			m.held, next.Held = false, false
		case what < 7 && s.rng.IntN(10) == 0:
			m.done = true
		}
		done, changed := m.done, next.Held != j.Held
		s.mu.Unlock()
		switch {
		case done:
			j.Done(Attempt{Note: "removed"})
		case changed:
			j.Wait(next, nil)
		default:
			j.Release()
		}
		return nil
	})
	if err != nil {
		s.t.Error("select:", err)
	}
}

// halt ends fetching and draining, and forgets who had what in hand.
func (s *stress) halt(giveBack bool) {
	s.stopped()
	s.loops.Wait()
	for j := s.take(); j != nil; j = s.take() {
		s.mu.Lock()
		s.known[j.ID()].job = nil
		s.mu.Unlock()
		if giveBack {
			j.Release()
		}
	}
}

func (s *stress) restart() {
	s.halt(true)
	s.flushed()
	s.node.stop()
	s.node.start()
	s.run()
}

// crashed ends the process with whatever is under way.
func (s *stress) crashed() {
	s.halt(false)
	s.crash()
	s.node.start()
	s.resolve()
	s.run()
}

// flushed confirms what has ended so far.
func (s *stress) flushed() {
	flush(s.t, s.node)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.known {
		m.fresh = false
	}
}

// resolve looks what became of that which was under way at a crash: an end may have
// been undone, but nothing that has not ended may be gone.
func (s *stress) resolve() {
	alive := map[string]mail.Delivery{}
	err := s.scan(s.t.Context(), func(m stored) error {
		for _, d := range s.deliveriesOf(m) {
			alive[d.ID()] = d
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, m := range s.known {
		d, ok := alive[id]
		switch {
		case !ok && !m.done:
			s.t.Errorf("%s is lost by the crash", id)
		case ok && m.done && !m.fresh:
			s.t.Errorf("%s is back after the crash", id)
		case ok && m.held != d.Held && !m.fresh:
			s.t.Errorf("%s: held is %v after the crash", id, d.Held)
		}
		m.done, m.held, m.fresh = !ok, ok && d.Held, false
	}
}

// finish lets go of everything, and checks that all of it comes out and nothing stays.
func (s *stress) finish() {
	s.halt(true)
	flush(s.t, s.node)
	s.counts()
	if _, err := s.Select(s.t.Context(), Filter{}, func(j *Job) error {
		if !j.Held {
			j.Release()
			return nil
		}
		next := j.Delivery
		next.Held = false
		s.mu.Lock()
		s.known[j.ID()].held = false
		s.mu.Unlock()
		j.Wait(next, nil)
		return nil
	}); err != nil {
		s.t.Error(err)
	}
	s.run()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) && !s.t.Failed() {
		if j := s.take(); j != nil {
			s.mu.Lock()
			m := s.known[j.ID()]
			m.job, m.done = nil, true
			s.mu.Unlock()
			j.Done(Attempt{})
			continue
		}
		if s.left() == 0 {
			break
		}
		select {
		case <-s.t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.halt(true)
	flush(s.t, s.node)
	s.mu.Lock()
	for id, m := range s.known {
		if !m.done {
			s.t.Errorf("%s never came again (held %v)", id, m.held)
		}
	}
	s.t.Logf("%d messages, %d deliveries", s.n, len(s.known))
	s.mu.Unlock()
	s.counts()
	s.removeBodies(s.t.Context(), 0)
	if err := s.sweepOrphans(s.t.Context(), time.Now()); err != nil {
		s.t.Error(err)
	}
	if err := s.bodyChunks(s.t, 0); err != nil {
		s.t.Error(err)
	}
	s.lanes.mu.Lock()
	if n := len(s.lanes.m); n > len(s.lanes.due) {
		s.t.Errorf("%d lanes are kept for nothing", n)
	}
	s.lanes.mu.Unlock()
	if n := s.claims.open(); n != 0 {
		s.t.Errorf("%d records are claimed by nobody", n)
	}
}

func (s *stress) left() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.known {
		if !m.done {
			n++
		}
	}
	return n
}

// counts compares what the queue counts while it is quiet with the model.
func (s *stress) counts() {
	s.t.Helper()
	if err := s.checkRoom(s.t.Context()); err != nil && !errors.Is(err, context.Canceled) {
		s.t.Error(err)
	}
	es, err := s.Find(s.t.Context(), Filter{}, 1<<20)
	if err != nil {
		s.t.Error(err)
	}
	states := map[string]int{}
	for _, e := range es {
		states[e.State]++
	}
	o, err := s.Lanes(s.t.Context(), 1<<20)
	if err != nil {
		s.t.Error(err)
	}
	var inLanes int64
	for _, l := range o.Lanes {
		inLanes += l.Count
	}
	held := 0
	s.mu.Lock()
	for _, m := range s.known {
		if m.held && !m.done {
			held++
		}
	}
	s.mu.Unlock()
	left, st := s.left(), s.Stats()
	if len(es) != left || int(inLanes) != left {
		s.t.Errorf("%d are found and %d are in the lanes, want %d", len(es), inLanes, left)
	}
	if states[StateHeld] != held || int(st.Held) != held {
		s.t.Errorf("%d are found held, %d are counted so, want %d", states[StateHeld], st.Held, held)
	}
	if want := states[StateHeld] + states[StateWaiting]; int(st.Waiting) != want {
		s.t.Errorf("%d are counted to wait, %d are found", st.Waiting, want)
	}
	if st.Active != 0 {
		s.t.Errorf("%d records are in hand of nobody", st.Active)
	}
}
