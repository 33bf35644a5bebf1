package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// past is what the journals of all nodes and WAIT's tail tell of some deliveries that
// other nodes, or this one in an earlier life, may have worked on.
type past struct {
	about  func(d mail.Domain, delivery string, e *proto.Event) bool // which are asked about
	fences *fences

	ended    map[string]int                  // delivery -> the youngest generation that has ended: settled, or stored anew
	newest   map[string]generation           // delivery -> its youngest record in WAIT's tail
	dots     map[string]map[dot]*proto.Event // delivery -> its DOTs without an end
	replaced []superseded                    // WAIT records whose replacement is stored, or that are settled
	decided  map[string]*proto.Event         // DECIDED, by delivery and generation
}

// dot is one node's DOT of one generation.
type dot struct {
	generation int
	journal    string // the subject it stands under
}

func newPast(f *fences, about func(mail.Domain, string, *proto.Event) bool) *past {
	return &past{about: about, fences: f, ended: map[string]int{}, newest: map[string]generation{}, dots: map[string]map[dot]*proto.Event{}, decided: map[string]*proto.Event{}}
}

// event takes in one entry of a journal.
func (p *past) event(journal string, e *proto.Event) {
	id := mail.DeliveryID(e.MessageId, int(e.Delivery))
	if !p.about(mail.Domain(e.Destination), id, e) {
		return
	}
	gen := int(e.Generation)
	switch e.Kind {
	case proto.Event_DOT:
		if p.dots[id] == nil {
			p.dots[id] = map[dot]*proto.Event{}
		}
		p.dots[id][dot{gen, journal}] = e
	case proto.Event_RETURNED:
		delete(p.dots[id], dot{gen, journal})
	case proto.Event_DECIDED:
		delete(p.dots[id], dot{gen, journal}) // what came of it is known
		p.decided[eventID(e)] = e
	case proto.Event_SETTLED, proto.Event_ATTEMPT, proto.Event_MOVED:
		if n, ok := p.ended[id]; !ok || gen > n {
			p.ended[id] = gen
		}
		if e.WaitSeq != 0 {
			p.replaced = append(p.replaced, superseded{e.WaitSeq, id, gen})
		}
	}
}

// waiting takes in the header of one record of WAIT.
func (p *past) waiting(m stored) {
	slot, err := parseSlot(m.subject)
	if err != nil {
		return
	}
	id, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader))
	if !ok || !p.about(slot.line.Destination, id.delivery, nil) || p.fences.void(slot.part, m.seq, id.claim) {
		return
	}
	if g, ok := p.newest[id.delivery]; !ok || id.generation > g.n || id.generation == g.n && m.seq > g.seq {
		p.newest[id.delivery] = generation{id.generation, m.seq}
	}
	if old, err := strconv.ParseUint(m.header.Get(headerReplaces), 10, 64); err == nil {
		p.replaced = append(p.replaced, superseded{old, id.delivery, id.generation - 1})
	}
}

// over tells whether the delivery as a record has it has been ended: settled, or
// stored anew. seq is the record's in WAIT, 0 in READY.
func (p *past) over(delivery string, gen int, seq uint64) bool {
	if n, ok := p.ended[delivery]; ok && n >= gen {
		return true
	}
	g, ok := p.newest[delivery]
	return ok && (g.n > gen || g.n == gen && seq != 0 && g.seq > seq)
}

