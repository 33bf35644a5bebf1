package queue

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// Filter says which deliveries are meant; every field that is set must match.
type Filter struct {
	ID          string      // of a message or of a delivery
	Destination mail.Domain // the recipients' domain
	Sender      string      // reverse-path, letter case ignored; "<>" for null
}

// Match tells whether the delivery is meant.
func (f Filter) Match(d *mail.Delivery) bool {
	if f.ID != "" {
		message, index := mail.SplitDeliveryID(f.ID)
		if d.Message.ID != message || index >= 0 && d.Index != index {
			return false
		}
	}
	if f.Destination != "" && d.Destination != f.Destination {
		return false
	}
	switch {
	case f.Sender == "":
		return true
	case f.Sender == "<>":
		return d.Message.Sender.IsNull()
	default:
		return strings.EqualFold(f.Sender, d.Message.Sender.Raw)
	}
}

func (f Filter) lane() string {
	if f.Destination == "" {
		return ""
	}
	return laneToken(f.Destination)
}

// Selection is what Select came to.
type Selection struct {
	Matched int // jobs given to the caller
	Busy    int // deliveries a deliverer has in hand just now; not touched
}

// Select claims every matching delivery that nobody has in hand and gives it to
// fn, which must end it. A message's other deliveries in the same record move to
// WAIT, due at once. An error of fn ends the pass; what was done stays done. In a
// cluster it sees what waits in this node's partitions; Act reaches everything.
func (q *Queue) Select(ctx context.Context, f Filter, fn func(*Job) error) (Selection, error) {
	var sel Selection
	seen := map[string]int{} // a delivery that is stored anew is met again: once is enough
	each := func(m stored) error {
		if q.matching(m, f) == 0 {
			return nil
		}
		return q.selectRecord(ctx, m, f, fn, &sel, seen)
	}
	var err error
	if q.team == nil {
		err = q.scan(ctx, f.lane(), each)
	} else {
		err = q.selectHeld(ctx, f, each)
	}
	return sel, err
}

// selectHeld scans what waits in the partitions that this node of a cluster holds.
func (q *Queue) selectHeld(ctx context.Context, f Filter, each func(stored) error) error {
	var subjects []string
	for _, h := range q.team.working() {
		s := partPrefix(h.part) + ">"
		if lane := f.lane(); lane != "" {
			s = partPrefix(h.part) + lane + ".>"
		}
		subjects = append(subjects, s)
	}
	if len(subjects) == 0 {
		return nil
	}
	return q.scanWait(ctx, subjects, each)
}

// matching counts the deliveries of a stored record that f means.
func (q *Queue) matching(m stored, f Filter) int {
	n := 0
	for _, d := range q.deliveriesOf(m) {
		if f.Match(&d) {
			n++
		}
	}
	return n
}

// deliveriesOf returns the deliveries of a stored record that are still due: after
// an unclean stop READY may hold some that have ended, until it offers them again.
func (q *Queue) deliveriesOf(m stored) []mail.Delivery {
	var head proto.Mail
	if _, err := proto.ReadFrame(m.data, proto.KindMail, &head); err != nil {
		return nil // it cannot be acted on; the deliverer says why
	}
	msg := head.Message()
	r := &record{stream: streamReady, seq: m.seq}
	if strings.HasPrefix(m.subject, "wait.") {
		r.stream = streamWait
	}
	ds := make([]mail.Delivery, 0, len(head.Deliveries))
	for _, d := range head.Deliveries {
		d := d.Delivery(msg)
		if q.recent == nil || !q.recent.ended(d.ID(), d.Generation, r) {
			ds = append(ds, d)
		}
	}
	return ds
}

func (q *Queue) selectRecord(ctx context.Context, m stored, f Filter, fn func(*Job) error, sel *Selection, seen map[string]int) error {
	r := &record{stream: streamWait, seq: m.seq, subject: m.subject}
	if m.subject == "" {
		r.stream, r.msg = streamReady, readyByDelete{q: q, seq: m.seq}
	}
	if q.team != nil {
		if r.hold = q.team.workingOn(m.subject); r.hold == nil {
			return nil // let go meanwhile
		}
		if id, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader)); ok {
			if void, known := r.hold.void(m.seq, id.claim); void || !known || r.hold.superseded[m.seq] {
				return nil
			}
		}
	}
	taken, gone := q.claims.take(r)
	if gone {
		return nil
	}
	if !taken {
		for _, d := range q.deliveriesOf(m) {
			if gen, ok := seen[d.ID()]; f.Match(&d) && (!ok || gen >= d.Generation) {
				sel.Busy++
			}
		}
		return nil
	}
	if r.stream == streamWait {
		q.lanes.take(r)
	}
	// What we read may be old by now: somebody may have ended it since.
	there, err := q.exists(ctx, r)
	if err != nil || !there {
		q.giveBack(r)
		return err
	}
	js, err := q.jobs(r, m.data)
	if err != nil {
		q.giveBack(r)
		return err
	}
	for i, j := range js {
		gen, again := seen[j.ID()]
		switch {
		case again && j.Generation > gen:
			j.Release() // our own doing, met again
		case f.Match(&j.Delivery):
			sel.Matched++
			seen[j.ID()] = j.Generation
			if err := fn(j); err != nil {
				for _, rest := range js[i+1:] {
					rest.Release()
				}
				return err
			}
		case r.stream == streamReady:
			j.Wait(j.Delivery, nil)
		default:
			j.Release()
		}
	}
	return nil
}
