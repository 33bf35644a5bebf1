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
// tools use Select, Find and Lanes. The promise is in Commit: it returns nil only
// when the message is on disk. The package never decides whether mail is welcome,
// when to try again, or what a reply means.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

// Names of the streams, which are also their folders' names.
const (
	streamReady = "READY"
	streamWait  = "WAIT"
	streamBody  = "BODY"
	streamEvent = "EVENT"

	subjectReady   = "ready.normal.0"
	subjectBody    = "body.0"
	subjectJournal = "event.journal"
	subjectDoubt   = "event.doubt"
)

// ErrFull means that the queue may take no more mail: 452 4.3.1 to a client.
// ErrUnavailable means that the store did not answer or could not sync: 451 4.3.0.
var (
	ErrFull        = errors.New("queue is full")
	ErrUnavailable = errors.New("queue is unavailable")
)

// Options says where and how the queue is kept. Zero values take the defaults.
type Options struct {
	Server     InProcess     // the embedded NATS server
	StreamsDir string        // folder that holds one folder per stream, for the barrier
	Node       string        // this node's name, in the journal
	MaxBytes   int64         // octets all streams together may hold; default 10 GiB
	MaxInline  int           // octets of a body that travels inside its record; default 64 KiB
	Sync       SyncFile      // how a file is synced; default (*os.File).Sync
	NoBarrier  bool          // the server syncs every write itself (sync_always)
	AckWait    time.Duration // READY's claim on a job; default 30 s
	Patience   time.Duration // how long a publish may take; default 20 s
	Log        *slog.Logger
}

// InProcess opens connections to an embedded server through memory.
type InProcess interface{ InProcessConn() (net.Conn, error) }

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
	bodies    *bodies
	journal   *journal
	settler   *settler
	removals  *removals
	lastEvent uint64     // EVENT's last sequence at start
	recent    *recovered // what the last run left; nil after a clean stop

	room    atomic.Pointer[error]
	lastAck atomic.Pointer[string] // where the last acknowledgement of READY went
	stats   counters

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Open makes or opens the streams, proves the barrier's assumption, reads what an
// unclean stop left behind, and starts the queue's own goroutines. Close ends them.
func Open(ctx context.Context, o Options) (*Queue, error) {
	o = o.withDefaults()
	q := &Queue{o: o, log: o.Log, budget: semaphore.NewWeighted(inFlightBytes), claims: newClaims()}
	q.stats.sizes.bounds, q.stats.seconds.bounds = sizeBounds, secondsBounds
	var err error
	if q.put, q.putJS, err = q.connect("put"); err != nil {
		return nil, err
	}
	if q.get, q.getJS, err = q.connect("get"); err != nil {
		return nil, err
	}
	if err := q.openStreams(ctx); err != nil {
		return nil, err
	}
	q.barrier = newBarrier(o.StreamsDir, o.Sync, o.NoBarrier, &q.stats)
	if err := q.selfTest(ctx); err != nil {
		return nil, err
	}
	q.lanes = newLanes()
	q.bodies = newBodies()
	q.removals = newRemovals(q)
	if err := q.countWaiting(ctx); err != nil {
		return nil, err
	}
	if q.recent, err = q.recover(ctx); err != nil {
		return nil, err
	}
	if err := q.openReady(ctx); err != nil {
		return nil, err
	}
	q.journal = newJournal(q)
	q.settler = newSettler(q)
	if err := q.journal.noteDoubts(ctx, q.recent); err != nil {
		return nil, err
	}
	if err := q.journal.open(ctx); err != nil {
		return nil, err
	}
	if err := q.checkRoom(ctx); err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.Background())
	q.stop = cancel
	q.start(run, q.barrier.run, q.journal.run, q.settler.run, q.removals.run, q.extendClaims, q.watchRoom, q.sweepBodies)
	return q, nil
}

func (q *Queue) start(ctx context.Context, runs ...func(context.Context)) {
	for _, run := range runs {
		q.wg.Go(func() { run(ctx) })
	}
}

