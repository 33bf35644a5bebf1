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

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// What lies in READY is everybody's: the work queue may give a record to any node at
// any moment, and nobody else can take it without a race. So an operator's action on
// it is an order that stands: it is stored, every node keeps it, and whoever is given
// a record that was in READY at that time carries it out instead of delivering. It
// ends when READY has given out everything that was there.

const subjectOrder = "event.order"

// order is a standing order, as it is stored.
type order struct {
	Format int    `json:"format"`
	Seq    uint64 `json:"seq,omitempty"` // where it is stored; not in the record itself
	UpTo   uint64 `json:"up_to"`         // READY sequence up to which it holds
	Action Action `json:"action"`
}

const orderFormat = 1

// stands tells whether the action means anything for mail that is ready.
func (a *Action) stands() bool { return a.Verb == Hold || a.Verb == Remove || a.Verb == Bounce }

// orders are the orders that stand, in the order in which they were given.
type orders struct {
	mu   sync.Mutex
	list []order
	last uint64 // the highest sequence seen
}

func (o *orders) add(x order) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = max(o.last, x.Seq)
	if x.UpTo == 0 || !x.Action.stands() || slices.ContainsFunc(o.list, func(y order) bool { return y.Seq == x.Seq }) {
		return
	}
	o.list = append(o.list, x)
	slices.SortFunc(o.list, func(a, b order) int { return int(int64(a.Seq) - int64(b.Seq)) })
}

// meant returns the last order for a delivery from READY's sequence seq.
func (o *orders) meant(seq uint64, d *mail.Delivery) (a Action, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, x := range o.list {
		if seq <= x.UpTo && x.Action.Filter.Match(d) {
			a, ok = x.Action, true
			if a.Verb != Hold {
				return a, ok // what is removed cannot be held afterwards
			}
		}
	}
	return a, ok
}

func (o *orders) any() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.list) > 0
}

// expire forgets orders for what READY has given out.
func (o *orders) expire(floor uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = slices.DeleteFunc(o.list, func(x order) bool { return x.UpTo <= floor })
}

// obey takes out of jobs what an order is about, and carries it out.
func (q *Queue) obey(jobs []*Job) []*Job {
	t := q.team
	if len(jobs) == 0 || !t.orders.any() {
		return jobs
	}
	left := jobs[:0]
	for _, j := range jobs {
		a, ok := t.orders.meant(j.rec.seq, &j.Delivery)
		if !ok || a.Verb == Hold && j.Held || a.Verb == Bounce && q.o.Bounce == nil {
			left = append(left, j)
			continue
		}
		q.log.Info("an operator's order is carried out", "action", string(a.Verb), "delivery", j.ID())
		q.wg.Go(func() {
			ctx, cancel := context.WithTimeout(q.life, q.o.AckWait*4)
			defer cancel()
			if _, err := q.apply(ctx, a, j); err != nil {
				q.log.Error("an operator's order could not be carried out; it is tried again", "delivery", j.ID(), "error", err)
			}
		})
	}
	return left
}

// loadOrders reads the orders that this node does not know.
func (t *team) loadOrders(ctx context.Context) error {
	q := t.q
	t.orders.mu.Lock()
	next := t.orders.last + 1
	t.orders.mu.Unlock()
	for {
		m, err := q.loadFromLeader(ctx, streamEvent, fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, next, subjectOrder))
		if errors.Is(err, errNoRecord) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: reading operators' orders: %w", ErrUnavailable, err)
		}
		var o order
		if err := json.Unmarshal(m.data, &o); err != nil {
			return fmt.Errorf("order %d: %w: %w", m.seq, proto.ErrDamaged, err)
		}
		if o.Format > orderFormat {
			return fmt.Errorf("order %d: %w", m.seq, proto.ErrNewer)
		}
		o.Seq = m.seq
		t.orders.add(o)
		next = m.seq + 1
	}
}

// watchOrders keeps this node's orders those that stand, as long as ctx lasts.
func (t *team) watchOrders(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := t.loadOrders(ctx); err != nil && ctx.Err() == nil {
			t.q.log.Warn("operators' orders could not be read; tried again", "error", err)
		}
		if t.orders.any() {
			t.expireOrders(ctx)
		}
	}
}

