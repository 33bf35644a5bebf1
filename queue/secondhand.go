package queue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// offersMost is how often a job is offered. One that nobody brings to an outcome is
// held then, for an operator to look at: it may be what kills the nodes that take it.
const offersMost = 20

// fetchShared is Fetch in a cluster.
func (q *Queue) fetchShared(ctx context.Context, max int) ([]*Job, error) {
	var told, failing time.Time // of a failure
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if q.get.IsClosed() {
			return nil, fmt.Errorf("%w: the queue is closed", ErrUnavailable)
		}
		ms, err := q.team.pull.fetch(ctx, max, false)
		if err == nil && len(ms) == 0 {
			ms, err = q.team.pull.fetch(ctx, 1, true)
		}
		if jobs := q.obey(q.takeShared(ctx, ms)); len(jobs) > 0 {
			return jobs, nil
		}
		if err == nil {
			failing = time.Time{}
		}
		if err != nil && ctx.Err() == nil {
			switch {
			case failing.IsZero():
				failing = time.Now()
			case time.Since(failing) > readyLost:
				failing = time.Now()
				q.lookForReady(ctx)
			}
			if time.Since(told) > 10*time.Second {
				told = time.Now()
				q.log.Warn("fetching from READY failed, trying on", "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(250 * time.Millisecond):
			}
		}
	}
}

// takeShared claims what READY has offered. What has been offered before is looked
// into first.
func (q *Queue) takeShared(ctx context.Context, ms []*readyMsg) (jobs []*Job) {
	var again []*taken
	for _, m := range ms {
		x, err := q.claimShared(m)
		if err != nil {
			q.log.Error("a record of READY cannot be read; it stays where it is", "error", err)
			continue
		}
		switch {
		case x == nil:
		case x.rec.undecided.Load():
			again = append(again, x)
		default:
			jobs = append(jobs, x.jobs...)
		}
	}
	if len(again) == 0 {
		return jobs
	}
	left, err := q.lookInto(ctx, again)
	if err != nil {
		q.log.Warn("mail that another node had in hand could not be looked into; it is offered again later", "count", len(again), "error", err)
		for _, x := range again {
			q.journal.leave(x.rec)
			q.claims.forget(x.rec) // no word to the server: at once it would offer them again
		}
		return jobs
	}
	return append(jobs, left...)
}

// taken is a record that we have just claimed, with its jobs.
type taken struct {
	rec  *record
	jobs []*Job
}

// claimShared claims one record; nil: there is nothing to do.
func (q *Queue) claimShared(m *readyMsg) (*taken, error) {
	md, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	by := q.team.ready.Load()
	if md.Consumer != by.name {
		return nil, nil // of one that is gone; this one offers it, too
	}
	r := &record{stream: streamReady, seq: md.Sequence.Stream, msg: m, fresh: m.sent,
		delivered: offer{since: by.since, n: md.NumDelivered}}
	r.undecided.Store(md.NumDelivered > 1 || r.seq <= by.before)
	q.known.sawReady(r.seq)
	q.journal.sawReady(r.seq)
	if age(m.sent) >= renewable(q.o.AckWait) {
		return nil, nil // it lay in a buffer while we were frozen: by now it may be another's
	}
	if !q.takeReady(r) {
		return nil, nil
	}
	q.journal.enter(r)
	js, err := q.jobs(r, m.Data())
	if err != nil {
		return nil, fmt.Errorf("READY sequence %d: %w", r.seq, err)
	}
	return &taken{r, js}, nil
}

// lookAfterStop is for how long a look goes on after its node was told to stop.
const lookAfterStop = 5 * time.Second

