package queue

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

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
			s = partPrefix(h.part) + lane + ".*"
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
			if void, known := r.hold.void(m.seq, id.claim); void || !known {
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

// State names where a delivery is, for listings.
const (
	StateReady   = "ready"   // in READY, nobody has it
	StateActive  = "active"  // in a deliverer's hand
	StateWaiting = "waiting" // in WAIT
	StateHeld    = "held"    // in WAIT, until it is released
)

// Entry is one delivery in a listing.
type Entry struct {
	mail.Delivery
	State string
}

var errEnough = errors.New("enough")

// Find lists up to max matching deliveries. It reads the queue from its start.
func (q *Queue) Find(ctx context.Context, f Filter, max int) ([]Entry, error) {
	byID := map[string]int{}
	var out []Entry
	err := q.scan(ctx, f.lane(), func(m stored) error {
		for _, d := range q.deliveriesOf(m) {
			if !f.Match(&d) {
				continue
			}
			e := Entry{Delivery: d, State: q.stateOf(m, &d)}
			if i, ok := byID[d.ID()]; ok { // it moved while we read
				if d.Generation >= out[i].Generation {
					out[i] = e
				}
				continue
			}
			if len(out) >= max {
				return errEnough
			}
			byID[d.ID()] = len(out)
			out = append(out, e)
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, err
}

func (q *Queue) stateOf(m stored, d *mail.Delivery) string {
	stream := streamWait
	if m.subject == "" {
		stream = streamReady
	}
	switch {
	case q.claims.has(stream, m.seq):
		return StateActive
	case d.Held:
		return StateHeld
	case stream == streamReady:
		return StateReady
	default:
		return StateWaiting
	}
}

// OpenBody reads the message of a delivery for an operator; a delivery id or a
// message id names it. ErrNotFound when it is not in the queue.
func (q *Queue) OpenBody(ctx context.Context, id string) (io.ReadCloser, error) {
	f := Filter{ID: id}
	var found *stored
	err := q.scan(ctx, "", func(m stored) error {
		if q.matching(m, f) > 0 {
			found = &m
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if found == nil {
		return nil, ErrNotFound
	}
	var head proto.Mail
	body, err := proto.ReadFrame(found.data, proto.KindMail, &head)
	if err != nil {
		return nil, err
	}
	if head.Body == nil {
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	return q.openBody(ctx, head.Id, head.Body)
}

// ErrNotFound means that no delivery in the queue has that id: it has been
// delivered, bounced or removed, or never was.
var ErrNotFound = errors.New("no such message in the queue")

// Overview is the queue by destination.
type Overview struct {
	Lanes                        []LaneInfo
	Destinations                 int
	Ready, Waiting, Held, Active int64
	ReadySorted                  bool // false: READY holds too many to sort by destination; they count in Ready only
}

// LaneInfo is what a destination has in the queue.
type LaneInfo struct {
	Destination         mail.Domain
	Count, Held, Active int64
	Oldest              time.Time // arrival of the oldest
	NextDue             time.Time // zero: now
	LastReply           mail.Reply
	LastHost            string
}

// readySortMax bounds how much of READY a listing reads.
const readySortMax = 20000

// Lanes returns the max destinations with the most deliveries.
func (q *Queue) Lanes(ctx context.Context, max int) (Overview, error) {
	st := q.Stats()
	o := Overview{Waiting: st.Waiting, Held: st.Held, Active: st.Active, ReadySorted: true}
	by := map[mail.Domain]*LaneInfo{}
	slots := q.lanes.summary(by)
	if err := q.sortReady(ctx, &o, by); err != nil {
		return o, err
	}
	o.Destinations = len(by)
	for _, li := range by {
		o.Lanes = append(o.Lanes, *li)
	}
	slices.SortFunc(o.Lanes, func(a, b LaneInfo) int {
		if a.Count != b.Count {
			return cmp.Compare(b.Count, a.Count)
		}
		return strings.Compare(string(a.Destination), string(b.Destination))
	})
	o.Lanes = o.Lanes[:min(max, len(o.Lanes))]
	for i := range o.Lanes {
		if err := q.headOf(ctx, &o.Lanes[i], slots[o.Lanes[i].Destination]); err != nil {
			return o, err
		}
	}
	return o, nil
}

// summary fills in what WAIT's counts tell, and returns each lane's first slots.
func (l *lanes) summary(by map[mail.Domain]*LaneInfo) map[mail.Domain][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	slots := map[mail.Domain][]string{}
	for name, la := range l.m {
		li := &LaneInfo{Destination: name}
		for _, s := range la.slots {
			li.Count += int64(s.count)
			li.Active += int64(s.taken)
			if li.NextDue.IsZero() && s.count > s.taken {
				li.NextDue = time.UnixMilli(s.at)
			}
			if len(slots[name]) < 4 {
				slots[name] = append(slots[name], s.subject())
			}
		}
		for _, s := range la.held {
			li.Held += int64(s.count)
			slots[name] = append(slots[name], s.subject())
		}
		li.Count += li.Held
		if li.Count > 0 {
			by[name] = li
		}
	}
	return slots
}

func (q *Queue) sortReady(ctx context.Context, o *Overview, by map[mail.Domain]*LaneInfo) error {
	in := &readyReader{q: q, next: 1}
	for read := 0; ; {
		ms, _, err := in.read(ctx, 512)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if q.claims.wasRemoved(m.seq) {
				continue
			}
			active := q.claims.has(streamReady, m.seq)
			for _, d := range q.deliveriesOf(m) {
				li := by[d.Destination]
				if li == nil {
					li = &LaneInfo{Destination: d.Destination}
					by[d.Destination] = li
				}
				o.Ready++
				li.Count++
				if active {
					li.Active++
				}
				if li.Oldest.IsZero() || d.Message.Received.Before(li.Oldest) {
					li.Oldest = d.Message.Received
				}
			}
		}
		if len(ms) == 0 {
			return nil
		}
		read += len(ms)
		if read >= readySortMax {
			o.ReadySorted = false
			o.Ready = q.stats.readyCount.Load()
			return nil
		}
	}
}

// headOf reads the first delivery of a lane's slots for its age and last reply.
func (q *Queue) headOf(ctx context.Context, li *LaneInfo, subjects []string) error {
	var latest time.Time
	for _, s := range subjects {
		for _, last := range []bool{false, true} {
			m, err := q.edge(ctx, s, last)
			if err != nil {
				return err
			}
			for _, d := range q.deliveriesOf(m) {
				if li.Oldest.IsZero() || d.Message.Received.Before(li.Oldest) {
					li.Oldest = d.Message.Received
				}
				if !d.LastAttempt.IsZero() && d.LastAttempt.After(latest) {
					latest, li.LastReply, li.LastHost = d.LastAttempt, d.LastReply, d.LastHost
				}
			}
		}
	}
	return nil
}
