package queue

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// putMail stores a message that came in: in READY, or its delivery in WAIT when it would
// only be moved there, see crowd. Several deliveries of a message go to READY, where
// they appear together or not at all; so does what was made here, for the next start
// looks for it there.
func (q *Queue) putMail(ctx context.Context, m *mail.Message, ds []mail.Delivery, head *proto.Mail, body []byte) error {
	now := time.Now()
	if len(ds) == 1 && m.Origin == "" {
		d := &ds[0]
		if d.Due.IsZero() && m.SendAt.After(now) {
			d.Due = m.SendAt
		}
		if d.Due.After(now) || d.Held || q.crowd.waits(d.Line(), now) {
			return q.putWaiting(ctx, d, head, body, now)
		}
	}
	q.crowd.goes(m.Tenant, now)
	return q.putReady(ctx, head, body)
}

// putWaiting stores a message's only delivery in WAIT and waits for the disk.
func (q *Queue) putWaiting(ctx context.Context, d *mail.Delivery, head *proto.Mail, body []byte, now time.Time) error {
	head.Deliveries = []*proto.Delivery{proto.FromDelivery(d)}
	frame, err := proto.AppendFrame(nil, proto.KindMail, head, body)
	if err != nil {
		return err
	}
	slot := q.slotFor(d, now)
	seq, err := q.publish(ctx, slot.subject(), messageID(recordID{delivery: d.ID(), generation: d.Generation}.String()), frame)
	if err != nil {
		return err
	}
	q.known.sawWait(seq)
	if q.team == nil {
		q.lanes.add(slot) // in a cluster the follower does
	}
	q.stats.direct.Add(1)
	// The barrier comes after the acknowledgement: swapped, the sync could miss the record.
	return q.barrier.Wait(ctx, streamWait)
}

// gaveBack notes that a delivery of READY had to be moved to WAIT, and tells the other
// nodes of a line that is not worth offering just now.
func (q *Queue) gaveBack(l mail.Line, now time.Time) {
	d := q.crowd.gaveBack(l, now)
	if d == 0 || q.team == nil {
		return
	}
	b, err := json.Marshal(refusal{l, d})
	if err == nil {
		err = q.put.Publish(subjectRefused, b)
	}
	if err != nil {
		q.log.Debug("the other nodes could not be told what is not worth offering", "error", err)
	}
}

// subjectRefused carries plain messages: one that is lost costs a detour.
const subjectRefused = "tarishi.refused"

type refusal struct {
	Line mail.Line     `json:"line"`
	For  time.Duration `json:"for"`
}

// hearRefused takes in what other nodes say.
func (q *Queue) hearRefused() error {
	_, err := q.get.Subscribe(subjectRefused, func(m *nats.Msg) {
		var r refusal
		if err := json.Unmarshal(m.Data, &r); err != nil {
			q.log.Debug("what another node does not want to be offered is not understood", "error", err)
			return
		}
		now := time.Now()
		q.crowd.refuse(r.Line, now.Add(min(r.For, refusedMost)), now)
	})
	return err
}

// measureCrowd tells the crowd how long READY is.
func (q *Queue) measureCrowd(ctx context.Context, st streamState) {
	length := int64(st.Msgs)
	switch {
	case q.team == nil:
		length -= int64(len(q.claims.allReady()))
	case length > readyLeast:
		var info struct {
			Pending *int64 `json:"num_pending"`
		}
		if err := q.ask(ctx, "$JS.API.CONSUMER.INFO."+streamReady+"."+q.readyName(), nil, &info); err == nil && info.Pending != nil {
			length = *info.Pending
		}
	}
	q.crowd.measured(length, st.LastSeq-st.Msgs, time.Now())
}
