package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
)

// Whole lines are removed without reading their mail: what waits is read by its
// headers, which name the deliveries, each is journaled, and then a subject is purged
// up to where it was read. One delivery after another would cost ten times as much.
// While a deliverer has something of a subject in hand there, what is read is removed
// one by one.

// removeChunk is how many records are claimed, journaled and removed together.
const removeChunk = 4096

// purgeFrom is how many records of one subject are worth a purge.
const purgeFrom = 8

// removeAll removes everything of the lines that the action means. It begins at the
// start whatever was done before, which is gone.
func (p *pass) removeAll(ctx context.Context) error {
	c := &removeChunks{p: p, busy: map[string][]stored{}}
	err := p.read(ctx, 1, true, func(ms []stored) error {
		for _, m := range ms {
			c.claim(m)
		}
		if len(ms) > 0 {
			p.mu.Lock()
			p.at = ms[len(ms)-1].seq
			p.mu.Unlock()
		}
		if p.yields() {
			return errYield
		}
		if len(c.list) < removeChunk {
			return nil
		}
		return c.remove(ctx)
	})
	for len(c.list) > 0 {
		if e := c.remove(ctx); err == nil {
			err = e
		}
	}
	if errors.Is(err, errYield) {
		return err // it will be begun anew, and then count what is in hand
	}
	for _, ms := range c.busy {
		p.count(func(r *Result) { r.Busy += len(ms); r.Matched += len(ms) })
	}
	return err
}

// removeChunks is the records that are removed together.
type removeChunks struct {
	p    *pass
	list []*Job
	busy map[string][]stored // by subject: in a deliverer's hand when they were read
}

// claim claims one record, if it is meant.
func (c *removeChunks) claim(m stored) {
	p := c.p
	s, err := parseSlot(m.subject)
	if err != nil || !p.m.line(s.line) || p.m.Held != nil && *p.m.Held != s.held {
		return
	}
	id, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader))
	if !ok || madeAfter(id.delivery, p.x.At) {
		return
	}
	message, index := mail.SplitDeliveryID(id.delivery)
	r, what := p.q.claimFor(m)
	switch what {
	case claimBusy:
		c.busy[m.subject] = append(c.busy[m.subject], m)
		return
	case claimGone:
		return
	}
	r.mu.Lock()
	r.jobs, r.open, r.message, r.fresh = 1, 1, message, time.Now()
	r.mu.Unlock()
	c.list = append(c.list, &Job{q: p.q, rec: r, Delivery: mail.Delivery{
		Message: &mail.Message{ID: message, Tenant: s.line.Tenant, Class: s.line.Class}, Index: index,
		Destination: s.line.Destination, Route: s.line.Route, Generation: id.generation, Held: s.held,
	}})
}

// madeAfter tells whether a message came in after t, by its id.
func madeAfter(delivery string, t time.Time) bool {
	message, _ := mail.SplitDeliveryID(delivery)
	at, ok := mail.IDTime(message)
	return ok && at.After(t)
}

// remove journals what was claimed and then removes it. The order is the promise: what
// is gone and nowhere in the journal would look lost. Once it is journaled it is over and
// must go, also when the action is cancelled; only the queue's end keeps it, for the next
// run to remove.
func (c *removeChunks) remove(ctx context.Context) error {
	p := c.p
	list, err := c.ours(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	note := p.x.journalNote()
	done := make(chan struct{}, len(list))
	for _, j := range list {
		p.q.journal.attempt(j, &Attempt{Note: note}, true, func() { done <- struct{}{} })
	}
	for range list {
		select {
		case <-done:
		case <-p.q.life.Done():
			return p.q.life.Err() // the journal may never say
		}
	}
	by := map[string][]*Job{}
	for _, j := range list {
		by[j.rec.subject] = append(by[j.rec.subject], j)
	}
	for subject, js := range by {
		c.removeSubject(p.q.life, subject, js)
		p.count(func(r *Result) { r.Matched += len(js); r.Changed += len(js) })
	}
	return nil
}

// ours takes the list, and gives back what may not be journaled: all of it when the
// action has been ended, and what another node may have by now.
func (c *removeChunks) ours(ctx context.Context) (list []*Job, err error) {
	q := c.p.q
	list, c.list = c.list, nil
	if err := ctx.Err(); err != nil {
		c.giveBack(list)
		return nil, err
	}
	if q.team == nil {
		return list, nil
	}
	known := map[*hold]error{}
	kept := list[:0:0]
	for i, j := range list {
		err, asked := known[j.rec.hold]
		if !asked {
			err = q.await(ctx, j.rec)
			known[j.rec.hold] = err
		}
		switch {
		case err == nil:
			kept = append(kept, j)
		case errors.Is(err, errNotOurs):
			q.giveBack(j.rec) // the rest of the partition is its next holder's
		default:
			c.giveBack(kept)
			c.giveBack(list[i:])
			return nil, err
		}
	}
	return kept, nil
}

// giveBack lets others have what was claimed and not journaled.
func (c *removeChunks) giveBack(list []*Job) {
	for _, j := range list {
		c.p.q.giveBack(j.rec)
	}
}

// removeSubject removes the journaled records of one subject, which the pass has read
// up to the last of them.
func (c *removeChunks) removeSubject(ctx context.Context, subject string, js []*Job) {
	q := c.p.q
	c.busy[subject] = slices.DeleteFunc(c.busy[subject], func(m stored) bool {
		// Given back meanwhile, it is ours; ended, it is nobody's.
		if !q.claims.has(streamWait, m.seq) {
			c.claim(m)
			return true
		}
		return false
	})
	if len(c.busy[subject]) == 0 {
		delete(c.busy, subject)
	}
	// What was claimed just now is not journaled yet and must not be purged.
	again := slices.ContainsFunc(c.list, func(j *Job) bool { return j.rec.subject == subject })
	if len(js) < purgeFrom || c.busy[subject] != nil || again || q.standing(js[0].rec) != ours {
		c.oneByOne(js)
		return
	}
	last := slices.MaxFunc(js, func(a, b *Job) int { return cmp.Compare(a.rec.seq, b.rec.seq) }).rec.seq
	if err := q.purge(ctx, subject, last); err != nil {
		q.log.Warn("removing what waits under one subject failed; it is removed one by one", "subject", subject, "count", len(js), "error", err)
		c.oneByOne(js)
		return
	}
	for _, j := range js {
		q.claims.finish(j.rec)
		q.lanes.removed(j.rec)
		q.journal.leave(j.rec)
	}
}

// oneByOne removes in the background, for as long as it takes.
func (c *removeChunks) oneByOne(js []*Job) {
	for _, j := range js {
		c.p.q.removals.add(removal{rec: j.rec, wave: c.p.q.settler.underway.begin()})
	}
}

// purge removes what lies under a subject of WAIT up to a sequence.
func (q *Queue) purge(ctx context.Context, subject string, upTo uint64) error {
	var a struct {
		Error *jetstream.APIError `json:"error"`
	}
	b, err := json.Marshal(struct {
		Filter string `json:"filter"`
		Seq    uint64 `json:"seq"` // up to, and not with it
	}{subject, upTo + 1})
	if err != nil {
		return err
	}
	err = q.ask(ctx, "$JS.API.STREAM.PURGE."+streamWait, b, &a)
	if err == nil && a.Error != nil {
		err = a.Error
	}
	if err != nil {
		return fmt.Errorf("%w: removing what waits under %s: %w", ErrUnavailable, subject, err)
	}
	return nil
}