func (t *team) expireOrders(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if info, err := t.q.ready.Info(ctx); err == nil {
		t.orders.expire(info.AckFloor.Stream)
	}
}

// act carries out an operator's action on every node.
func (t *team) act(ctx context.Context, a Action, progress func(Result)) (Result, error) {
	q := t.q
	o := order{Format: orderFormat, Action: a}
	if a.stands() {
		st, err := q.streamState(ctx, streamReady, "")
		if err != nil {
			return Result{}, err
		}
		if st.Msgs > 0 {
			o.UpTo = st.LastSeq
			b, err := json.Marshal(o)
			if err != nil {
				return Result{}, err
			}
			if o.Seq, err = q.publish(ctx, subjectOrder, nil, b); err != nil {
				return Result{}, fmt.Errorf("the order could not be stored: %w", err)
			}
		}
	}
	rs, err := q.live(ctx)
	if err != nil {
		return Result{}, err
	}
	ask := question{Op: "act", ID: mail.NewID(time.Now()), Order: &o}
	answers, missing, err := q.askAll(ctx, rs, ask, answerWait, func(answers map[string]report) {
		if progress != nil {
			progress(sum(answers))
		}
	})
	if err != nil {
		if b, e := json.Marshal(question{Op: "cancel", ID: ask.ID}); e == nil {
			_ = q.get.Publish(subjectControl, b)
		}
		return sum(answers), err
	}
	r := sum(answers)
	if err := q.countOrdered(ctx, a, o.UpTo, answers, &r); err != nil {
		return r, err
	}
	var errs []error
	for _, x := range answers {
		if x.Error != "" {
			errs = append(errs, fmt.Errorf("%s: %s", x.Node, x.Error))
		}
	}
	errs = append(errs, missingNodes(missing), t.unheld(ctx, a, answers))
	return r, errors.Join(errs...)
}

func sum(answers map[string]report) (r Result) {
	for _, x := range answers {
		r.add(x.Result)
	}
	return r
}

// countOrdered counts what the action means in READY: in a node's hand, or to be done
// when a node takes it.
func (q *Queue) countOrdered(ctx context.Context, a Action, upTo uint64, answers map[string]report, r *Result) error {
	inHand := map[uint64]bool{}
	for _, x := range answers {
		for _, seq := range x.Ready {
			inHand[seq] = true
		}
	}
	return q.scanReady(ctx, func(m stored) error {
		n := q.matching(m, a.Filter)
		switch {
		case n == 0:
			return nil
		case inHand[m.seq]:
			r.Busy += n
		case m.seq <= upTo:
			r.Ordered += n
		case a.stands():
			return nil // it came later
		default:
			r.Unchanged += n // it is due, and not held
		}
		r.Matched += n
		return nil
	})
}

// unheld says which partitions nobody acted on, of those that hold anything the filter
// may mean.
func (t *team) unheld(ctx context.Context, a Action, answers map[string]report) error {
	held := map[uint32]bool{}
	for _, x := range answers {
		for _, p := range x.Parts {
			held[p] = true
		}
	}
	if len(held) == Partitions {
		return nil
	}
	subject := "wait.>"
	if lane := a.Filter.lane(); lane != "" {
		subject = "wait.*." + lane + ".>"
	}
	st, err := t.q.streamState(ctx, streamWait, subject)
	if err != nil {
		return err
	}
	var ps []string
	for s := range st.Subjects {
		slot, err := parseSlot(s)
		if err != nil || held[slot.part] {
			continue
		}
		if p := fmt.Sprint(slot.part); !slices.Contains(ps, p) {
			ps = append(ps, p)
		}
	}
	if len(ps) == 0 {
		return nil
	}
	slices.Sort(ps)
	return fmt.Errorf("%w: no node holds the waiting mail's partitions %s just now; ask again in half a minute, and see that a deliverer runs",
		ErrUnavailable, strings.Join(ps, ", "))
}
