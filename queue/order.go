package queue

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// What lies in READY is everybody's: the work queue may give a record to any node at
// any moment, and nobody else can take it without a race. What is in a hand is the
// deliverer's. There an action stands: whoever is given a record that was in READY when
// the action was asked for carries it out instead of delivering, until READY has given
// out everything that was there; and whoever stores anew, or gives back, what it had in
// hand at that time carries it out then.

// stands tells whether the action means anything for mail that is ready or in a hand.
func (a *Action) stands() bool { return a.Verb == Hold || a.Verb == Remove || a.Verb == Bounce }

// orders are the actions that stand, in the order in which they were asked for.
type orders struct {
	n    atomic.Int32 // how many there are; read without the mutex
	mu   sync.Mutex
	list []*order
}

// order is one action that stands here.
type order struct {
	*acting
	m      *matcher
	meant  func(*mail.Delivery) bool
	inHand map[*record]struct{} // when this node heard of it
	past   bool                 // READY has given out all that was there
}

func (o *orders) add(q *Queue, x *acting) {
	if !x.stands() && x.Verb != Release { // which takes back an earlier hold
		return
	}
	m := newMatcher(x.Filter)
	w := &order{acting: x, m: m, meant: x.meant(m), inHand: map[*record]struct{}{}, past: x.upTo == 0}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range q.claims.all() { // with the mutex: what is given back from now on asks us
		w.inHand[r] = struct{}{}
	}
	o.list = append(o.list, w)
	slices.SortStableFunc(o.list, func(a, b *order) int { return int(int64(a.seq) - int64(b.seq)) })
	o.n.Store(int32(len(o.list)))
}

func (o *orders) drop(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = slices.DeleteFunc(o.list, func(w *order) bool { return w.ID == id })
	o.n.Store(int32(len(o.list)))
}

// of returns the action that stands for a delivery of a record; nil: none does.
func (o *orders) of(r *record, d *mail.Delivery) (a *Action) {
	if o.n.Load() == 0 {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	as := *d // as those before have left it
	for _, w := range o.list {
		_, had := w.inHand[r]
		if !had && (w.past || r.stream != streamReady || r.seq > w.upTo) || !w.meant(&as) {
			continue
		}
		switch w.Verb {
		case Hold:
			a, as.Held = &w.Action, true
		case Release:
			a, as.Held = nil, false
		default:
			return &w.Action // what is removed cannot be held afterwards
		}
	}
	return a
}

// prune forgets what stands for nothing any more.
func (o *orders) prune(ctx context.Context, q *Queue) {
	if o.n.Load() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	info, err := q.readyInfo(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = slices.DeleteFunc(o.list, func(w *order) bool {
		for r := range w.inHand {
			if !q.claims.is(r) {
				delete(w.inHand, r)
			}
		}
		if err == nil && info.AckFloor.Stream >= w.upTo {
			w.past = true
		}
		return w.past && len(w.inHand) == 0
	})
	o.n.Store(int32(len(o.list)))
}

// obey takes out of jobs what an action stands for, and carries it out.
func (q *Queue) obey(jobs []*Job) []*Job {
	left := jobs[:0]
	for _, j := range jobs {
		a := q.actions.standing.of(j.rec, &j.Delivery)
		if a == nil || a.Verb == Hold && j.Held || a.Verb == Bounce && q.o.Bounce == nil {
			left = append(left, j)
			continue
		}
		q.log.Info("an operator's action is carried out", "action", a.ID, "verb", string(a.Verb), "delivery", j.ID())
		q.wg.Go(func() {
			ctx, cancel := context.WithTimeout(q.life, q.o.AckWait*4)
			defer cancel()
			if _, err := q.apply(ctx, a, j); err != nil {
				q.log.Error("an operator's action could not be carried out; it is tried again", "action", a.ID, "delivery", j.ID(), "error", err)
			}
		})
	}
	return left
}

// obeyed carries out what stands for a job that is about to be stored anew as next, or
// to be given back (made is nil then, and next the delivery as it is). true: the job
// has been ended.
func (j *Job) obeyed(next *mail.Delivery, made *Attempt) bool {
	q := j.q
	a := q.actions.standing.of(j.rec, next)
	if a == nil {
		return false
	}
	switch {
	case a.Verb == Hold && next.Held, a.Verb == Bounce && q.o.Bounce == nil:
		return false
	case a.Verb == Hold:
		next.Held, next.Operator = true, a.note()
		j.wait(*next, made)
	case a.Verb == Remove:
		end := Attempt{}
		if made != nil {
			end = *made
		}
		end.Note = a.journalNote()
		j.Done(end)
	default:
		q.wg.Go(func() {
			ctx, cancel := context.WithTimeout(q.life, q.o.AckWait*4)
			defer cancel()
			was := j.Delivery
			j.Delivery = *next // the notice is about the recipients that are still open
			j.Generation = was.Generation
			if err := q.o.Bounce(ctx, j, a.Reply); err != nil {
				q.log.Error("an operator's action could not be carried out; the delivery goes on waiting", "action", a.ID, "delivery", j.ID(), "error", err)
				j.wait(*next, made)
			}
		})
	}
	q.log.Info("an operator's action is carried out", "action", a.ID, "verb", string(a.Verb), "delivery", j.ID())
	return true
}
