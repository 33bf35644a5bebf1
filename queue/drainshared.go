package queue

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tarishi/tarishi/mail"
)

// handBatch is how many records are asked for at a time.
const handBatch = 32

// handShared claims what has been found in WAIT and hands it over, in a cluster. It was
// found at some replica, which may lag behind and show what a former holder has settled
// and removed. So each record is read again from the stream's leader, which does not;
// the first read brings headers only.
func (d *drainer) handShared(ctx context.Context, ms []stored) (n int) {
	for len(ms) > 0 {
		k := min(len(ms), handBatch)
		n += d.handBatch(ctx, ms[:k])
		ms = ms[k:]
	}
	return n
}

func (d *drainer) handBatch(ctx context.Context, ms []stored) (n int) {
	q := d.q
	type found struct {
		rec *record
		m   stored
		err error
	}
	list := make([]found, 0, len(ms))
	for _, m := range ms {
		r := &record{stream: streamWait, seq: m.seq, subject: m.subject}
		if !d.ours(r, m) {
			continue
		}
		if taken, _ := q.claims.take(r); !taken {
			continue
		}
		q.lanes.take(r)
		q.journal.enter(r)
		list = append(list, found{rec: r, m: m})
	}
	var g errgroup.Group
	for i := range list {
		if x := &list[i]; !x.m.whole {
			g.Go(func() error {
				x.m, x.err = q.loadFromLeader(ctx, streamWait, bySeq(x.m.seq))
				return nil
			})
		}
	}
	_ = g.Wait() // each has its own error
	for _, x := range list {
		switch {
		case x.err == nil:
			if d.handRecord(x.rec, x.m) {
				n++
			}
			continue
		case errors.Is(x.err, errNoRecord):
			q.lanes.mistaken(x.rec)
		default:
			q.lanes.untake(x.rec)
			d.missed = true
		}
		q.journal.leave(x.rec)
		q.claims.forget(x.rec)
	}
	return n
}

// gather keeps a record until there are enough to be asked for together.
func (d *drainer) gather(line mail.Line, m stored) (enough bool) {
	if d.asked == nil {
		d.asked = map[mail.Line]int{}
	}
	d.asked[line]++
	d.gathered = append(d.gathered, m)
	return len(d.gathered) >= handBatch
}

func (d *drainer) handGathered(ctx context.Context) int {
	n := d.handShared(ctx, d.gathered)
	d.gathered = d.gathered[:0]
	clear(d.asked)
	return n
}

// ours finds the hold by which a record may be claimed. There is none when the
// partition is another's, when the record counts for nothing, and as long as that is
// not known.
func (d *drainer) ours(r *record, m stored) bool {
	r.hold = d.q.team.workingOn(m.subject)
	if r.hold == nil {
		return false
	}
	id, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader))
	if !ok {
		return true
	}
	void, known := r.hold.void(m.seq, id.claim)
	switch {
	case void || r.hold.superseded[m.seq]:
		if d.q.removeVoid(m) {
			d.q.lanes.gone(r)
		}
		return false
	case !known:
		d.q.lanes.later(r)
		d.missed = true
		return false
	}
	return true
}
