package queue

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// lanes counts what waits, by line and slot: an entry per slot, none per message.
type lanes struct {
	mu    sync.Mutex
	m     map[mail.Line]*line
	clock slotHeap // slots that are not due yet
	due   []*line  // lines with a due slot, in turn

	deadlines deadlineHeap // slots whose deadline is to come
	overdue   []*slot      // and those whose has passed, in turn

	total int64 // deliveries in WAIT
	held  int64 // of them, kept by an operator
	taken int64 // of them, in somebody's hand
	// of them, in damaged files, which are in no slot's count any more
	unreadable int64
	dead       []*slotReader // readers of slots that are gone
	wake       chan struct{}
}

type line struct {
	name  mail.Line
	slots []*slot // as they fall due
	held  []*slot
	inDue bool
}

type slot struct {
	slotName
	line   *line
	count  int // in the stream, those taken included
	taken  int // in somebody's hand
	inHeap bool
	reader *slotReader

	watched int   // its place among those whose deadline is waited for; -1: it is not there
	overdue bool  // it is among those whose deadline has passed
	lookAt  int64 // Unix milliseconds: its deadline and the grace

	// how often something was added, taken or given back
	changes int
}

func newLanes() *lanes {
	return &lanes{m: map[mail.Line]*line{}, wake: make(chan struct{}, 1)}
}

// add counts one more delivery in the slot.
func (l *lanes) add(n slotName) { l.addN(n, 1) }

func (l *lanes) addN(n slotName, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(n, count)
}

// addHeld counts deliveries of a partition, unless it is held no longer.
func (l *lanes) addHeld(h *hold, n slotName, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !h.dropped {
		l.addLocked(n, count)
	}
}

// drop forgets what lies in a partition.
func (l *lanes) drop(h *hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.dropped {
		return
	}
	h.dropped = true
	for _, li := range l.m {
		for _, list := range [][]*slot{li.slots, li.held} {
			for _, s := range slices.Clone(list) {
				if s.part != h.part {
					continue
				}
				l.total -= int64(s.count)
				if s.held {
					l.held -= int64(s.count)
				}
				l.taken -= int64(s.taken)
				s.count, s.taken = 0, 0
				l.tidy(s)
			}
		}
	}
}

func (l *lanes) addLocked(n slotName, count int) {
	s := l.slot(n, true)
	s.changes++
	s.count += count
	l.total += int64(count)
	if n.held {
		l.held += int64(count)
	} else {
		now := time.Now()
		l.schedule(s, now)
		l.watch(s, now)
	}
	l.tidy(s) // it may have been read, delivered and removed before it was counted
}

// slot finds a slot, or makes it. The caller holds mu.
func (l *lanes) slot(n slotName, make bool) *slot {
	li := l.m[n.line]
	if li == nil {
		if !make {
			return nil
		}
		li = &line{name: n.line}
		l.m[n.line] = li
	}
	list := &li.slots
	if n.held {
		list = &li.held
	}
	i, ok := slices.BinarySearchFunc(*list, n, func(s *slot, n slotName) int { return s.compare(n) })
	if !ok {
		if !make {
			return nil
		}
		*list = slices.Insert(*list, i, &slot{slotName: n, line: li, watched: -1})
	}
	return (*list)[i]
}

// schedule puts a slot where it is noticed: among the due, or on the clock. The caller holds mu.
func (l *lanes) schedule(s *slot, now time.Time) {
	if s.at <= now.UnixMilli() {
		l.markDue(s.line)
	} else if !s.inHeap {
		s.inHeap = true
		heap.Push(&l.clock, s)
		l.poke()
	}
}

func (l *lanes) markDue(li *line) {
	if !li.inDue {
		li.inDue = true
		l.due = append(l.due, li)
	}
	l.poke()
}

