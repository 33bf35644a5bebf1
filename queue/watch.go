package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// counters are what the queue counts; all but the gauges only grow.
type counters struct {
	accepted, acceptedBytes                atomic.Int64
	barriers, barrierWaiters, barrierNanos atomic.Int64
	journalRecords, journalEntries         atomic.Int64
	parked, direct                         atomic.Int64
	bytes, readyCount, diskFree            atomic.Int64

	sizes, seconds histogram // of barriers
}

// Stats is a snapshot of the queue's counters and gauges.
type Stats struct {
	Accepted, AcceptedBytes int64 // messages made durable, and their octets
	Barriers                int64 // fsync rounds
	BarrierWaiters          int64 // messages and moves that shared them
	BarrierTime             time.Duration
	BarrierSizes            Histogram // waiters of one barrier
	BarrierSeconds          Histogram
	JournalRecords          int64
	JournalEntries          int64
	Moved                   int64 // deliveries stored in WAIT
	Direct                  int64 // of the messages accepted, those that were stored there at once
	Ready, Waiting, Held    int64 // records of READY; deliveries of WAIT, held ones included
	Unreadable              int64 // deliveries among Waiting that were found in damaged files
	Active                  int64 // records in this process's hand
	Bytes, MaxBytes         int64 // of all streams
	DiskFree                int64 // octets
}

// Stats returns the counters of this moment.
func (q *Queue) Stats() Stats {
	c := &q.stats
	q.lanes.mu.Lock()
	waiting, held, unreadable := q.lanes.total, q.lanes.held, q.lanes.unreadable
	q.lanes.mu.Unlock()
	return Stats{
		Accepted: c.accepted.Load(), AcceptedBytes: c.acceptedBytes.Load(),
		Barriers: c.barriers.Load(), BarrierWaiters: c.barrierWaiters.Load(), BarrierTime: time.Duration(c.barrierNanos.Load()),
		JournalRecords: c.journalRecords.Load(), JournalEntries: c.journalEntries.Load(),
		BarrierSizes: c.sizes.snapshot(), BarrierSeconds: c.seconds.snapshot(), Moved: c.parked.Load(), Direct: c.direct.Load(),
		Ready: c.readyCount.Load(), Waiting: waiting, Held: held, Unreadable: unreadable, Active: int64(q.claims.open()),
		Bytes: c.bytes.Load(), MaxBytes: q.o.MaxBytes, DiskFree: c.diskFree.Load(),
	}
}

// Ingress stops at four fifths; the rest is for retries, notices and the journal.
const fullAt, minDiskFree = 0.8, 256 << 20

// idleLooks is how many seconds pass between two measurements while nothing
// moves: then only others can fill the disk, or mend it.
const idleLooks = 10

func (q *Queue) watchRoom(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	var moved int64
	for still := 0; ; still++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		c := &q.stats
		if now := c.accepted.Load() + c.parked.Load() + c.journalEntries.Load(); now != moved {
			moved, still = now, 0
		}
		// Twice after the last move, whose removal may have taken a moment; and each
		// second while something is wrong, so that mail is refused, and taken again, as
		// soon as it must and can be.
		if still < 2 || still%idleLooks == 0 || q.Room() != nil || q.suspect.Load() {
			_ = q.checkRoom(ctx) // the result is in q.room
		}
	}
}

// checkRoom measures the streams and the disk and sets what Room answers.
func (q *Queue) checkRoom(ctx context.Context) error {
	err := q.measure(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	q.suspect.Store(err != nil)
	if q.team != nil && errors.Is(err, ErrUnavailable) && time.Since(q.measured) < q.o.Patience {
		return nil // a stream changes its leader: a client waits that long, and so do we
	}
	if err == nil || errors.Is(err, ErrFull) {
		q.measured = time.Now()
	}
	q.setRoom(err)
	return nil
}

// setRoom sets what Room answers, and says so when it changes.
func (q *Queue) setRoom(err error) {
	old := q.room.Swap(&err)
	if was := old != nil && *old != nil; was != (err != nil) {
		if err != nil {
			q.log.Error("the queue takes no more mail", "reason", err)
		} else if old != nil {
			q.log.Info("the queue takes mail again")
		}
	}
}

func (q *Queue) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if !q.put.IsConnected() {
		return fmt.Errorf("%w: no connection to the queue's servers", ErrUnavailable)
	}
	var total uint64
	for _, name := range []string{streamReady, streamWait, streamBody} {
		st, err := q.streamState(ctx, name, "")
		if err != nil {
			return err
		}
		total += st.Bytes
		q.lagging.judge(name, st.places, time.Now())
		switch name {
		case streamReady:
			q.stats.readyCount.Store(int64(st.Msgs))
			q.known.sawReady(st.LastSeq)
			q.measureCrowd(ctx, st)
		case streamWait:
			q.known.sawWait(st.LastSeq) // or a node that only takes mail in would hold up everybody's look back
		}
	}
	q.stats.bytes.Store(int64(total))
	if float64(total) > fullAt*float64(q.o.MaxBytes) {
		return fmt.Errorf("%w: %d of %d MiB are used", ErrFull, total>>20, q.o.MaxBytes>>20)
	}
	if q.o.StreamsDir == "" {
		return nil // not on this machine
	}
	free, err := q.diskFree()
	if err != nil {
		return err
	}
	q.stats.diskFree.Store(free)
	if free < minDiskFree {
		return fmt.Errorf("%w: the disk has %d MiB left, %d are wanted", ErrFull, free>>20, minDiskFree>>20)
	}
	return nil
}

// selfTest proves at every start what the barrier relies on: when a PubAck comes,
// the record stands in the newest block file, for the next sync to find.
func (q *Queue) selfTest(ctx context.Context) error {
	if q.o.NoBarrier {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	mark := "tarishi barrier test " + mail.NewID(time.Now())
	if _, err := q.publish(ctx, "event.test", nil, []byte(mark)); err != nil {
		return fmt.Errorf("write a test record: %w", err)
	}
	ok, err := inNewestBlock(filepath.Join(q.o.StreamsDir, streamEvent, "msgs"), mark)
	if err != nil {
		return fmt.Errorf("look for the test record: %w", err)
	}
	if !ok {
		return ErrBarrier
	}
	return q.barrier.syncNow(streamReady, streamWait, streamBody, streamEvent)
}

// ErrBarrier means that this JetStream acknowledges before it writes: the node
// must let it sync every write itself (Options.NoBarrier).
var ErrBarrier = errors.New("JetStream acknowledged a record before it was in its file")

func inNewestBlock(dir, mark string) (bool, error) {
	es, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range es {
		if !strings.HasSuffix(e.Name(), ".blk") {
			continue
		}
		b, err := readTail(filepath.Join(dir, e.Name()), 64<<10)
		if err != nil {
			return false, err
		}
		if strings.Contains(string(b), mark) {
			return true, nil
		}
	}
	return false, nil
}

func readTail(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	off := max(st.Size()-n, 0)
	b := make([]byte, st.Size()-off)
	m, err := f.ReadAt(b, off)
	return b[:m], err
}

// countWaiting builds the lanes from WAIT's subjects.
func (q *Queue) countWaiting(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	info, err := q.waitStream.Info(ctx, jetstream.WithSubjectFilter("wait.>"))
	if err != nil {
		return fmt.Errorf("count what waits: %w", err)
	}
	for subject, n := range info.State.Subjects {
		name, err := parseSlot(subject)
		if err != nil {
			return fmt.Errorf("WAIT holds a subject this version does not know: %w: %w", err, proto.ErrNewer)
		}
		q.lanes.addN(name, int(n))
	}
	return nil
}
