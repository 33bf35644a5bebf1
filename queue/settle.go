package queue

import (
	"context"
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
	h := messageID(generationID(x.next.ID(), x.next.Generation))
	if seq := x.job.rec.waitSeq(); seq != 0 {
		h.Set(headerReplaces, strconv.FormatUint(seq, 10))
	}
	return h
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
	s.mu.Lock()
	s.list = append(s.list, x)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
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
			list = list[s.round(ctx, list):]
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
		frame []byte
		slot  slotName
	}
	now := time.Now()
	list = list[:min(len(list), roundJobs)]
	out := make([]stored, len(list))
	size := 0
	q.journal.touch()
	for i, x := range list {
		st := &out[i]
		st.slot = slotFor(x.next, now)
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
		st.p, st.err = q.publishAsync(ctx, st.slot.subject(), x.header(), st.frame)
	}
	for i, x := range list {
		st := &out[i]
		if st.err == nil {
			_, st.err = st.p.wait(ctx)
		}
		if st.err != nil && st.frame != nil {
			q.log.Warn("storing a waiting delivery failed, trying again", "delivery", x.next.ID(), "error", st.err)
			_, st.err = q.publishSurely(ctx, st.slot.subject(), x.header(), st.frame)
		}
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
		if out[i].err != nil {
			q.log.Error("a delivery could not be stored in WAIT; its old record is kept", "delivery", x.next.ID(), "error", out[i].err)
			s.underway.finish(x.wave)
			continue
		}
		q.lanes.add(out[i].slot)
		q.stats.parked.Add(1)
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
	if x.next == nil {
		s.q.bodies.finished(x.job.ref)
	}
	if x.job.rec.end(x.job, false) {
		s.q.endRecord(x.job.rec)
	}
	s.underway.finish(x.wave)
}
