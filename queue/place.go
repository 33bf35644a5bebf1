package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
)

// Place is where a waiting delivery stands: how much of its own line goes before it,
// and how much else waits for its destination.
type Place struct {
	Line   mail.Line
	Before int64                   // in its line
	Of     int64                   // the line's length, held mail not counted
	Others map[mail.Line]LineCount // of the same destination
	Due    int64                   // of Before, how many are due by now
}

// PlaceOf finds a delivery's place, of one that Find has listed. Slots that are due
// before its own count whole; of those due when its own is (it, those of other partitions
// and with other deadlines) the store tells how many lie before it. So it costs the same
// however much waits.
func (q *Queue) PlaceOf(ctx context.Context, e Entry) (Place, error) {
	p := Place{Line: e.Line(), Others: map[mail.Line]LineCount{}}
	now := time.Now().UnixMilli()
	mine := e.slot.line == p.Line && e.State != StateReady
	var along int64 // in slots due when its own is
	var beside []string
	err := q.eachSlot(ctx, func(s slotName, count, _ int64) {
		switch {
		case s.line.Destination != p.Line.Destination || count <= 0:
		case s.line != p.Line:
			c := p.Others[s.line]
			if s.held {
				c.Held += count
			} else {
				c.Waiting += count
				c.NextDue = sooner(c.NextDue, time.UnixMilli(s.at))
			}
			p.Others[s.line] = c
		case s.held:
		default:
			p.Of += count
			if mine && s.at == e.slot.at {
				along += count
				beside = append(beside, s.subject())
			} else if mine && s.at < e.slot.at {
				p.Before += count
				if s.at <= now {
					p.Due += count
				}
			}
		}
	})
	if err != nil || along == 0 {
		return p, err
	}
	behind, err := q.pending(ctx, beside, e.seq)
	if err != nil {
		return p, err
	}
	n := max(along-behind, 0)
	p.Before += n
	if e.slot.at <= now {
		p.Due += n
	}
	return p, nil
}

// pending asks how many records lie under some subjects of WAIT from a sequence on.
func (q *Queue) pending(ctx context.Context, subjects []string, from uint64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := q.getJS.CreateConsumer(ctx, streamWait, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, HeadersOnly: true, FilterSubjects: subjects,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1), InactiveThreshold: 5 * time.Second,
	})
	if err != nil {
		return 0, fmt.Errorf("%w: counting what waits: %w", ErrUnavailable, err)
	}
	info := c.CachedInfo()
	q.removals.add(removal{consumer: info.Name, stream: streamWait})
	return int64(info.NumPending), nil
}

// Pace counts how many attempts for a destination have ended within the last while, by
// the journals of all nodes. Where too much has happened to count all of it, it counts
// what happened first; took is how long that was.
func (q *Queue) Pace(ctx context.Context, d mail.Domain, within time.Duration) (n int, took time.Duration, err error) {
	began := time.Now()
	since := began.Add(-within)
	in := q.newStreamReader(streamEvent, 0, subjectJournal, subjectJournal+".>")
	in.since = &since
	defer in.close()
	last := began
	for {
		ms, err := in.read(ctx, readMax)
		if err != nil {
			return n, 0, err
		}
		if len(ms) == 0 || time.Since(began) > paceFor {
			if len(ms) > 0 {
				last = ms[len(ms)-1].at
			}
			return n, last.Sub(since), nil
		}
		for _, m := range ms {
			n += endsIn(m, d)
		}
	}
}

// paceFor bounds how long the journal is read for that.
const paceFor = 250 * time.Millisecond