// lookInto finds out what others have done with jobs that are offered again: another
// node died or was cut off. What it has ended is removed; what it may
// have delivered is listed as a doubt; the rest is returned.
func (q *Queue) lookInto(ctx context.Context, again []*taken) ([]*Job, error) {
	// A stop does not leave them half done, unless the store is away.
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lookAfterStop, cancel) })()
	ctx = look
	asked := map[string]bool{}
	for _, x := range again {
		for _, j := range x.jobs {
			asked[j.ID()] = true
		}
	}
	// First this: whoever believes that it has the record still must not remove it on the
	// strength of what it stores behind the fence.
	if err := q.sayTaken(ctx, again); err != nil {
		return nil, err
	}
	ps, upTo, err := q.fenceOffers(ctx, again)
	if err != nil {
		return nil, err
	}
	from, err := q.horizon(ctx)
	if err != nil {
		return nil, err
	}
	fs, err := q.loadFences(ctx, ps, upTo)
	if err != nil {
		return nil, err
	}
	subjects := make([]string, len(ps))
	for i, p := range ps {
		subjects[i] = partPrefix(p) + ">"
	}
	past := newPast(fs, func(_ mail.Domain, delivery string, _ *proto.Event) bool { return asked[delivery] })
	if err := past.read(ctx, q, from, subjects, upTo); err != nil {
		return nil, err
	}
	if err := q.journal.noteDoubts(ctx, past.doubts()); err != nil {
		return nil, err
	}
	var jobs []*Job
	for _, x := range again {
		x.rec.mu.Lock()
		x.rec.from = from
		x.rec.mu.Unlock()
		x.rec.undecided.Store(false)
		for _, j := range x.jobs {
			switch {
			case past.over(j.ID(), j.Generation, 0):
				j.discard()
			case x.rec.delivered.n > offersMost:
				q.hold(j, x.rec.delivered.n)
			default:
				j.decided = past.decided[generationID(j.ID(), j.Generation)]
				jobs = append(jobs, j)
			}
		}
	}
	return jobs, nil
}

// sayTaken tells the other nodes what we have been offered. One that has it in hand still
// sends nothing of it from then on; what it may have sent before, its journal says by the
// time it answers. The ack wait alone is not enough: READY's consumer confirms a claim
// before a majority knows, and a leader that steps down forgets what it has confirmed.
func (q *Queue) sayTaken(ctx context.Context, again []*taken) error {
	rs, err := q.live(ctx)
	if err != nil {
		return err
	}
	ask := question{Op: "taken"}
	for _, x := range again {
		ask.Taken = append(ask.Taken, offered(x.rec.seq, x.rec.delivered))
	}
	_, _, err = q.askAll(ctx, rs, ask, q.o.AckWait/10, nil)
	return err
}

// fenceOffers stores, in each partition where the jobs would wait, that older claims
// on them count no more. It returns the partitions and the last fence's sequence.
func (q *Queue) fenceOffers(ctx context.Context, again []*taken) (ps []uint32, upTo uint64, err error) {
	by := map[uint32][]string{}
	for _, x := range again {
		for _, j := range x.jobs {
			p := PartitionOf(j.Destination, j.ID())
			if s := offered(x.rec.seq, x.rec.delivered); len(by[p]) == 0 || by[p][len(by[p])-1] != s {
				by[p] = append(by[p], s)
			}
		}
	}
	var g errgroup.Group
	g.SetLimit(16)
	var seqs [Partitions]uint64
	for p, list := range by {
		ps = append(ps, p)
		g.Go(func() error {
			for len(list) > 0 { // a header has its bounds
				n := min(len(list), 500)
				seq, err := q.storeFence(ctx, readyFence(p), strings.Join(list[:n], " "))
				if err != nil {
					return err
				}
				seqs[p], list = seq, list[n:]
			}
			return nil
		})
	}
	err = g.Wait()
	for _, seq := range seqs {
		upTo = max(upTo, seq)
	}
	return ps, upTo, err
}

// hold keeps a job that has been offered too often, for an operator to look at.
func (q *Queue) hold(j *Job, offers uint64) {
	q.log.Error("a delivery was given out again and again and nobody brought it to an outcome; it is held", "delivery", j.ID(), "times", offers)
	next := j.Delivery
	next.Held = true
	next.LastReply = mail.R(451, "4.3.0", fmt.Sprintf("given out %d times without an outcome: held until an operator releases it", offers))
	j.Wait(next, nil)
}
