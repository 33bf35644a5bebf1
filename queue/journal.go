package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tarishi/tarishi/proto"
)

// journal writes EVENT. Entries of all transactions within about a millisecond
// travel in one record. It need not be fsynced: written to the file, it survives
// the death of the process, and after a power cut its loss costs duplicates only.
type journal struct {
	q       *Queue
	subject string

	mu     sync.Mutex
	batch  []entry
	wake   chan struct{}
	last   uint64 // EVENT sequence confirmed last
	seen   uint64 // READY sequence taken last
	epochs []*epoch
	wrote  time.Time
	pinned *epoch // what the last run left, until READY has offered all of it again
	// In a cluster: records that were ours and were lost to others, who will ask
	// what we did with them.
	lost     []*record
	leaving  bool   // no dots any more
	marked   uint64 // where this run's mark is
	markedAt time.Time
}

type entry struct {
	event *proto.Event
	must  bool            // repeat until it is stored
	then  func(err error) // called once, from the journal's goroutine; must not block
}

// epoch is a stretch of the journal of about a second. The journal must be read,
// after a crash, from the first epoch that some unsettled record's entries lie in.
type epoch struct {
	start   uint64
	marks   marks // in a cluster: how far WAIT and READY were when it began
	began   time.Time
	open    int
	leaving []*epoch  // of records settled during this epoch
	left    time.Time // when the last of these was
}

// leave notes that one record of the epoch x is gone, so that x matters for a
// moment only. The caller holds the journal's mu; e is its current epoch.
func (e *epoch) leave(x *epoch) {
	e.leaving, e.left = append(e.leaving, x), time.Now()
}

// settleMargin is how long a removal that was sent may take to reach its file.
const settleMargin = 3 * time.Second

func newJournal(q *Queue) *journal {
	j := &journal{q: q, subject: subjectJournal, wake: make(chan struct{}, 1), last: q.lastEvent}
	if q.team != nil {
		j.subject = q.team.journal
	}
	if q.recent != nil {
		j.pinned = &epoch{start: q.recent.from, open: 1}
		j.epochs = append(j.epochs, j.pinned)
	}
	j.epochs = append(j.epochs, &epoch{start: j.last + 1, marks: q.known.marks(), began: time.Now()})
	if q.recent != nil {
		j.seen = q.recent.readySeq
	}
	return j
}

// refuseDots lets nothing be sent any more: this node is leaving the cluster.
func (j *journal) refuseDots() {
	j.mu.Lock()
	j.leaving = true
	j.mu.Unlock()
}

