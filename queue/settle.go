package queue

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// settler ends jobs. One that is done goes straight to the journal; one that must
// wait goes: stored in WAIT, barrier, journal, and only then removed from where it
// lay. All that ask while one round runs share the next round's barrier.
type settler struct {
	q    *Queue
	mu   sync.Mutex
	list []settling
	wake chan struct{}

	underway *underway
}

type settling struct {
	job     *Job
	attempt *Attempt
	next    *mail.Delivery // nil: done
	id      string         // of the record that is stored
	wave    *wave
}

// frame is the record of the delivery as it will wait.
func (x *settling) frame() ([]byte, error) {
	head := proto.FromMessage(x.next.Message)
	head.Body = x.job.ref
	head.Deliveries = []*proto.Delivery{proto.FromDelivery(x.next)}
	return proto.AppendFrame(nil, proto.KindMail, head, x.job.inline)
}

// header names the record that is stored, and the WAIT record it replaces: after a
// crash between the two steps the next run reads both off it.
func (x *settling) header() nats.Header {
	h := messageID(x.name())
	if seq := x.job.rec.waitSeq(); seq != 0 {
		h.Set(headerReplaces, strconv.FormatUint(seq, 10))
	}
	return h
}

// slot chooses where the delivery waits. One that was not attempted keeps its turn.
func (x *settling) slot(now time.Time) slotName {
	s := x.job.q.slotFor(x.next, now)
	if x.attempt != nil || x.job.rec.stream != streamWait || x.next.Held || x.next.Due.After(now) {
		return s
	}
	old, err := parseSlot(x.job.rec.subject)
	if err == nil && !old.held && old.at <= now.UnixMilli() && s.at != 0 {
		s.at = old.at
	}
	return s
}

// name names the record that is stored. It is given once: whatever becomes of our
// claim meanwhile, a repeat is a repeat.
func (x *settling) name() string {
	if x.id == "" {
		x.id = recordID{x.next.ID(), x.next.Generation, x.job.rec.claim()}.String()
	}
	return x.id
}

const headerReplaces = "Tarishi-Replaces"

func newSettler(q *Queue) *settler {
	return &settler{q: q, wake: make(chan struct{}, 1), underway: newUnderway()}
}

func (s *settler) add(x settling) {
	x.wave = s.underway.begin()
	if x.next == nil {
		s.q.journal.attempt(x.job, x.attempt, true, func() { s.end(x) })
		return
	}
	x.name()
	s.put(x)
}

func (s *settler) put(x settling) {
	s.mu.Lock()
	s.list = append(s.list, x)
	s.mu.Unlock()
	nudge(s.wake)
}

func (s *settler) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		s.mu.Lock()
		list := s.list
		s.list = nil
		s.mu.Unlock()
		for len(list) > 0 && ctx.Err() == nil {
			n := min(len(list), roundJobs)
			for head := s.ours(list[:n]); len(head) > 0 && ctx.Err() == nil; {
				head = head[s.round(ctx, head):]
			}
			list = list[n:]
		}
	}
}

// A round takes so many jobs and so many octets. The octets must stay well below
// inFlightBytes: a round gives none back before it has asked for all.
const roundJobs, roundBytes = 1024, 8 << 20

// round moves the first jobs of the list to WAIT and returns how many. The order is
// the promise: a removal must never be on disk before what replaces it.
func (s *settler) round(ctx context.Context, list []settling) int {
	q := s.q
	type stored struct {
		p     pending
		err   error
		seq   uint64
		frame []byte
		slot  slotName
	}
	now := time.Now()
	list = list[:min(len(list), roundJobs)]
	out := make([]stored, len(list))
	storing := make([]*record, 0, len(list))
	defer func() {
		for _, r := range storing {
			r.storing.Add(-1)
		}
	}()
	size := 0
	q.journal.touch()
	for i := range list {
		x, st := &list[i], &out[i]
		st.slot = x.slot(now)
		st.frame, st.err = x.frame()
		if size += len(st.frame); i > 0 && size > roundBytes {
			list = list[:i]
			break
		}
		if st.err != nil {
			continue
		}
		// Before it is stored: until the old record is gone, the next start must read
		// WAIT from here to know the two apart.
		q.journal.enter(x.job.rec)
		x.job.rec.storing.Add(1)
		storing = append(storing, x.job.rec)
		st.p, st.err = q.publishAsync(ctx, st.slot.subject(), x.header(), st.frame)
	}
	from := q.known.wait.Load()
	for i := range list {
		x, st := &list[i], &out[i]
		if st.err == nil {
			st.seq, st.err = st.p.wait(ctx)
		}
		if st.err != nil && st.frame != nil {
			q.log.Warn("storing a waiting delivery failed, trying again", "delivery", x.next.ID(), "error", st.err)
			st.seq, st.err = q.storeSurely(ctx, st.slot.subject(), x, st.frame, from)
		}
		q.known.sawWait(st.seq)
	}
	if err := q.barrier.Wait(ctx, streamWait); err != nil {
		// What is stored may not be on disk: the old records stay, and the journal
		// and WAIT together tell the next run which is the younger.
		q.log.Error("waiting deliveries could not be synced; their old records are kept", "count", len(list), "error", err)
		for _, x := range list {
			s.underway.finish(x.wave)
		}
		return len(list)
	}
	for i, x := range list {
		err := out[i].err
		if err == nil && q.team != nil {
			// It was stored while the old record was ours only if that is so still.
			// Otherwise it may count for nothing, and the old record must stay.
			err = q.await(ctx, x.job.rec)
		}
		if errors.Is(err, errNotOurs) {
			s.abandon(x)
			continue
		}
		if err != nil {
			q.log.Error("a delivery could not be stored in WAIT; its old record is kept", "delivery", x.next.ID(), "error", err)
			s.underway.finish(x.wave)
			continue
		}
		if q.team == nil {
			q.lanes.add(out[i].slot) // in a cluster the follower does
		}
		q.stats.parked.Add(1)
		if x.attempt == nil && x.job.rec.stream == streamReady && !x.next.Held {
			q.gaveBack(x.next.Line(), now)
		}
		if x.attempt == nil && !x.job.rec.shared() {
			s.end(x)
			continue
		}
		if x.attempt == nil {
			// The record stays while its other deliveries are open, for hours if need be:
			// that this one has left it must be found in the journal for as long.
			q.journal.moved(x.job, func() { s.end(x) })
			continue
		}
		q.journal.attempt(x.job, x.attempt, false, func() { s.end(x) })
	}
	q.Kick()
	return len(list)
}

// end removes what has been settled. It does not block.
func (s *settler) end(x settling) {
	// A delivery that was lost to another node meanwhile may be attempted there, for
	// whoever took it over did not find its end yet: its body is left to the sweep.
	if x.next == nil && s.q.standing(x.job.rec) == ours {
		s.q.bodies.finished(x.job)
	}
	if x.job.rec.end(x.job, false) {
		s.q.endRecord(x.job.rec)
	}
	s.underway.finish(x.wave)
}
