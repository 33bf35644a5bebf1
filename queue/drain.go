package queue

import (
	"context"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// sweepLines is how many due lines make one pass over the stream in its own order
// cheaper than a look-up each: a cold look-up loads a whole block of 8 MiB.
const sweepLines = 16

// Drain reads due deliveries from WAIT and hands them to take, for as long as ctx
// lives. room tells how many more of a line the caller would take now; a line
// without room is not read at all and costs nothing. Both functions must not block.
// One goroutine calls Drain.
func (q *Queue) Drain(ctx context.Context, room func(mail.Line) int, take func(*Job)) error {
	d := &drainer{q: q, room: room, take: take}
	defer d.closeSweep()
	for ctx.Err() == nil {
		began := time.Now()
		next := q.lanes.ripen(began)
		read, err := d.pass(ctx)
		if err == nil {
			var again time.Time
			if again, err = d.look(ctx); !again.IsZero() && (next.IsZero() || again.Before(next)) {
				next = again
			}
		}
		if err != nil && ctx.Err() == nil {
			q.log.Warn("reading WAIT failed, trying again", "error", err)
		}
		if d.moved {
			d.moved = false
			_ = q.Flush(ctx) // all of it at once would not fit into memory
		}
		if read > 0 {
			continue
		}
		// Nothing had room. A pass over very many lines must not be made for every job
		// that ends: rest ten times as long as it took, unless it was the store that was slow.
		rest, most := min(10*time.Since(began), restMost), idleLook
		switch {
		case err != nil:
			rest, most = restMost, 0
		case d.missed:
			most = missedLook
		}
		q.lanes.rest(ctx, rest, most, next)
	}
	return ctx.Err()
}

// idleLook is how long Drain rests at most: a lost wake-up or a clock that was set
// costs a moment, not the mail. It rests for restMost at most whatever news comes. missedLook is for a line that counts more than was
// found, which may be stored only just now.
const idleLook, restMost, missedLook = 10 * time.Second, time.Second, 100 * time.Millisecond

// rest waits at least for d, then until a line has news, next has come or most is over.
func (l *lanes) rest(ctx context.Context, d, most time.Duration, next time.Time) {
	if d > 2*time.Millisecond {
		select {
		case <-ctx.Done():
			return
		case <-time.After(d):
		}
	}
	if !next.IsZero() {
		most = min(most, time.Until(next))
	}
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-l.wake:
	case <-t.C:
	}
}

// Kick says that some line may have room again.
func (q *Queue) Kick() { q.lanes.poke() }

type drainer struct {
	q     *Queue
	room  func(mail.Line) int
	take  func(*Job)
	sweep *slotReader // over the whole stream, in its order
	open  int         // line readers the server keeps for us
	// some line counted more in the last pass than was found
	missed bool
	moved  bool // something is on its way to its own line

	looking bool      // what is read now is overdue
	looked  time.Time // when that was done last
	late    []*record // what has been handed over so and may be in hand still
	// In a cluster: what the sweep is about to hand over, and how much of which line.
	gathered []stored
	asked    map[mail.Line]int
}

// openReaders bounds the consumers on WAIT; the server allows a thousand.
const openReaders = 128

type wanted struct {
	line *line
	n    int
}

// pass reads once round the due lines and returns how many jobs it handed over.
func (d *drainer) pass(ctx context.Context) (int, error) {
	d.closeDead()
	d.missed = false
	want, many := d.wanted()
	if len(want) == 0 {
		return 0, nil
	}
	if len(want) > sweepLines && many {
		if n, full, err := d.sweepOn(ctx, want); n > 0 || full || err != nil {
			return n, err
		}
		want = want[:sweepLines] // not there: these lines' counts are put right first
	}
	d.closeSweep()
	read := 0
	for _, w := range want {
		n, err := d.readLine(ctx, w)
		read += n
		if err != nil {
			return read, err
		}
	}
	return read, nil
}

// wanted lists the due lines that have room. many tells that what they hold is a
// good part of the stream, so that reading it in order finds it soon.
func (d *drainer) wanted() (list []wanted, many bool) {
	l := d.q.lanes
	now := time.Now().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	var have int64
	kept := l.due[:0]
	for i, li := range l.due {
		if len(list) > sweepLines && have*20 > l.total-l.taken {
			// It will be a pass through the stream, and needs to know no more: with a
			// hundred thousand lanes due, to ask about all took half the time of all.
			kept = append(kept, l.due[i:]...)
			break
		}
		n := li.available(now)
		if n <= 0 {
			li.inDue = false
			l.reclock(li, now)
			if len(li.slots) == 0 && li.held == nil && l.m[li.name] == li {
				delete(l.m, li.name)
			}
			continue
		}
		kept = append(kept, li)
		if r := d.room(li.name); r > 0 {
			list = append(list, wanted{li, min(r, n)})
			have += int64(n)
		}
	}
	clear(l.due[len(kept):])
	l.due = kept
	return list, have*20 > l.total-l.taken
}