// dot journals a DOT and returns once it is confirmed.
func (j *journal) dot(ctx context.Context, job *Job, host string) error {
	done := make(chan error, 1)
	e := &proto.Event{
		Kind: proto.Event_DOT, AtUs: time.Now().UnixMicro(), MessageId: job.Message.ID,
		Delivery: uint32(job.Index), Generation: uint32(job.Generation), Attempt: uint32(job.Attempts + 1),
		WaitSeq: job.rec.waitSeq(), Destination: string(job.Destination), Host: host,
	}
	j.mu.Lock()
	leaving := j.leaving
	if !leaving {
		j.keep(job.rec, e)
	}
	j.mu.Unlock()
	if leaving {
		return fmt.Errorf("%w: the queue is being closed", ErrUnavailable)
	}
	j.add(job.rec, entry{event: e, then: func(err error) { done <- err }})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt journals the end of an attempt; final says that nothing follows from this record.
func (j *journal) attempt(job *Job, a *Attempt, final bool, then func()) {
	kind := proto.Event_ATTEMPT
	if final {
		kind = proto.Event_SETTLED
	}
	e := attemptEvent(kind, job, a)
	j.keep(job.rec, e)
	j.add(job.rec, entry{event: e, must: true, then: func(error) { then() }})
}

// attemptEvent tells of an attempt and its outcomes.
func attemptEvent(kind proto.Event_Kind, job *Job, a *Attempt) *proto.Event {
	e := &proto.Event{
		Kind: kind, AtUs: time.Now().UnixMicro(), MessageId: job.Message.ID,
		Delivery: uint32(job.Index), Generation: uint32(job.Generation), Attempt: uint32(job.Attempts + 1),
		WaitSeq:     job.rec.waitSeq(),
		Destination: string(job.Destination), Host: a.Host, DurationUs: a.Duration.Microseconds(), Note: a.Note,
		Outcomes: make([]*proto.Outcome, len(a.Outcomes)),
	}
	for i, o := range a.Outcomes {
		e.Outcomes[i] = &proto.Outcome{Recipient: o.Recipient.Raw, Status: uint32(o.Status), Reply: proto.FromReply(o.Reply), Class: o.Class, Action: o.Action}
	}
	return e
}

// moved journals that a delivery has left this record for WAIT without an attempt.
func (j *journal) moved(job *Job, then func()) {
	e := &proto.Event{
		Kind: proto.Event_MOVED, AtUs: time.Now().UnixMicro(), MessageId: job.Message.ID,
		Delivery: uint32(job.Index), Generation: uint32(job.Generation), WaitSeq: job.rec.waitSeq(),
		Destination: string(job.Destination),
	}
	j.keep(job.rec, e)
	j.add(job.rec, entry{event: e, must: true, then: func(error) { then() }})
}

// enter makes the next start, after a crash, look back to this moment at least for
// as long as the record stays.
func (j *journal) enter(r *record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.enterLocked(r)
}

func (j *journal) enterLocked(r *record) {
	if r.epoch == nil {
		r.epoch = j.epochs[len(j.epochs)-1]
		r.epoch.open++
	}
}

func (j *journal) add(r *record, e entry) {
	j.mu.Lock()
	j.enterLocked(r)
	j.batch = append(j.batch, e)
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// leave notes that the record is being removed: its entries stop to matter a
// little later.
func (j *journal) leave(r *record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.epoch != nil {
		j.epochs[len(j.epochs)-1].leave(r.epoch)
		r.epoch = nil
	}
}

// sawReady notes that READY has offered the record seq, and with it all before it.
func (j *journal) sawReady(seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = max(j.seen, seq)
	if j.pinned != nil && seq > j.q.recent.readySeq {
		j.unpinLocked()
	}
}

// unpin notes that READY has nothing left to offer.
func (j *journal) isPinned() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.pinned != nil
}

func (j *journal) unpin() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unpinLocked()
}

func (j *journal) unpinLocked() {
	if j.pinned != nil {
		// What was found to be done may be on its way out of READY still.
		j.epochs[len(j.epochs)-1].leave(j.pinned)
		j.pinned = nil
	}
}

