package queue

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

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
	Oldest              time.Time      // arrival of the oldest
	NextDue             time.Time      // zero: now
	Last                *mail.Delivery // one that was attempted lately, with its last reply; nil: none is known

	first, held *slotName // the slot that is due first, and one of held mail
}

// What a listing reads is bounded: so much of READY, so many lanes' first deliveries,
// and so long for each. The counts are in memory.
const (
	readySortMax = 20000
	readySortFor = 300 * time.Millisecond
	headRows     = 100
	headsFor     = 300 * time.Millisecond
)

// Lanes returns the max destinations with the most deliveries.
func (q *Queue) Lanes(ctx context.Context, max int) (Overview, error) {
	st := q.Stats()
	o := Overview{Waiting: st.Waiting, Held: st.Held, Active: st.Active, ReadySorted: true}
	var elsewhere hands
	if q.team != nil {
		var err error
		if elsewhere, err = q.handsNow(ctx); err != nil {
			return o, err
		}
	}
	by, err := q.lanesNow(ctx)
	if err != nil {
		return o, err
	}
	if q.team != nil {
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
	list := make([]*LaneInfo, 0, len(by))
	for _, li := range by {
		list = append(list, li)
	}
	slices.SortFunc(list, func(a, b *LaneInfo) int {
		if a.Count != b.Count {
			return cmp.Compare(b.Count, a.Count)
		}
		return strings.Compare(string(a.Destination), string(b.Destination))
	})
	began := time.Now()
	for i, li := range list[:min(max, len(list))] {
		if i < headRows && time.Since(began) < headsFor {
			if err := q.headOf(ctx, li); err != nil {
				return o, err
			}
		}
		o.Lanes = append(o.Lanes, *li)
	}
	return o, nil
}

// lanesNow counts what waits by destination.
func (q *Queue) lanesNow(ctx context.Context) (map[mail.Domain]*LaneInfo, error) {
	by := map[mail.Domain]*LaneInfo{}
	err := q.eachSlot(ctx, func(s slotName, count, taken int64) {
		if count <= 0 {
			return
		}
		li := by[s.line.Destination]
		if li == nil {
			li = &LaneInfo{Destination: s.line.Destination}
			by[s.line.Destination] = li
		}
		li.Count += count
		li.Active += taken
		switch {
		case s.held:
			li.Held += count
			li.held = &s
		case li.first == nil || s.compare(*li.first) < 0:
			li.first = &s
		}
		if !s.held && count > taken {
			li.NextDue = sooner(li.NextDue, time.UnixMilli(s.at))
		}
	})
	return by, err
}

// sortReady adds what is in READY, as long as that is not too much.
func (q *Queue) sortReady(ctx context.Context, o *Overview, by map[mail.Domain]*LaneInfo, elsewhere hands) error {
	in := &readyReader{q: q, next: 1}
	began := time.Now()
	for read := 0; ; {
		ms, _, err := in.read(ctx, 512)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if q.claims.wasRemoved(m.seq) {
				continue
			}
			active := q.claims.has(streamReady, m.seq) || elsewhere.of(streamReady, m.seq) != ""
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
		if read >= readySortMax || time.Since(began) > readySortFor {
			o.ReadySorted = false
			o.Ready = max(q.stats.readyCount.Load(), o.Ready)
			return nil
		}
	}
}

// headOf reads the first deliveries of a lane for its age and last reply.
func (q *Queue) headOf(ctx context.Context, li *LaneInfo) error {
	for _, s := range []*slotName{li.first, li.held} {
		if s == nil {
			continue
		}
		m, err := q.edge(ctx, s.subject(), false)
		if err != nil {
			return err
		}
		for _, d := range q.deliveriesOf(m) {
			if li.Oldest.IsZero() || d.Message.Received.Before(li.Oldest) {
				li.Oldest = d.Message.Received
			}
			if !d.LastAttempt.IsZero() && (li.Last == nil || d.LastAttempt.After(li.Last.LastAttempt)) {
				li.Last = &d
			}
		}
	}
	return nil
}