// readLine takes up to w.n jobs of one line, its slots in the order they fell due.
func (d *drainer) readLine(ctx context.Context, w wanted) (int, error) {
	read := 0
	for read < w.n {
		s, r := d.dueSlot(w.line)
		if s == nil {
			break
		}
		n, more, err := d.readSlot(ctx, s, r, w.n-read)
		read += n
		if err != nil || !more {
			return read, err
		}
	}
	return read, nil
}

// dueSlot returns the line's first due slot with something to take, with a reader.
func (d *drainer) dueSlot(li *line) (*slot, *slotReader) {
	l := d.q.lanes
	now := time.Now().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range li.slots {
		if s.at > now {
			break
		}
		if s.count-s.taken <= 0 {
			continue
		}
		return s, d.readerLocked(s)
	}
	return nil, nil
}

func (d *drainer) readerOf(s *slot) *slotReader {
	d.q.lanes.mu.Lock()
	defer d.q.lanes.mu.Unlock()
	return d.readerLocked(s)
}

// readerLocked returns the reader of a slot, ready for what comes next. The caller
// holds lanes.mu.
func (d *drainer) readerLocked(s *slot) *slotReader {
	if s.reader == nil {
		s.reader = d.q.newReader(1, s.subject())
		s.reader.headers = d.q.team != nil // see handShared
		s.reader.open = &d.open
	} else if s.reader.again < s.reader.next {
		s.reader.rewind()
	}
	few := fewRecords
	if d.q.team != nil {
		few = leaderRead
	}
	s.reader.leader = s.count-s.taken <= few
	return s.reader
}

// fewRecords is up to how many records are worth no consumer; leaderRead in a cluster,
// where making one is a decision of all servers.
const fewRecords, leaderRead = 3, 16

// readSlot hands over up to max deliveries of a slot. more tells that its reader
// found any at all, be they in somebody's hand.
func (d *drainer) readSlot(ctx context.Context, s *slot, r *slotReader, max int) (read int, more bool, err error) {
	ms, err := r.read(ctx, max)
	read, more = d.handAll(ctx, ms), len(ms) > 0
	if err == nil && !more && d.q.lanes.short(s) > 0 {
		d.missed = true
		read, err = d.recount(ctx, s, r, max)
		more = read > 0
	}
	if d.open > openReaders {
		r.close()
	}
	return read, more, err
}

func (d *drainer) handAll(ctx context.Context, ms []stored) (n int) {
	if d.q.team != nil {
		return d.handShared(ctx, ms)
	}
	for _, m := range ms {
		if d.hand(m) {
			n++
		}
	}
	return n
}

// hand claims one stored delivery and hands its job over.
func (d *drainer) hand(m stored) bool {
	r := &record{stream: streamWait, seq: m.seq, subject: m.subject}
	if taken, _ := d.q.claims.take(r); !taken {
		return false
	}
	d.q.lanes.take(r)
	return d.handRecord(r, m)
}

// handRecord hands over what has been claimed.
func (d *drainer) handRecord(r *record, m stored) bool {
	js, err := d.q.jobs(r, m.data)
	if err != nil {
		d.q.log.Error("a record of WAIT cannot be read; it stays where it is", "sequence", m.seq, "error", err)
		d.q.claims.shelve(r)
		return false
	}
	if d.looking {
		d.late = append(d.late, r)
	}
	for _, j := range js {
		j.overdue = d.looking
		if d.misplaced(j) {
			j.Wait(j.Delivery, nil)
			d.moved = true
			continue
		}
		d.take(j)
	}
	return len(js) > 0
}

// misplaced tells whether a delivery lies in another line than its own: it was stored
// when a lane had only one.
func (d *drainer) misplaced(j *Job) bool {
	n, err := parseSlot(j.rec.subject)
	return err == nil && n.line != j.Line()
}

// closeDead closes the readers of slots that have been emptied.
func (d *drainer) closeDead() {
	l := d.q.lanes
	l.mu.Lock()
	dead := l.dead
	l.dead = nil
	l.mu.Unlock()
	for _, r := range dead {
		r.close()
	}
}