// touch writes a record of no entries about once a second while deliveries are
// parked without an attempt, so that the next start need not look far back.
func (j *journal) touch() {
	j.mu.Lock()
	old := time.Since(j.wrote) > time.Second
	j.mu.Unlock()
	if old {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
}

// from returns the epoch that a crash at this moment makes others, or the next run,
// read from. The caller holds mu.
func (j *journal) from(now time.Time) *epoch {
	if cur := j.epochs[len(j.epochs)-1]; now.Sub(cur.began) >= time.Second && j.last >= cur.start {
		j.epochs = append(j.epochs, &epoch{start: j.last + 1, marks: j.q.known.marks(), began: now})
	}
	for _, e := range j.epochs {
		if len(e.leaving) > 0 && now.Sub(e.left) > settleMargin {
			for _, x := range e.leaving {
				x.open--
			}
			e.leaving = nil
		}
	}
	for len(j.epochs) > 1 && j.epochs[0].open == 0 && len(j.epochs[0].leaving) == 0 {
		j.epochs = j.epochs[1:]
	}
	return j.epochs[0]
}

func (j *journal) run(ctx context.Context) {
	gather := false
	for {
		select {
		case <-ctx.Done():
			j.fail()
			return
		case <-j.wake:
		}
		if gather {
			// Under load a millisecond's entries share one record; when idle nobody waits.
			time.Sleep(time.Millisecond)
		}
		j.mu.Lock()
		batch := j.batch
		j.batch = nil
		beat := len(batch) == 0 && time.Since(j.wrote) > time.Second
		rec := j.headLocked()
		j.mu.Unlock()
		gather = len(batch) > 1
		if beat {
			_, _ = j.put(ctx, rec) // only a time mark
		}
		for len(batch) > 0 && ctx.Err() == nil {
			n := fitting(batch)
			batch = append(j.write(ctx, rec, batch[:n]), batch[n:]...)
		}
		refuse(batch)
	}
}

// headLocked is a record without entries. The caller holds mu.
func (j *journal) headLocked() *proto.Journal {
	e := j.from(time.Now())
	return &proto.Journal{Node: j.q.o.Node, From: e.start, WaitFrom: e.marks.wait, ReadyFrom: e.marks.ready, ReadySeq: j.seen}
}

// recordBytes bounds a record of the journal: the server refuses one of MaxPayload
// (8 MiB), and one that it always refuses would hold up everything behind it.
const recordBytes = 1 << 20

// fitting tells how many of the entries go into one record, one at least.
func fitting(batch []entry) int {
	size := 0
	for i, e := range batch {
		n := proto.FrameSize(e.event, 0)
		if n > 4*recordBytes { // a hundred thousand recipients: that it ended matters, and is kept
			e.event.Outcomes, e.event.Note = nil, "too many outcomes to keep"
			n = proto.FrameSize(e.event, 0)
		}
		if size += n; i > 0 && size > recordBytes {
			return i
		}
	}
	return len(batch)
}

// write stores the entries as one record and returns those that must be tried again.
func (j *journal) write(ctx context.Context, rec *proto.Journal, batch []entry) []entry {
	rec.Events = rec.Events[:0]
	for _, e := range batch {
		rec.Events = append(rec.Events, e.event)
	}
	_, err := j.put(ctx, rec)
	if err == nil {
		for _, e := range batch {
			e.then(nil)
		}
		j.q.stats.journalRecords.Add(1)
		j.q.stats.journalEntries.Add(int64(len(batch)))
		return nil
	}
	if ctx.Err() == nil {
		j.q.log.Error("the journal could not be written, trying again; no final dot is sent meanwhile", "error", err)
	}
	var again []entry
	for _, e := range batch {
		if e.must {
			again = append(again, e)
		} else {
			e.then(err)
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(500 * time.Millisecond):
	}
	return again
}

func (j *journal) put(ctx context.Context, rec *proto.Journal) (uint64, error) {
	frame, err := proto.AppendFrame(nil, proto.KindJournal, rec, nil)
	if err != nil {
		return 0, err
	}
	seq, err := j.q.publish(ctx, j.subject, nil, frame)
	if err != nil {
		return 0, err
	}
	j.mu.Lock()
	j.last, j.wrote = max(j.last, seq), time.Now()
	j.mu.Unlock()
	return seq, nil
}

func (j *journal) fail() {
	j.mu.Lock()
	batch := j.batch
	j.batch = nil
	j.mu.Unlock()
	refuse(batch)
}

// refuse tells those who wait for entries that will not be written any more.
func refuse(batch []entry) {
	for _, e := range batch {
		if !e.must {
			e.then(ErrUnavailable)
		}
	}
}

// close marks a clean stop, so that the next start has nothing to check. It does not
// while READY has yet to offer again what an unclean stop before this run left:
// what of that is done only the journal knows.
func (j *journal) close(ctx context.Context, clean bool) error {
	j.mu.Lock()
	clean = clean && j.pinned == nil
	j.mu.Unlock()
	if !clean {
		return nil
	}
	_, err := j.put(ctx, &proto.Journal{Node: j.q.o.Node, Closed: true})
	return err
}
