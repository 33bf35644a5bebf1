// Package queue keeps accepted mail until every recipient has a final outcome.
// It is the only importer of JetStream for mail and owns the four streams:
//
//	READY  a work queue, in order: messages that may go at once
//	WAIT   deliveries that cannot go now, by destination and due slot
//	BODY   large or widely shared bodies, in chunks
//	EVENT  the journal: what happened to which delivery
//
// A caller that accepts mail writes through NewWriter and Commit; one that sends
// it takes Jobs with Fetch and Drain and ends each of them once; an operator's
// tools use Begin, Find and Lanes. The promise is in Commit: it returns nil only
// when the message is on disk. In a cluster several processes open the same streams:
// READY is everybody's, WAIT is read by partitions (Hold, Let), an operator's
// action is carried out by all nodes, and what a dead or frozen node had in hand is found out before it
// is sent again. The package never decides whether mail is welcome, when to try again,
// or what a reply means.
package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// ErrFull means that the queue may take no more mail: 452 4.3.1 to a client.
// ErrUnavailable means that the store did not answer or could not sync: 451 4.3.0.
var (
	ErrFull        = errors.New("queue is full")
	ErrUnavailable = errors.New("queue is unavailable")
)

// Queue is safe for concurrent use.
type Queue struct {
	o   Options
	log *slog.Logger

	// Direct gets run inside the connection's read loop, so reading has a
	// connection of its own: a long read must not hold up a publish.
	put, get     *nats.Conn
	putJS, getJS jetstream.JetStream
	ready        jetstream.Consumer
	waitStream   jetstream.Stream

	barrier   *barrier
	budget    *semaphore.Weighted // octets on their way to the store
	claims    *claims
	lanes     *lanes
	crowd     *crowd
	bodies    *bodies
	journal   *journal
	settler   *settler
	removals  *removals
	lastEvent uint64 // EVENT's last sequence at start
	suppress  *SuppressionList
	recent    *recovered // what the last run left; nil after a clean stop
	known     known      // how far WAIT and READY have come
	team      *team      // nil: a node alone
	actions   *actions   // of operators

	room     atomic.Pointer[error]
	lagging  lagging                // copies of the streams
	suspect  atomic.Bool            // something could not be stored since room was last found out
	measured time.Time              // when room was last found out; guarded by one goroutine's use
	lastAck  atomic.Pointer[string] // where the last acknowledgement of READY went
	stats    counters

	life context.Context // of the queue's own goroutines
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Open makes or opens the streams and starts the queue's own goroutines. Close ends
// them. On a node alone it proves the barrier's assumption first and reads what an
// unclean stop left behind; in a cluster it waits until there is a majority of
// JetStream servers, for as long as ctx lasts, and what a dead node left is sorted out
// when it is offered again.
func Open(ctx context.Context, o Options) (*Queue, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	q := &Queue{o: o, log: o.Log, budget: semaphore.NewWeighted(inFlightBytes), claims: newClaims(), crowd: newCrowd()}
	q.stats.sizes.bounds, q.stats.seconds.bounds = sizeBounds, secondsBounds
	if err := q.open(ctx); err != nil {
		q.hangUp()
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	q.life, q.stop = run, cancel
	q.start(run, q.barrier.run, q.journal.run, q.settler.run, q.removals.run, q.extendClaims, q.watchRoom, q.sweepBodies, q.suppress.watch, q.suppress.feed, q.actions.run)
	if q.team == nil {
		q.start(run, q.recount)
	} else {
		q.start(run, q.journal.tend, q.team.takeOver, q.team.follow, q.team.recount, q.team.bury)
		if err := q.team.answer(); err != nil {
			cancel()
			q.wg.Wait()
			q.hangUp()
			return nil, err
		}
	}
	return q, nil
}

func (q *Queue) open(ctx context.Context) (err error) {
	if q.put, q.putJS, err = q.connect(ctx, "put"); err != nil {
		return err
	}
	if q.get, q.getJS, err = q.connect(ctx, "get"); err != nil {
		return err
	}
	if err := q.openStreams(ctx); err != nil {
		return err
	}
	if err := q.openSuppress(ctx); err != nil {
		return err
	}
	q.suppress = newSuppressionList(q)
	q.barrier = newBarrier(q.o.StreamsDir, q.o.Sync, q.o.NoBarrier, &q.stats)
	q.lanes = newLanes()
	q.bodies = newBodies(q.o.Cluster)
	q.removals = newRemovals(q)
	if q.o.Cluster {
		q.team = newTeam(q)
		if err := q.team.open(ctx); err != nil {
			return err
		}
	} else if err := q.openAlone(ctx); err != nil {
		return err
	}
	q.journal = newJournal(q)
	q.settler = newSettler(q)
	q.actions = newActions(q)
	if err := q.journal.noteDoubts(ctx, q.recent.doubtful()); err != nil {
		return err
	}
	if err := q.journal.open(ctx); err != nil {
		return err
	}
	return q.checkRoom(ctx)
}

// openAlone proves what the barrier rests on, counts what waits and reads what the
// last run left.
func (q *Queue) openAlone(ctx context.Context) (err error) {
	if err := q.selfTest(ctx); err != nil {
		return err
	}
	if err := q.countWaiting(ctx); err != nil {
		return err
	}
	if q.recent, err = q.recover(ctx); err != nil {
		return err
	}
	return q.openReady(ctx)
}

func (q *Queue) hangUp() {
	for _, nc := range []*nats.Conn{q.put, q.get} {
		if nc != nil {
			nc.Close()
		}
	}
}

func (q *Queue) start(ctx context.Context, runs ...func(context.Context)) {
	for _, run := range runs {
		q.wg.Go(func() { run(ctx) })
	}
}

// Close waits for what is being settled, marks the journal as closed when no job is
// in anybody's hand, and ends the queue's goroutines and connections. In a cluster it
// lets go of the partitions as well.
func (q *Queue) Close(ctx context.Context) error {
	var err error
	if q.team != nil {
		err = q.leave(ctx)
	} else if err = q.Flush(ctx); err == nil {
		err = q.journal.close(ctx, q.claims.open() == 0)
	}
	q.stop()
	q.wg.Wait()
	q.hangUp()
	return err
}