// doubts returns the DOTs without an end of what is not over.
func (p *past) doubts() (out []*proto.Event) {
	for id, dots := range p.dots {
		for d, e := range dots {
			if !p.over(id, d.generation, e.WaitSeq) {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, func(a, b *proto.Event) int { return int(a.AtUs - b.AtUs) })
	return out
}

// read reads WAIT's tail and then the journals, from m on. upTo is a record of WAIT under
// one of the subjects. The order is the promise: what was removed from WAIT before we got
// there had been ended, and was journaled before it was removed. Swapped, an end that came
// between the two would be found in neither.
func (p *past) read(ctx context.Context, q *Queue, m marks, subjects []string, upTo uint64) error {
	err := q.passWait(ctx, subjects, m.wait+1, upTo, false, func(m stored) error {
		p.waiting(m)
		return nil
	})
	if err != nil {
		return err
	}
	return q.readJournals(ctx, m.event, func(journal string, e *proto.Event) { p.event(journal, e) })
}

// readJournals gives each entry of all journals from sequence from on, up to now.
func (q *Queue) readJournals(ctx context.Context, from uint64, each func(journal string, e *proto.Event)) error {
	// The end is our mark, said now. If it has been said anew since, a later one ends the scan.
	end, err := q.beat(ctx)
	if err != nil {
		return err
	}
	return q.scanTo(ctx, streamEvent, []string{subjectJournal + ".>", subjectRun + ".>"}, max(from, 1), end, func(m stored) error {
		var rec proto.Journal
		if _, err := proto.ReadFrame(m.data, proto.KindJournal, &rec); errors.Is(err, proto.ErrDamaged) {
			// Nothing could be taken over any more if that were an end.
			q.log.Error("a record of the journal is damaged: deliveries that only it tells of may be made twice", "sequence", m.seq, "error", err)
			return nil
		} else if err != nil {
			return fmt.Errorf("journal record %d: %w", m.seq, err)
		}
		for _, e := range rec.Events {
			each(m.subject, e)
		}
		return nil
	})
}

// passWait gives each record of WAIT under the subjects from sequence from on, to the
// end; of those that are removed meanwhile, what they were replaced by. known is a record
// under one of the subjects that was stored before the call. A pass is by one consumer,
// which is at one replica: that one shows no record as removed before it shows what
// replaced it, further on; so nothing that lives is missed, if the replica was not behind
// when we began. A pass that breaks off is begun anew, and gives some twice.
func (q *Queue) passWait(ctx context.Context, subjects []string, from, known uint64, bodies bool, each func(stored) error) error {
	for {
		again, err := q.tryPass(ctx, subjects, from, known, bodies, each)
		if err == nil || !again || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: reading WAIT: %w", ErrUnavailable, errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// replicaPatience is for how long a pass waits for a replica that lags behind.
const replicaPatience = 5 * time.Second

func (q *Queue) tryPass(ctx context.Context, subjects []string, from, known uint64, bodies bool, each func(stored) error) (again bool, err error) {
	in := q.newReader(from, subjects...)
	in.headers = !bodies
	defer in.close()
	if err := in.openConsumer(ctx); err != nil {
		return true, err
	}
	moved := time.Now()
	for seen := false; ; {
		ms, err := in.pull(ctx, readMax)
		for _, m := range ms {
			seen = seen || m.seq >= known
			if err := each(m); err != nil {
				return false, err
			}
		}
		switch {
		case err != nil && (!errors.Is(err, errUnheard) || time.Since(moved) > replicaPatience):
			return true, err
		case len(ms) > 0:
			moved = time.Now()
			continue
		case err == nil && seen:
			return false, nil
		case time.Since(moved) > replicaPatience:
			return true, fmt.Errorf("%w: a replica of WAIT lags behind", ErrUnavailable)
		}
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// scanTo gives each record under the subjects from sequence from to sequence to, in
// order; of WAIT, the headers only. The record at to is under one of them, and the scan
// has not ended before it was seen: a replica that lags behind says too early that
// there are no more.
func (q *Queue) scanTo(ctx context.Context, stream string, subjects []string, from, to uint64, each func(stored) error) error {
	in := q.newStreamReader(stream, from, subjects...)
	in.headers = stream == streamWait
	defer in.close()
	for {
		ms, err := in.read(ctx, readMax)
		if err != nil && ctx.Err() != nil || err != nil && !errors.Is(err, ErrUnavailable) {
			return err
		}
		for _, m := range ms {
			if m.seq > to {
				return nil
			}
			if err := each(m); err != nil {
				return err
			}
			if m.seq == to {
				return nil
			}
		}
		if len(ms) > 0 {
			continue
		}
		in.close() // the next one may be at another replica
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: reading %s up to %d: %w", ErrUnavailable, stream, to, errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
