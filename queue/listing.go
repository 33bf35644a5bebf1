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

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

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
	var elsewhere hands
	if q.team != nil {
		var err error
		if elsewhere, err = q.handsNow(ctx); err != nil {
			return nil, err
		}
	}
	err := q.scan(ctx, f.lane(), func(m stored) error {
		for _, d := range q.deliveriesOf(m) {
			if !f.Match(&d) {
				continue
			}
			e := Entry{Delivery: d, State: q.stateOf(m, &d, elsewhere)}
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

func (q *Queue) stateOf(m stored, d *mail.Delivery, elsewhere hands) string {
	stream, taken := streamWait, elsewhere.wait
	if m.subject == "" {
		stream, taken = streamReady, elsewhere.ready
	}
	switch {
	case q.claims.has(stream, m.seq) || taken[m.seq]:
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
	var slots map[mail.Domain][]string
	var elsewhere hands
	if q.team == nil {
		slots = q.lanes.summary(by)
	} else {
		var err error
		if elsewhere, err = q.handsNow(ctx); err != nil {
			return o, err
		}
		if slots, err = q.team.summary(ctx, by); err != nil {
			return o, err
		}
		o.Waiting, o.Held, o.Active = 0, 0, int64(len(elsewhere.ready)+len(elsewhere.wait))
		for _, li := range by {
			o.Waiting += li.Count
			o.Held += li.Held
		}
	}
	if err := q.sortReady(ctx, &o, by, elsewhere); err != nil {
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
	slots := map[mail.Domain][]slotName{}
	for name, line := range l.m {
		dest := name.Destination
		li := by[dest]
		if li == nil {
			li = &LaneInfo{Destination: dest}
		}
		for _, s := range line.slots {
			li.Count += int64(s.count)
			li.Active += int64(s.taken)
			if due := time.UnixMilli(s.at); s.count > s.taken && (li.NextDue.IsZero() || due.Before(li.NextDue)) {
				li.NextDue = due
			}
			slots[dest] = append(slots[dest], s.slotName)
		}
		for _, s := range line.held {
			li.Count += int64(s.count)
			li.Held += int64(s.count)
			slots[dest] = append(slots[dest], s.slotName)
		}
		if li.Count > 0 {
			by[dest] = li
		}
	}
	return firstSlots(slots)
}

func (q *Queue) sortReady(ctx context.Context, o *Overview, by map[mail.Domain]*LaneInfo, elsewhere hands) error {
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
			active := q.claims.has(streamReady, m.seq) || elsewhere.ready[m.seq]
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