func (l *lanes) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// ripen moves slots that have come due from the clock to their lines, and those whose
// deadline has passed to the overdue. It returns when there is more to do.
func (l *lanes) ripen(now time.Time) (next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passDeadlines(now)
	if len(l.deadlines) > 0 {
		next = time.UnixMilli(l.deadlines[0].lookAt)
	}
	for len(l.clock) > 0 {
		s := l.clock[0]
		if s.at > now.UnixMilli() {
			if due := time.UnixMilli(s.at); next.IsZero() || due.Before(next) {
				next = due
			}
			break
		}
		heap.Pop(&l.clock)
		s.inHeap = false
		if s.count > 0 {
			l.markDue(s.line)
		}
	}
	return next
}

// reclock puts slots of a line back on the clock that had come due before the
// clock was set back. The caller holds mu.
func (l *lanes) reclock(li *line, now int64) {
	for _, s := range li.slots {
		if s.at > now && !s.inHeap {
			s.inHeap = true
			heap.Push(&l.clock, s)
		}
	}
}

// available tells how many due deliveries of the line nobody holds. The caller holds mu.
func (li *line) available(now int64) int {
	n := 0
	for _, s := range li.slots {
		if s.at > now {
			break
		}
		n += max(s.count-s.taken, 0) // one that is read before it is counted is less than none
	}
	return n
}

// removed uncounts a delivery that has left the stream.
func (l *lanes) removed(r *record) {
	l.edit(r, func(s *slot) {
		s.count--
		s.taken--
		l.total--
		l.taken--
		if s.held {
			l.held--
		}
		l.tidy(s)
	})
}

// gone uncounts a delivery that left the stream without having been taken.
func (l *lanes) gone(r *record) {
	l.edit(r, func(s *slot) {
		s.count--
		l.total--
		if s.held {
			l.held--
		}
		l.tidy(s)
	})
}

// untake lets a delivery that was given back be read again.
func (l *lanes) untake(r *record) {
	l.edit(r, func(s *slot) {
		s.taken--
		l.taken--
		s.changes++
		if s.reader != nil {
			s.reader.again = min(s.reader.again, r.seq)
		}
		if !s.held {
			now := time.Now()
			l.schedule(s, now)
			l.watch(s, now)
		}
		l.tidy(s)
	})
}

// mistaken undoes take for what has left the stream before and is counted no more.
func (l *lanes) mistaken(r *record) {
	l.edit(r, func(s *slot) {
		s.taken--
		l.taken--
		s.changes++
		l.tidy(s)
	})
}

// later lets a delivery that was read too early be read again.
func (l *lanes) later(r *record) {
	l.edit(r, func(s *slot) {
		if s.reader != nil {
			s.reader.again = min(s.reader.again, r.seq)
		}
		l.tidy(s)
	})
}

// take counts a delivery as in somebody's hand.
func (l *lanes) take(r *record) {
	l.edit(r, func(s *slot) {
		s.taken++
		l.taken++
		s.changes++
	})
}

func (l *lanes) edit(r *record, f func(*slot)) {
	n, err := parseSlot(r.subject)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.hold != nil && r.hold.dropped {
		return // its partition is another's, or counted anew
	}
	if s := l.slot(n, true); s != nil {
		f(s)
	}
}

// tidy forgets an empty slot and an empty line. The caller holds mu.
func (l *lanes) tidy(s *slot) {
	if s.count != 0 || s.taken != 0 {
		return // below zero: read before it was counted, which comes yet
	}
	li := s.line
	list := &li.slots
	if s.held {
		list = &li.held
	}
	l.unwatch(s)
	if i := slices.Index(*list, s); i >= 0 {
		*list = slices.Delete(*list, i, i+1)
	}
	if len(*list) == 0 {
		*list = nil
	}
	if s.reader != nil {
		l.dead = append(l.dead, s.reader) // the drainer may be reading it: it closes it
		s.reader = nil
	}
	if len(li.slots) == 0 && li.held == nil && !li.inDue && l.m[li.name] == li {
		delete(l.m, li.name)
	}
}

type slotHeap []*slot

func (h slotHeap) Len() int           { return len(h) }
func (h slotHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h slotHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *slotHeap) Push(x any)        { *h = append(*h, x.(*slot)) }
func (h *slotHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
