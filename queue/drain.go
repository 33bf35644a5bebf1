package queue

import (
	"context"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// sweepLanes is how many due lanes make one pass over the stream in its own order
// cheaper than a look-up each: a cold look-up loads a whole block of 8 MiB.
const sweepLanes = 16

// Drain reads due deliveries from WAIT and hands them to take, for as long as ctx
// lives. room tells how many more of a lane the caller would take now; a lane
// without room is not read at all and costs nothing. Both functions must not block.
// One goroutine calls Drain.
func (q *Queue) Drain(ctx context.Context, room func(lane mail.Domain) int, take func(*Job)) error {
	d := &drainer{q: q, room: room, take: take}
	defer d.closeSweep()
	for ctx.Err() == nil {
		began := time.Now()
		next := q.lanes.ripen(began)
		read, err := d.pass(ctx)
		if err != nil && ctx.Err() == nil {
			q.log.Warn("reading WAIT failed, trying again", "error", err)
		}
		if read > 0 {
			continue
		}
		// Nothing had room. A pass over very many lanes must not be made for every
		// job that ends: rest ten times as long as it took.
		rest := 10 * time.Since(began)
		if err != nil {
			rest = max(rest, time.Second)
		}
		q.lanes.rest(ctx, rest, next)
	}
	return ctx.Err()
}

// rest waits at least for d, then until a lane has news or next has come.
func (l *lanes) rest(ctx context.Context, d time.Duration, next time.Time) {
	if d > 2*time.Millisecond {
		select {
		case <-ctx.Done():
			return
		case <-time.After(d):
		}
	}
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-l.wake:
	case <-due:
	}
}

// Kick says that some lane may have room again.
func (q *Queue) Kick() { q.lanes.poke() }

type drainer struct {
	q     *Queue
	room  func(mail.Domain) int
	take  func(*Job)
	sweep *slotReader // over the whole stream, in its order
	open  int         // lane readers the server keeps for us
}

// openReaders bounds the consumers on WAIT; the server allows a thousand.
const openReaders = 128

type wanted struct {
	lane *lane
	n    int
}

// pass reads once round the due lanes and returns how many jobs it handed over.
func (d *drainer) pass(ctx context.Context) (int, error) {
	d.closeDead()
	want, many := d.wanted()
	if len(want) == 0 {
		return 0, nil
	}
	if len(want) > sweepLanes && many {
		return d.sweepOn(ctx)
	}
	d.closeSweep()
	read := 0
	for _, w := range want {
		n, err := d.readLane(ctx, w)
		read += n
		if err != nil {
			return read, err
		}
	}
	return read, nil
}

// wanted lists the due lanes that have room. many tells that what they hold is a
// good part of the stream, so that reading it in order finds it soon.
func (d *drainer) wanted() (list []wanted, many bool) {
	l := d.q.lanes
	now := time.Now().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	var have int64
	kept := l.due[:0]
	for _, la := range l.due {
		n := la.available(now)
		if n <= 0 {
			la.inDue = false
			if len(la.slots) == 0 && la.held == nil && l.m[la.name] == la {
				delete(l.m, la.name)
			}
			continue
		}
		kept = append(kept, la)
		if r := d.room(la.name); r > 0 {
			list = append(list, wanted{la, min(r, n)})
			have += int64(n)
		}
	}
	clear(l.due[len(kept):])
	l.due = kept
	return list, have*20 > l.total
}

// readLane takes up to w.n jobs of one lane, its slots in the order they fell due.
func (d *drainer) readLane(ctx context.Context, w wanted) (int, error) {
	read := 0
	for read < w.n {
		s := d.dueSlot(w.lane)
		if s == nil {
			break
		}
		n, err := d.readSlot(ctx, s, w.n-read)
		read += n
		if err != nil {
			return read, err
		}
		if n == 0 {
			break
		}
	}
	return read, nil
}

// dueSlot returns the lane's first due slot with something to take, with a reader.
func (d *drainer) dueSlot(la *lane) *slot {
	l := d.q.lanes
	now := time.Now().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range la.slots {
		if s.at > now {
			break
		}
		if s.count-s.taken <= 0 {
			continue
		}
		if s.reader == nil {
			s.reader = d.q.newReader(s.subject(), 1)
		} else if s.reader.again < s.reader.next {
			s.reader.rewind()
		}
		return s
	}
	return nil
}

func (d *drainer) readSlot(ctx context.Context, s *slot, max int) (int, error) {
	r := s.reader
	was := r.cons != nil
	ms, err := r.read(ctx, max)
	if !was && r.cons != nil {
		if d.open++; d.open > openReaders {
			r.close() // it goes on where it was when it is opened again
			d.open--
		}
	}
	read := 0
	for _, m := range ms {
		if d.hand(m) {
			read++
		}
	}
	if err == nil && len(ms) == 0 {
		d.q.lanes.exhausted(s)
	}
	return read, err
}

// exhausted puts a slot's count right when its reader finds no more than is taken.
func (l *lanes) exhausted(s *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.reader != nil && s.reader.again < s.reader.next {
		return // something was given back meanwhile
	}
	if over := s.count - s.taken; over > 0 {
		s.misses++
		if s.misses < 3 { // a count may run a moment ahead of the reader
			return
		}
		s.count -= over
		l.total -= int64(over)
	}
	l.tidy(s)
}

// hand claims one stored delivery and hands its job over.
func (d *drainer) hand(m stored) bool {
	q := d.q
	r := &record{stream: streamWait, seq: m.seq, subject: m.subject}
	if taken, _ := q.claims.take(r); !taken {
		return false
	}
	q.lanes.take(m.subject)
	js, err := q.jobs(r, m.data)
	if err != nil {
		q.log.Error("a record of WAIT cannot be read; it stays where it is", "sequence", m.seq, "error", err)
		return false
	}
	for _, j := range js {
		d.take(j)
	}
	return len(js) > 0
}

// sweepOn reads the next stretch of the stream in its own order and hands over
// what is due and has room. Once round, it begins again.
func (d *drainer) sweepOn(ctx context.Context) (int, error) {
	if d.sweep == nil {
		d.sweep = d.q.newReader("wait.>", 1)
	}
	read := 0
	for turns := 0; turns < 2 && read == 0; {
		ms, err := d.sweep.read(ctx, 512)
		if err != nil {
			d.closeSweep()
			return read, err
		}
		if len(ms) == 0 {
			turns++
			d.sweep.close()
			d.sweep = d.q.newReader("wait.>", 1)
			continue
		}
		now := time.Now().UnixMilli()
		for _, m := range ms {
			n, err := parseSlot(m.subject)
			if err != nil || n.held || n.at > now || d.room(n.lane) <= 0 {
				continue
			}
			if d.hand(m) {
				read++
			}
		}
	}
	return read, nil
}

// closeDead closes the readers of slots that have been emptied.
func (d *drainer) closeDead() {
	l := d.q.lanes
	l.mu.Lock()
	dead := l.dead
	l.dead = nil
	l.mu.Unlock()
	for _, r := range dead {
		if r.cons != nil {
			r.close()
			d.open--
		}
	}
}

func (d *drainer) closeSweep() {
	if d.sweep != nil {
		d.sweep.close()
		d.sweep = nil
	}
}