func (o Options) withDefaults() Options {
	if o.MaxBytes == 0 {
		o.MaxBytes = 10 << 30
	}
	if o.MaxInline == 0 {
		o.MaxInline = 64 << 10
	}
	if o.AckWait == 0 {
		o.AckWait = 30 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = 20 * time.Second
	}
	if o.Node == "" {
		o.Node = "local"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Sync == nil {
		o.Sync = syncFile
	}
	return o
}

func (q *Queue) connect(name string) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect("", nats.InProcessServer(q.o.Server), nats.Name("tarishi "+name),
		nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.Timeout(10*time.Second))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	js, err := jetstream.New(nc,
		// Our own byte budget bounds what is on its way; this must never be the bound.
		jetstream.WithPublishAsyncMaxPending(1<<17),
		jetstream.WithPublishAsyncTimeout(q.o.Patience))
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, js, nil
}

// openStreams makes the four streams as this version wants them. Full streams
// refuse (discard new); only the journal forgets, by age.
func (q *Queue) openStreams(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	base := func(name string, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: subjects, Storage: jetstream.FileStorage, Replicas: 1,
			Discard: jetstream.DiscardNew, MaxBytes: q.o.MaxBytes, AllowDirect: true,
			Duplicates: 100 * time.Millisecond,
		}
	}
	ready := base(streamReady, "ready.>")
	ready.Retention = jetstream.WorkQueuePolicy
	wait := base(streamWait, "wait.>")
	wait.Duplicates = 30 * time.Second // a publish that timed out is repeated with the same id
	body := base(streamBody, "body.>")
	event := base(streamEvent, "event.>")
	event.Discard = jetstream.DiscardOld
	event.MaxAge = 7 * 24 * time.Hour
	event.MaxBytes = max(q.o.MaxBytes/10, 64<<20)
	for _, c := range []jetstream.StreamConfig{ready, wait, body, event} {
		if err := q.mayCreate(ctx, c.Name); err != nil {
			return err
		}
		s, err := q.putJS.CreateOrUpdateStream(ctx, c)
		if err != nil {
			return fmt.Errorf("open stream %s: %w", c.Name, err)
		}
		if c.Name == streamWait {
			q.waitStream = s
		}
	}
	return nil
}

// ErrVanished means that the folder of a stream holds records and JetStream does
// not know the stream. Making it anew would be the end of them.
var ErrVanished = errors.New("the queue is damaged: JetStream does not offer a stream that holds records")

// mayCreate refuses to make a stream whose folder already holds something.
func (q *Queue) mayCreate(ctx context.Context, name string) error {
	_, err := q.putJS.Stream(ctx, name)
	if err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("open stream %s: %w", name, err)
	}
	dir := filepath.Join(q.o.StreamsDir, name)
	files, err := os.ReadDir(filepath.Join(dir, "msgs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open stream %s: %w", name, err)
	}
	for _, f := range files {
		if st, err := f.Info(); err == nil && st.Size() > 0 && strings.HasSuffix(f.Name(), ".blk") {
			return fmt.Errorf("%w: %s; its files were not touched, and JetStream's lines in the log say why: "+
				"restore the data folder from a backup, or move this one folder away to begin without what is in it", ErrVanished, dir)
		}
	}
	return nil
}

// openReady makes READY's one consumer anew: what was in somebody's hand when the
// process ended is offered again at once, in order, instead of after the ack wait.
// What was acknowledged is gone from the stream, so nothing done comes back by it.
func (q *Queue) openReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := q.getJS.DeleteConsumer(ctx, streamReady, "deliver")
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("reset READY's consumer: %w", err)
	}
	q.ready, err = q.getJS.CreateConsumer(ctx, streamReady, jetstream.ConsumerConfig{
		Durable: "deliver", AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.o.AckWait,
		MaxAckPending: 1 << 17, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return fmt.Errorf("open READY's consumer: %w", err)
	}
	return nil
}

// Close waits for what is being settled, marks the journal as closed when no job is
// in anybody's hand, and ends the queue's goroutines and connections.
func (q *Queue) Close(ctx context.Context) error {
	err := q.Flush(ctx)
	if err == nil {
		err = q.journal.close(ctx, q.claims.open() == 0)
	}
	q.stop()
	q.wg.Wait()
	q.put.Close()
	q.get.Close()
	return err
}
