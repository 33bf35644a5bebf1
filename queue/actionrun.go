package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// actions carries out operators' actions. Nobody leads: each node reads the actions'
// records, works on the partitions it holds, and stores what it has done. What a node
// that died had not stored, the next holder of its partitions does again; a verb that
// was carried out twice changes nothing.
type actions struct {
	q        *Queue
	standing orders

	mu    sync.Mutex
	known map[string]*acting
	last  uint64                        // EVENT has been read up to here
	live  map[string]map[string]*pass   // this node's passes under way, by action
	stops map[string]context.CancelFunc // its workers
	ends  map[string]chan struct{}      // closed when the end of an action is known
	wakes map[string]chan struct{}      // to the workers
	offs  map[string]chan struct{}      // closed when a worker has ended
	began map[string]bool               // actions that were asked for here
	errs  map[string]string             // why the last try of this node failed
	reads chan struct{}                 // one reads the journal at a time
	nodes struct {
		list []run
		at   time.Time
	}
}

func newActions(q *Queue) *actions {
	return &actions{q: q, known: map[string]*acting{}, live: map[string]map[string]*pass{}, stops: map[string]context.CancelFunc{},
		ends: map[string]chan struct{}{}, wakes: map[string]chan struct{}{}, offs: map[string]chan struct{}{}, began: map[string]bool{}, errs: map[string]string{}, reads: make(chan struct{}, 1)}
}

// actionLook is how often a node looks for actions that it was not told of.
const actionLook = 10 * time.Second

