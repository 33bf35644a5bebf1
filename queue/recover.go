package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/proto"
)

// doubtful returns the DOTs without an end.
func (r *recovered) doubtful() []*proto.Event {
	if r == nil {
		return nil
	}
	return r.doubts
}

// recovered is what the journal and the tails of WAIT and READY tell after an
// unclean stop. Its methods work on nil, which is a clean stop.
type recovered struct {
	from     uint64 // EVENT sequence it was read from
	readySeq uint64 // highest READY sequence the last run had taken

	last     map[string]int          // delivery -> the youngest generation that has ended: settled, or stored anew in WAIT
	newest   map[string]generation   // delivery -> its youngest record in WAIT's tail
	messages map[string]struct{}     // messages made here (DSNs) that were stored lately
	doubts   []*proto.Event          // DOT without an end
	decided  map[string]*proto.Event // DECIDED without an end, by delivery and generation
	replaced []superseded            // WAIT records whose replacement is stored, or that are settled
}

// superseded names a record of WAIT by where it lay and by what it was: after a
// power cut a lost record's sequence is given to another one.
type superseded struct {
	seq      uint64
	delivery string
	upTo     int // generation
}

func (s superseded) is(name string) bool {
	id, ok := parseRecordID(name)
	return ok && id.delivery == s.delivery && id.generation <= s.upTo
}

type generation struct {
	n   int
	seq uint64
}

// recoverMargin is how far before the journal's mark the tails are read: longer
// than a park takes from its WAIT record to its removal.
const recoverMargin = 10 * time.Second

func (r *recovered) empty() bool { return r == nil }

func (r *recovered) hasMessage(id string) bool {
	if r == nil {
		return false
	}
	_, ok := r.messages[id]
	return ok
}

// ended tells whether the last run had already ended the delivery as this record has it.
func (r *recovered) ended(delivery string, gen int, rec *record) bool {
	// An older one too: a record of several deliveries may have outlived the later
	// life of one of them.
	if n, ok := r.last[delivery]; ok && n >= gen {
		return true
	}
	g, ok := r.newest[delivery]
	return ok && (g.n > gen || g.n == gen && rec.stream == streamWait && g.seq > rec.seq)
}

// recover reads the journal's end. After a clean stop there is nothing to do.
func (q *Queue) recover(ctx context.Context) (*recovered, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	s, err := q.getJS.Stream(ctx, streamEvent)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	q.lastEvent = s.CachedInfo().State.LastSeq
	last, err := s.GetLastMsgForSubject(ctx, subjectJournal)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	var head proto.Journal
	if _, err := proto.ReadFrame(last.Data, proto.KindJournal, &head); err != nil {
		return nil, fmt.Errorf("read the journal's last record: %w", err)
	}
	if head.Closed {
		return nil, nil
	}
	q.log.Info("the last stop was not a clean one; reading the journal", "from", head.From, "to", last.Sequence)
	r := &recovered{from: head.From, readySeq: head.ReadySeq, last: map[string]int{},
		newest: map[string]generation{}, messages: map[string]struct{}{}, decided: map[string]*proto.Event{}}
	began, dots, err := r.readJournal(ctx, q, last.Sequence)
	if err != nil {
		return nil, err
	}
	if began.IsZero() {
		began = last.Time
	}
	if err := r.readTails(ctx, q, began.Add(-recoverMargin)); err != nil {
		return nil, err
	}
	for key, e := range dots {
		delivery, gen, _ := strings.Cut(key, "/")
		n, _ := strconv.Atoi(gen)
		if !r.ended(delivery, n, &record{}) {
			r.doubts = append(r.doubts, e)
		}
	}
	return r, r.removeReplaced(ctx, q)
}

// readJournal reads the entries of what may have been unsettled, and returns when
// the first was written and the DOTs without an end.
func (r *recovered) readJournal(ctx context.Context, q *Queue, to uint64) (began time.Time, dots map[string]*proto.Event, err error) {
	dots = map[string]*proto.Event{}
	in := q.newStreamReader(streamEvent, max(r.from, 1), subjectJournal)
	defer in.close()
	for in.next <= to {
		ms, err := in.read(ctx, 256)
		if err != nil {
			return began, nil, fmt.Errorf("read the journal: %w", err)
		}
		if len(ms) == 0 {
			break
		}
		for _, m := range ms {
			if began.IsZero() {
				began = m.at
			}
			var rec proto.Journal
			if _, err := proto.ReadFrame(m.data, proto.KindJournal, &rec); err != nil {
				return began, nil, fmt.Errorf("journal record %d: %w", m.seq, err)
			}
			r.readySeq = max(r.readySeq, rec.ReadySeq)
			for _, e := range rec.Events {
				r.event(e, dots)
			}
		}
	}
	return began, dots, nil
}

func (r *recovered) event(e *proto.Event, dots map[string]*proto.Event) {
	key := generationID(e.MessageId+"."+strconv.Itoa(int(e.Delivery)), int(e.Generation))
	switch e.Kind {
	case proto.Event_DOT:
		dots[key] = e
	case proto.Event_DECIDED:
		delete(dots, key) // what came of it is known
		r.decided[key] = e
	case proto.Event_SETTLED, proto.Event_ATTEMPT, proto.Event_MOVED:
		delete(dots, key)
		delete(r.decided, key)
		delivery, gen := e.MessageId+"."+strconv.Itoa(int(e.Delivery)), int(e.Generation)
		if e.WaitSeq != 0 {
			r.replaced = append(r.replaced, superseded{e.WaitSeq, delivery, gen})
		}
		if n, ok := r.last[delivery]; !ok || gen > n {
			r.last[delivery] = gen
		}
		if e.Kind == proto.Event_SETTLED {
			r.messages[e.MessageId] = struct{}{}
		}
	}
}

