package queue

import (
	"container/heap"
	"context"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Mail that cannot be attempted, because its destination is suspended, its window is
// shut or no host answers, must be looked at all the same when its time is up: somebody
// has to tell its sender. So each slot of WAIT carries the deadline of what lies in it,
// and once that has passed Drain hands the slot over without asking for room, a little
// at a time. Until then a million that wait are not looked at once.

// deadline is by when a delivery that is about to wait must be looked at, in Unix seconds.
func (q *Queue) deadline(d *mail.Delivery, now time.Time) int64 {
	by := d.Expires
	if q.o.Deadline != nil {
		by = q.o.Deadline(d)
	}
	switch far := now.Add(deadlineMost); {
	case by.IsZero() || by.After(far):
		by = far
	case by.Before(now.Add(lookAgain)):
		by = now.Add(lookAgain) // it has just been looked at
	}
	w := int64(deadlineWidth(by.Sub(now)) / time.Second)
	return (by.Unix() + w) / w * w
}

const (
	// deadlineMost is how long anything may lie unseen, whatever its deadline.
	deadlineMost = 30 * 24 * time.Hour
	// lookAgain is the least time between two looks at the same delivery.
	lookAgain = time.Minute
	// lookGrace is for how long after its deadline a delivery that is due may still be
	// read in its turn, for a last attempt.
	lookGrace = 10 * time.Second
	// undatedLook is when what an older version stored without a deadline is looked at.
	undatedLook = 10 * time.Minute
)

// deadlineWidth bounds how late a look may be: what is due together and has its deadline
// about the same time shares a slot. It is never less than the slot's own width.
func deadlineWidth(left time.Duration) time.Duration {
	switch {
	case left < 2*time.Minute:
		return 10 * time.Second
	case left < 20*time.Minute:
		return time.Minute
	case left < 3*time.Hour:
		return 5 * time.Minute
	case left < 12*time.Hour:
		return 15 * time.Minute
	case left < 48*time.Hour:
		return time.Hour
	default:
		return 4 * time.Hour
	}
}

// watch puts a slot among those whose deadline is waited for. The caller holds mu.
func (l *lanes) watch(s *slot, now time.Time) {
	if s.held || s.watched >= 0 || s.overdue {
		return
	}
	if s.lookAt == 0 {
		s.lookAt = now.Add(undatedLook).UnixMilli()
		if s.until != 0 {
			s.lookAt = time.Unix(s.until, 0).Add(lookGrace).UnixMilli()
		}
	}
	heap.Push(&l.deadlines, s)
	if l.deadlines[0] == s {
		l.poke()
	}
}

func (l *lanes) unwatch(s *slot) {
	if s.watched >= 0 {
		heap.Remove(&l.deadlines, s.watched)
	}
}

// passDeadlines moves slots whose deadline has passed to those that are overdue. The caller holds mu.
func (l *lanes) passDeadlines(now time.Time) {
	for len(l.deadlines) > 0 && l.deadlines[0].lookAt <= now.UnixMilli() {
		s := heap.Pop(&l.deadlines).(*slot)
		s.overdue = true
		l.overdue = append(l.overdue, s)
	}
}

// nextOverdue returns a slot to be looked at, the one served longest ago first.
func (l *lanes) nextOverdue() *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.overdue) > 0 {
		s := l.overdue[0]
		l.overdue = l.overdue[1:]
		if s.count-s.taken > 0 {
			l.overdue = append(l.overdue, s)
			return s
		}
		s.overdue = false // what comes back from a hand is watched again
	}
	l.overdue = nil
	return nil
}

// How much of what is overdue may be in hand at a time, and how often more is read: a
// million whose senders must all be told leave room for other mail.
const (
	lookMost  = 64
	lookPause = 100 * time.Millisecond
)

// look hands over some of what is overdue, and returns when it should be called again;
// zero: when another deadline has passed.
func (d *drainer) look(ctx context.Context) (again time.Time, err error) {
	if wait := d.looked.Add(lookPause); time.Now().Before(wait) {
		return wait, nil
	}
	d.looked = time.Now()
	left := d.late[:0]
	for _, r := range d.late {
		if d.q.claims.hasRecord(r) {
			left = append(left, r)
		}
	}
	clear(d.late[len(left):])
	d.late, d.looking = left, true
	defer func() { d.looking = false }()
	for turns := 0; len(d.late) < lookMost && turns < lookMost; turns++ {
		s := d.q.lanes.nextOverdue()
		if s == nil {
			return again, nil
		}
		again = d.looked.Add(lookPause)
		if _, _, err := d.readSlot(ctx, s, d.readerOf(s), min(lookMost-len(d.late), 16)); err != nil {
			return again, err
		}
	}
	return d.looked.Add(lookPause), nil
}

// hasRecord tells whether the claim on r stands.
func (c *claims) hasRecord(r *record) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of(r.stream)[r.seq] == r
}

type deadlineHeap []*slot

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].lookAt < h[j].lookAt }
func (h deadlineHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].watched, h[j].watched = i, j
}
func (h *deadlineHeap) Push(x any) {
	s := x.(*slot)
	s.watched = len(*h)
	*h = append(*h, s)
}
func (h *deadlineHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	s.watched = -1
	*h = old[:len(old)-1]
	return s
}
