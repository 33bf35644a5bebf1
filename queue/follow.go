package queue

import (
	"cmp"
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// follow tells the lanes of what any node stores in the partitions that work, from
// where they were counted on, as long as ctx lasts. It reads headers only, by one
// consumer that forgets itself; when that is lost, or something on its way, another
// goes on from the last record seen. What is missed all the same, the recount finds.
func (t *team) follow(ctx context.Context) {
	for ctx.Err() == nil {
		// Before the partitions are listed: one that works a moment later says so again.
		select {
		case <-t.refollow:
		default:
		}
		hs := t.working()
		if len(hs) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-t.refollow:
			}
			continue
		}
		err := t.followAll(ctx, hs)
		if err == nil || ctx.Err() != nil {
			continue
		}
		t.q.log.Debug("what is stored to wait is asked for anew", "error", err)
		select {
		case <-ctx.Done():
		case <-t.refollow:
			t.changed()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// followBeat is how often the server says that it is there.
const followBeat = time.Second

// followAll follows some partitions until others work, or something breaks.
func (t *team) followAll(ctx context.Context, hs []*hold) error {
	q := t.q
	by := map[uint32]*hold{}
	var subjects []string
	from := uint64(math.MaxUint64)
	for _, h := range hs {
		by[h.part] = h
		subjects = append(subjects, partPrefix(h.part)+">")
		from = min(from, h.knownUpTo())
	}
	for _, h := range hs {
		h.told.Store(h.knownUpTo())
		h.covered.Store(false)
	}
	t.followed.Store(from)
	msgs := make(chan *nats.Msg, 1<<14)
	inbox := q.get.NewInbox()
	sub, err := q.get.ChanSubscribe(inbox, msgs)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	c, err := q.createFollower(ctx, inbox, subjects, from+1)
	if err != nil {
		return err
	}
	defer q.removals.add(removal{stream: streamWait, consumer: c})
	for _, h := range hs {
		h.covered.Store(true)
	}
	silence := time.NewTimer(3 * followBeat)
	defer silence.Stop()
	for got := uint64(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-t.refollow:
			return nil
		case <-silence.C:
			return errors.New("the server is silent")
		case m := <-msgs:
			silence.Reset(3 * followBeat)
			if m.Header.Get("Status") != "" {
				if last := m.Header.Get("Nats-Last-Consumer"); last != "" && last != strconv.FormatUint(got, 10) {
					return errLost // something before this beat
				}
				// The server asks whether we keep up, in one of two ways.
				if reply := cmp.Or(m.Header.Get("Nats-Consumer-Stalled"), m.Reply); reply != "" {
					_ = q.get.Publish(reply, nil)
				}
				continue
			}
			md, err := m.Metadata()
			if err != nil {
				return err
			}
			if md.Sequence.Consumer != got+1 {
				return errLost
			}
			got++
			t.arrived(by, stored{seq: md.Sequence.Stream, subject: m.Subject, at: md.Timestamp, header: m.Header})
			t.followed.Store(md.Sequence.Stream)
		}
	}
}

func (q *Queue) createFollower(ctx context.Context, inbox string, subjects []string, from uint64) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTry) // our caller tries again
	defer cancel()
	c, err := q.getJS.CreatePushConsumer(ctx, streamWait, jetstream.ConsumerConfig{
		DeliverSubject: inbox, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, HeadersOnly: true,
		FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		IdleHeartbeat: followBeat, FlowControl: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return "", err
	}
	return c.CachedInfo().Name, nil
}

// arrived counts one record, or takes in one fence.
func (t *team) arrived(by map[uint32]*hold, m stored) {
	q := t.q
	q.known.sawWait(m.seq)
	if p, ok := fenceOf(m.subject); ok {
		if h := by[p]; h != nil && m.seq > h.told.Load() {
			h.mu.Lock()
			h.fences.note(m)
			newer := h.fences.last(p).compare(h.fence) > 0
			h.mu.Unlock()
			if newer { // another node has taken it over: our lease has lapsed, and nobody has told us
				h.end()
				t.forget(h)
			}
		}
		return
	}
	s, err := parseSlot(m.subject)
	if err != nil {
		q.log.Error("WAIT holds a subject this version does not know; upgrade this node", "subject", m.subject)
		return
	}
	h := by[s.part]
	if h == nil || m.seq <= h.counted || m.seq <= h.told.Load() {
		return
	}
	if id, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader)); ok {
		if void, _ := h.void(m.seq, id.claim); void {
			q.removeVoid(m)
			return
		}
	}
	q.lanes.addHeld(h, s, 1)
}

// removeVoid removes a record that counts for nothing, being stored behind a fence or
// replaced. false: it is in hand, or its removal is on its way already.
func (q *Queue) removeVoid(m stored) bool {
	r := &record{stream: streamWait, seq: m.seq, subject: m.subject, hold: uncounted}
	if taken, _ := q.claims.take(r); !taken {
		return false
	}
	q.log.Info("a record of a delivery that its node had lost is removed", "record", m.header.Get(jetstream.MsgIDHeader))
	q.removals.add(removal{wave: q.settler.underway.begin(), rec: r})
	return true
}

// uncounted stands for the hold of a record that no lane counts.
var uncounted = &hold{dropped: true}
