package queue

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/proto"
)

// marks are sequences above which something is to be looked for.
type marks struct{ event, wait, ready uint64 }

// lower returns the lower ones.
func (m marks) lower(n marks) marks {
	return marks{min(m.event, n.event), min(m.wait, n.wait), min(m.ready, n.ready)}
}

// known is how far this process has seen WAIT and READY grow: what it stores later
// gets higher sequences.
type known struct{ wait, ready atomic.Uint64 }

func (k *known) marks() marks { return marks{wait: k.wait.Load(), ready: k.ready.Load()} }

func (k *known) sawWait(seq uint64)  { raise(&k.wait, seq) }
func (k *known) sawReady(seq uint64) { raise(&k.ready, seq) }

func raise(v *atomic.Uint64, to uint64) {
	for {
		old := v.Load()
		if to <= old || v.CompareAndSwap(old, to) {
			return
		}
	}
}

const (
	// A live run's mark is set anew this often, so that a silent one is a dead one's.
	beatEvery = 5 * time.Second
	// What the journal says of a record that stays in hand for longer is said again:
	// others who look for it need not read far back.
	renewAfter = 15 * time.Second
	// A renewed record counts as entered this long ago, so that what is stored on its
	// behalf just now (a notice) is within the marks.
	renewTo = 5 * time.Second
	// For how long the journal speaks of a record that was lost to another node.
	lostFor = time.Hour
)

// keep notes on the record what others must find in the journal for as long as it stays.
func (j *journal) keep(r *record, e *proto.Event) {
	if j.q.team == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = slices.DeleteFunc(r.kept, func(k *proto.Event) bool { return k.Delivery == e.Delivery })
	if e.Kind != proto.Event_RETURNED {
		r.kept = append(r.kept, e)
	}
}

// dotOf returns the job's DOT without an end, if the journal may have one.
func (r *record) dotOf(j *Job) *proto.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.kept {
		if k.Kind == proto.Event_DOT && k.Delivery == uint32(j.Index) {
			return k
		}
	}
	return nil
}

// returned journals that what DOT announced was not sent, or not accepted, and that the record stays.
func (j *journal) returned(job *Job, then func()) {
	e := &proto.Event{
		Kind: proto.Event_RETURNED, AtUs: time.Now().UnixMicro(), MessageId: job.Message.ID,
		Delivery: uint32(job.Index), Generation: uint32(job.Generation), WaitSeq: job.rec.waitSeq(),
		Destination: string(job.Destination),
	}
	j.keep(job.rec, e)
	j.add(job.rec, entry{event: e, must: true, then: func(error) {
		if then != nil {
			then()
		}
	}})
}

// lose keeps speaking of a record that others have now: they look for what we did with it.
func (j *journal) lose(r *record) {
	r.mu.Lock()
	silent := len(r.kept) == 0
	r.leaves = time.Now().Add(lostFor)
	r.mu.Unlock()
	if silent {
		j.leave(r)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lost = append(j.lost, r)
}

// tend keeps a node's journal near the present, as long as ctx lasts.
func (j *journal) tend(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		j.mu.Lock()
		due := time.Since(j.markedAt) >= beatEvery
		j.mu.Unlock()
		if due {
			if _, err := j.q.beat(ctx); err != nil && ctx.Err() == nil {
				j.q.log.Warn("this node's mark in the journal could not be set", "error", err)
			}
		}
		if n%5 == 0 {
			j.renew(time.Now())
		}
	}
}

func (j *journal) renew(now time.Time) {
	rs := j.q.claims.all()
	j.mu.Lock()
	for i := 0; i < len(j.lost); {
		r := j.lost[i]
		if now.Before(r.leaves) {
			rs = append(rs, r)
			i++
			continue
		}
		j.lost = slices.Delete(j.lost, i, i+1)
		if r.epoch != nil {
			r.epoch.open--
			r.epoch = nil
		}
	}
	old := rs[:0]
	for _, r := range rs {
		// What is being stored just now may have got its place in WAIT before later marks.
		if r.epoch != nil && r.storing.Load() == 0 && now.Sub(r.epoch.began) > renewAfter {
			old = append(old, r)
		}
	}
	j.mu.Unlock()
	for _, r := range old {
		j.renewRecord(r)
	}
}

// renewRecord says again what is kept of r, and then counts it as entered lately. The
// order matters: swapped, a crash between the two would hide what r's journal said.
func (j *journal) renewRecord(r *record) {
	r.mu.Lock()
	var again []*proto.Event
	for _, k := range r.kept {
		e := &proto.Event{
			Kind: k.Kind, AtUs: k.AtUs, MessageId: k.MessageId, Delivery: k.Delivery, Generation: k.Generation,
			Destination: k.Destination, Host: k.Host, Attempt: k.Attempt, WaitSeq: k.WaitSeq,
		}
		if e.Kind == proto.Event_ATTEMPT {
			e.Kind = proto.Event_MOVED // the attempt has been told of
		}
		again = append(again, e)
	}
	r.mu.Unlock()
	if len(again) == 0 {
		j.reenter(r)
		return
	}
	open := atomic.Int32{}
	open.Store(int32(len(again)))
	failed := atomic.Bool{}
	for _, e := range again {
		j.add(r, entry{event: e, then: func(err error) {
			if err != nil {
				failed.Store(true)
			}
			if open.Add(-1) == 0 && !failed.Load() {
				j.reenter(r)
			}
		}})
	}
}

// reenter moves a record to a late epoch.
func (j *journal) reenter(r *record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.epoch == nil || r.storing.Load() > 0 {
		return
	}
	for i := len(j.epochs) - 1; i >= 0 && j.epochs[i] != r.epoch; i-- {
		if e := j.epochs[i]; time.Since(e.began) >= renewTo {
			r.epoch.open--
			e.open++
			r.epoch = e
			return
		}
	}
}