// run keeps up with the journal, as long as ctx lasts. What an earlier run left undone
// is taken up.
func (s *actions) run(ctx context.Context) {
	tick := time.NewTicker(actionLook)
	defer tick.Stop()
	for {
		if err := s.load(ctx); err != nil && ctx.Err() == nil {
			s.q.log.Warn("operators' actions could not be read; tried again", "error", err)
		}
		s.standing.prune(ctx, s.q)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// load reads the records that this node does not know, and begins to work by them.
func (s *actions) load(ctx context.Context) error {
	select { // two who read would note records out of order
	case s.reads <- struct{}{}:
		defer func() { <-s.reads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	first := s.last == 0
	s.mu.Unlock()
	if first {
		if err := s.loadOld(ctx); err != nil {
			return err
		}
	}
	for {
		s.mu.Lock()
		next := s.last + 1
		s.mu.Unlock()
		m, err := s.q.loadFromLeader(ctx, streamEvent, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, next, subjectAction+".>"))
		if errors.Is(err, errNoRecord) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: reading operators' actions: %w", ErrUnavailable, err)
		}
		s.take([]stored{m})
	}
}

// loadOld reads what a week has left, in batches. What it misses, load finds.
func (s *actions) loadOld(ctx context.Context) error {
	in := s.q.newStreamReader(streamEvent, 1, subjectAction+".>")
	defer in.close()
	var all []stored
	for {
		ms, err := in.read(ctx, readMax)
		if err != nil {
			return err
		}
		if len(ms) == 0 {
			s.take(all)
			return nil
		}
		all = append(all, ms...)
	}
}

// take notes some records, and begins to work on those actions that are open then.
func (s *actions) take(ms []stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []*acting
	for _, m := range ms {
		s.last = m.seq
		r, err := readActionRecord(m)
		if err != nil {
			// One that cannot be read must not keep the others from being carried out.
			s.q.log.Error("an operator's action cannot be read and is passed over", "error", err)
			continue
		}
		if x := s.noteLocked(strings.TrimPrefix(m.subject, subjectAction+"."), m.seq, r); x != nil {
			fresh = append(fresh, x)
		}
	}
	for _, x := range fresh {
		if x.open() {
			s.startLocked(x)
		}
	}
}

// noteLocked takes in one record. It returns an action that is new.
func (s *actions) noteLocked(id string, seq uint64, r actionRecord) *acting {
	x := s.known[id]
	if r.Kind == actBegin && r.Action != nil && x == nil {
		x = newActing(seq, r)
		s.known[id] = x
		s.ends[id] = make(chan struct{})
		s.standing.add(s.q, x)
		return x
	}
	if x == nil {
		return nil // the journal has forgotten its beginning
	}
	was := x.open()
	x.note(r)
	if was && !x.open() {
		close(s.ends[id])
		if s.q.team != nil {
			s.q.team.summaries.stale.Store(true)
		}
		if x.canceler != "" {
			s.standing.drop(id)
			if stop := s.stops[id]; stop != nil {
				stop()
			}
		}
	}
	s.nudgeLocked() // others may wait for it
	return nil
}

// startLocked lets a goroutine work on an action until it has ended.
func (s *actions) startLocked(x *acting) {
	ctx, cancel := context.WithCancel(s.q.life)
	wake, off := make(chan struct{}, 1), make(chan struct{})
	s.stops[x.ID], s.wakes[x.ID], s.offs[x.ID] = cancel, wake, off
	s.q.wg.Go(func() {
		defer cancel()
		s.work(ctx, x, wake)
		s.mu.Lock()
		delete(s.stops, x.ID)
		delete(s.wakes, x.ID)
		delete(s.offs, x.ID)
		delete(s.errs, x.ID)
		s.mu.Unlock()
		close(off)
	})
}

// work does this node's part of an action.
func (s *actions) work(ctx context.Context, x *acting, wake chan struct{}) {
	q := s.q
	for pause := time.Second; ctx.Err() == nil; {
		s.mu.Lock()
		open := x.open()
		s.mu.Unlock()
		if !open {
			return
		}
		did, err := s.step(ctx, x)
		s.failed(x.ID, err)
		switch {
		case did && err == nil:
			pause = time.Second
			continue
		case err != nil && ctx.Err() == nil:
			q.log.Warn("an operator's action could not go on; it is tried again", "action", x.ID, "verb", string(x.Verb), "error", err)
			pause = min(2*pause, 5*time.Second)
		default:
			pause = time.Second
		}
		select {
		case <-ctx.Done():
		case <-wake:
			if err != nil { // no news makes a fault go away
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		case <-time.After(pause):
		}
	}
}

// failed keeps why an action does not go on here, for operators to see.
func (s *actions) failed(id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.errs, id); err != nil {
		s.errs[id] = err.Error()
	}
}

// step does the next thing that this node can do for an action, if there is any.
func (s *actions) step(ctx context.Context, x *acting) (did bool, err error) {
	q := s.q
	s.mu.Lock()
	noReady, complete := x.ready == nil, x.complete()
	mine, blocked := s.began[x.ID], s.readyBlockedLocked(x)
	s.mu.Unlock()
	held := []uint32{0}
	if q.team != nil {
		held = q.Held()
	}
	first := slices.Contains(held, 0)
	// Whoever was asked counts what is in READY; if he has died, another does.
	if noReady && q.team == nil && blocked {
		return false, nil
	}
	if noReady && (q.team == nil || mine || first && time.Since(x.At) > time.Minute) {
		return s.ready(ctx, x)
	}
	s.mu.Lock()
	parts := s.freeLocked(x, x.left(held))
	s.mu.Unlock()
	if len(parts) > 0 {
		if did, err := s.pass(ctx, x, parts); did || err != nil {
			return did, err
		}
	}
	if complete && first {
		return true, s.store(ctx, x.ID, actionRecord{Kind: actEnd})
	}
	if q.team != nil {
		return false, s.load(ctx)
	}
	return false, nil
}

// ready does an action to what is in READY: at once on a node alone; in a cluster it
// stands there, and is counted.
func (s *actions) ready(ctx context.Context, x *acting) (did bool, err error) {
	q := s.q
	var r Result
	var pass string
	if q.team == nil {
		p := q.newPass(x, nil)
		end, ok := s.show(p)
		if !ok {
			return false, nil
		}
		defer end()
		if err := s.store(ctx, x.ID, actionRecord{Kind: actPass, Pass: p.id}); err != nil {
			return false, err
		}
		p.save = func(ctx context.Context, _ []uint32, _ uint64, _ bool) error {
			r := p.report().Result
			return s.store(ctx, x.ID, actionRecord{Kind: actPass, Pass: p.id, Last: true, Result: &r})
		}
		if err = p.overReady(ctx); err != nil {
			return false, errors.Join(err, p.lastWords(ctx))
		}
		r, pass = p.report().Result, p.id
	} else {
		r, err = q.countOrdered(ctx, x, s.inHand(ctx))
	}
	if err != nil {
		return false, err
	}
	return true, s.store(ctx, x.ID, actionRecord{Kind: actReady, Pass: pass, Result: &r})
}

// pass goes once over some partitions, or up to where another action goes first.
func (s *actions) pass(ctx context.Context, x *acting, parts []uint32) (did bool, err error) {
	s.mu.Lock()
	from := x.from(parts)
	s.mu.Unlock()
	p := s.q.newPass(x, parts)
	p.save = func(ctx context.Context, of []uint32, seq uint64, done bool) error {
		r := p.report().Result
		return s.store(ctx, x.ID, actionRecord{Kind: actPass, Pass: p.id, Of: of, Seq: seq, Done: done, Last: p.ending, Result: &r})
	}
	end, ok := s.show(p)
	if !ok {
		return false, nil
	}
	defer end()
	// Whoever goes on after our death knows by this that something may be missing.
	if err := s.store(ctx, x.ID, actionRecord{Kind: actPass, Pass: p.id}); err != nil {
		return false, err
	}
	err = p.over(ctx, from)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errYield):
		err = nil
	case ctx.Err() == nil:
		p.failed(err)
	}
	if e := p.lastWords(ctx); e != nil && ctx.Err() == nil {
		err = errors.Join(err, e)
	}
	return true, err
}

// lastWords stores what a pass that ends early has done so far. It counts, also when the
// action is cancelled; its successor goes on from where it was saved.
func (p *pass) lastWords(ctx context.Context) error {
	if p.q.life.Err() != nil {
		return p.q.life.Err() // the queue is being closed, and nothing moves any more
	}
	p.ending = true
	ctx = context.WithoutCancel(ctx)
	moved, cancel := context.WithTimeout(ctx, lastWordsWait)
	_ = p.q.Flush(moved) // as far as that succeeds
	cancel()
	said, cancel := context.WithTimeout(ctx, lastWordsWait)
	defer cancel()
	return p.save(said, nil, 0, false)
}

// lastWordsWait is how long a pass that is called off may take to end what it began, and
// then to say how far it was.
const lastWordsWait = 3 * time.Second

// store adds a record to an action's.
func (s *actions) store(ctx context.Context, id string, r actionRecord) error {
	r.Format, r.At, r.Node = actionFormat, time.Now().UTC(), s.q.o.Node
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := s.q.publish(ctx, subjectAction+"."+id, nil, b); err != nil {
		return fmt.Errorf("the journal does not take an operator's action: %w", err)
	}
	return s.load(ctx)
}

// ErrNotRunning means that an action has ended.
var ErrNotRunning = errors.New("the action has ended")

// listedActions bounds a listing.
const listedActions = 200