// readTails reads the headers of what was stored in WAIT and READY since then.
func (r *recovered) readTails(ctx context.Context, q *Queue, since time.Time) error {
	err := q.readHeaders(ctx, streamWait, since, func(seq uint64, id, replaces string) {
		delivery, gen, ok := strings.Cut(id, "/")
		n, err := strconv.Atoi(gen)
		if !ok || err != nil {
			return
		}
		if g, ok := r.newest[delivery]; !ok || n > g.n || n == g.n && seq > g.seq {
			r.newest[delivery] = generation{n, seq}
		}
		if old, err := strconv.ParseUint(replaces, 10, 64); err == nil {
			r.replaced = append(r.replaced, superseded{old, delivery, n - 1})
		}
	})
	if err != nil {
		return err
	}
	in := &readyReader{q: q, since: &since}
	for {
		ms, hs, err := in.read(ctx, 512)
		if err != nil || len(ms) == 0 {
			return err
		}
		for _, h := range hs {
			if id := h.Get(jetstream.MsgIDHeader); id != "" {
				r.messages[id] = struct{}{}
			}
		}
	}
}

// readHeaders gives each the message id and the replaced sequence of every record stored since.
func (q *Queue) readHeaders(ctx context.Context, stream string, since time.Time, each func(seq uint64, id, replaces string)) error {
	in := q.newStreamReader(stream, 0, ">")
	in.since, in.headers = &since, true
	defer in.close()
	for {
		ms, err := in.read(ctx, readMax)
		if err != nil || len(ms) == 0 {
			return err
		}
		for _, m := range ms {
			each(m.seq, m.header.Get(jetstream.MsgIDHeader), m.header.Get(headerReplaces))
		}
	}
}

// removeReplaced removes what the last run had replaced or ended in WAIT and did
// not come to remove. Their replacements are synced first.
func (r *recovered) removeReplaced(ctx context.Context, q *Queue) error {
	if len(r.replaced) == 0 {
		return nil
	}
	if err := q.barrier.syncNow(streamWait); err != nil {
		return err
	}
	s, err := q.getJS.Stream(ctx, streamWait)
	if err != nil {
		return fmt.Errorf("tidy WAIT: %w", err)
	}
	for _, old := range r.replaced {
		m, err := s.GetMsg(ctx, old.seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("tidy WAIT: %w", err)
		}
		if !old.is(m.Header.Get(jetstream.MsgIDHeader)) {
			continue
		}
		if err := s.DeleteMsg(ctx, old.seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("tidy WAIT: %w", err)
		}
		q.lanes.gone(&record{stream: streamWait, seq: old.seq, subject: m.Subject})
	}
	return nil
}

// open marks that a run has begun: from here on, a journal that does not end
// with a close tells of an unclean stop.
func (j *journal) open(ctx context.Context) error {
	if j.q.team != nil {
		_, err := j.q.beat(ctx)
		return err
	}
	j.mu.Lock()
	rec := j.headLocked()
	j.mu.Unlock()
	_, err := j.put(ctx, rec)
	return err
}

// noteDoubts stores what an earlier run, or another node, may have delivered without
// telling of it.
func (j *journal) noteDoubts(ctx context.Context, doubts []*proto.Event) error {
	if len(doubts) == 0 {
		return nil
	}
	rec := &proto.Journal{Node: j.q.o.Node}
	for _, e := range doubts {
		j.q.log.Warn("this delivery may have been made just before the unclean stop of a node and will be made again",
			"delivery", e.MessageId+"."+strconv.Itoa(int(e.Delivery)), "attempt", e.Attempt, "host", e.Host)
		rec.Events = append(rec.Events, &proto.Event{
			Kind: proto.Event_DOUBT, AtUs: e.AtUs, MessageId: e.MessageId, Delivery: e.Delivery,
			Generation: e.Generation, Attempt: e.Attempt, Destination: e.Destination, Host: e.Host,
		})
	}
	frame, err := proto.AppendFrame(nil, proto.KindJournal, rec, nil)
	if err != nil {
		return err
	}
	_, err = j.q.publish(ctx, subjectDoubt, nil, frame)
	return err
}

// Doubt is a delivery that was possibly made twice: its final dot was about to be
// sent when the process died, and no outcome was recorded.
type Doubt struct {
	DeliveryID  string
	Attempt     int
	Destination string
	Host        string
	At          time.Time // of the dot
	Found       time.Time // of the start that found it
}

// Doubts lists the doubts of the journal's time (seven days), oldest first.
func (q *Queue) Doubts(ctx context.Context) ([]Doubt, error) {
	in := q.newStreamReader(streamEvent, 1, subjectDoubt)
	defer in.close()
	seen := map[string]bool{}
	var out []Doubt
	for {
		ms, err := in.read(ctx, 256)
		if err != nil || len(ms) == 0 {
			return out, err
		}
		for _, m := range ms {
			var rec proto.Journal
			if _, err := proto.ReadFrame(m.data, proto.KindJournal, &rec); err != nil {
				return nil, fmt.Errorf("journal record %d: %w", m.seq, err)
			}
			for _, e := range rec.Events {
				d := Doubt{
					DeliveryID: e.MessageId + "." + strconv.Itoa(int(e.Delivery)), Attempt: int(e.Attempt),
					Destination: e.Destination, Host: e.Host, At: proto.FromMicros(e.AtUs), Found: m.at,
				}
				if key := generationID(d.DeliveryID, int(e.Generation)); !seen[key] {
					seen[key] = true
					out = append(out, d)
				}
			}
		}
	}
}
