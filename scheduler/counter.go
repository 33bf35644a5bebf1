package scheduler

import (
	"container/heap"
	"slices"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// counter is one counter as the leader knows it: the past, the windows on it, and
// what of it is reserved in the log.
type counter struct {
	ledger
	name    string
	from    *origin
	id      uint64 // in the log; 0: not there yet
	version uint64 // of the rules its windows are of
	keep    Time

	open    int64  // reserved, committed, and not known to have started when
	inUse   int64  // granted out of open
	out     int64  // granted, and nobody has reported on it
	asked   int64  // reserved in entries under way
	pending []cell // started, and not in the log yet
	rate    float64
	count   int64 // granted since
	since   Time
	last    Time // when something was last granted
	keepLog Time // what the log knows of keep

	others *others // starts of other classes than high, where these are fewer; nil: they are all
	queue  *turns  // lanes that found it full; nil: none waits
	wake   Time    // when the first of them may go on
	short  int64   // so many reservations it waits for, if starved

	index   int32 // in Leader.sleep; -1: not there
	at      int32 // in Leader.list
	lanes   int32 // bound by it
	flights int32 // entries under way that speak of it
	logGrid uint8 // how exactly the log needs to know starts, as a power of two
	weighs  bool  // it counts recipients
	tailed  bool  // older terms may have used more than the history tells
	touched bool  // a report made room
	starved bool  // the first of the queue waits for a reservation
	dirty   bool
	pooled  bool
}

// origin is where a counter's windows came from.
type origin struct {
	rule    shaping.RuleRef
	lowered []shaping.Lowered
}

// counterFor finds the counter of a bound, with the windows of the rules in force.
func (l *Leader) counterFor(b *shaping.Bound, now Time) *counter {
	c := l.counters[b.Counter]
	if c == nil {
		c = l.loadCounter(b.Counter, b.Unit, now)
	}
	fresh := c.version != l.version || len(c.windows) == 0
	var ws []window
	if !fresh {
		// The same counter may be bounded by several rules (of destinations that
		// differ in the name alone); all of them hold.
		ws = c.windows
	} else if l.p.broken == lostHistory && c.version != 0 {
		c.cells, c.others = nil, nil
	}
	n := len(ws)
	for _, w := range b.Windows {
		ws = l.merge(c, ws, w, b.Unit)
	}
	if fresh || len(ws) != n {
		c.version = l.version
		l.setBounds(c, ws, now)
	}
	return c
}

// loadCounter begins with what the log knows.
func (l *Leader) loadCounter(name string, unit shaping.Field, now Time) *counter {
	c := &counter{name: name, weighs: unit == shaping.Recipients, index: -1, at: int32(len(l.list)), since: now, keep: l.p.Keep}
	if h := l.f.byName[name]; h != nil && !l.forgetting[h.id] {
		c.name, c.id, c.tailed, c.keepLog = h.name, h.id, h.tailed, h.keep
		c.cells = append(make([]cell, 0, len(h.cells)+2), h.cells...)
	}
	l.counters[c.name] = c
	l.list = append(l.list, c)
	return c
}

// merge adds a window; of two of the same length the smaller counts.
func (l *Leader) merge(c *counter, ws []window, b shaping.Window, unit shaping.Field) []window {
	length, kept := Time(b.Length), 0
	if unit != shaping.NewConnections { // which carry mail of all classes
		kept = l.table.Shares().Kept(b.Max)
	}
	for i := range ws {
		if w := &ws[i]; w.length == length {
			if int64(b.Max) < w.max {
				w.max, w.kept = int64(b.Max), clip(kept)
			}
			return ws
		}
	}
	w := window{max: int64(b.Max), kept: clip(kept), length: length, wide: l.p.widened(length)}
	// A short window is finer than the log is kept. Where something was reserved when
	// the term began, it is full until the last grant of older terms has left it.
	if length <= l.p.ShortWindow && c.tailed && l.p.broken != noShortWait {
		w.shut = l.f.oldHorizon + w.wide
	}
	return append(ws, w)
}

func (l *Leader) setBounds(c *counter, ws []window, now Time) {
	c.setWindows(ws, now)
	if c.others != nil {
		c.others.setWindows(slices.Clone(c.windows), now)
	}
	c.keep, c.logGrid = l.p.Keep, 28 // a quarter of a second
	for i := len(c.windows) - 1; i >= 0; i-- {
		w := &c.windows[i]
		if w.length > l.p.ShortWindow {
			c.logGrid = w.grid
		}
		c.keep = max(c.keep, up(w.wide+5*Second, Second))
		if l.p.broken == noShortWait && w.length <= l.p.ShortWindow && c.tailed && c.last == 0 {
			w.first, w.count = int32(len(c.cells)), 0
		}
	}
}

// free is how many starts may be granted before more must be reserved.
func (c *counter) free(p Params) int64 {
	if p.broken == grantUncommitted {
		return c.open + c.asked - c.inUse
	}
	return c.open - c.inUse
}

// target is how many reservations are good to have: enough for the time until more
// are committed, few enough that a new leader, who must count them as used, loses
// little of the window.
func (c *counter) target(p Params) int64 {
	span, most := 2500*Millisecond, int64(1<<40)
	for i := range c.windows {
		if w := &c.windows[i]; w.length > p.ShortWindow {
			span, most = min(max(w.length/512, 500*Millisecond), 10*Second), w.max
			break
		}
	}
	small := most
	for i := range c.windows {
		w := &c.windows[i]
		small = min(small, w.max)
		most = min(most, w.max*int64(span/w.length+2)) // no more can start in that time
	}
	return min(int64(1.5*c.rate*float64(span))+max(1, min(16, small/64)), most)
}

// mark has the next entry speak of the counter.
func (l *Leader) mark(c *counter) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

// starve makes the counter wait for a reservation: of as much as the demand that is
// first can have now.
func (l *Leader) starve(c *counter, w *want, now Time) {
	n, need := min(int64(w.n), int64(w.ln.quantum)), c.need(w)
	if c.weighs {
		n = (int64(w.recipients)*n + int64(w.n) - 1) / int64(w.n)
	}
	c.starved, c.short = true, max(need, min(n, l.room(c, w.ln.Class, now)))
	l.mark(c)
	l.hungry = true
	if c.index >= 0 {
		heap.Remove(&l.sleep, int(c.index))
	}
}

// doze has the counter woken when room appears for the first in its queue.
func (l *Leader) doze(c *counter, at Time) {
	c.wake = at
	switch {
	case c.starved:
		if c.index >= 0 {
			heap.Remove(&l.sleep, int(c.index))
		}
	case c.index >= 0:
		heap.Fix(&l.sleep, int(c.index))
	default:
		heap.Push(&l.sleep, c)
	}
}

// rekey finds anew when those counters have room in which a report changed something.
func (l *Leader) rekey(now Time) {
	for _, c := range l.touched {
		c.touched = false
		if w := c.head(); w != nil && !c.starved {
			c.advance(now, c.keep)
			l.doze(c, l.earliest(c, w.ln.Class, now, c.need(w)))
		}
	}
	l.touched = l.touched[:0]
}

// touch remembers that a report made room.
func (l *Leader) touch(c *counter) {
	if !c.touched && c.waiting() > 0 {
		c.touched = true
		l.touched = append(l.touched, c)
	}
}

// waiting counts the lanes in the queue.
func (c *counter) waiting() int {
	if c.queue == nil {
		return 0
	}
	return c.queue.lanes
}

func (c *counter) enqueue(ln *lane) {
	if c.queue == nil {
		c.queue = new(turns)
	}
	c.queue.push(ln)
}

// dequeue takes the first lane out.
func (c *counter) dequeue() *lane {
	ln := c.queue.pop()
	ln.state, ln.on = laneIdle, nil
	if c.queue.lanes == 0 {
		c.queue = nil // most counters have no queue most of the time
	}
	return ln
}

// head is the demand of the first lane in the queue; lanes without one leave it.
func (c *counter) head() *want {
	for c.waiting() > 0 {
		ln := c.queue.first()
		if w := ln.peek(); w != nil {
			return w
		}
		c.dequeue()
	}
	return nil
}

// behind tells whether mail of a class has to wait for others that wait already.
func (c *counter) behind(class mail.Class) bool { return c.queue != nil && c.queue.before(class) }

// need is how much of the counter the demand's first transaction takes.
func (c *counter) need(w *want) int64 {
	if c.weighs {
		return int64(max(1, w.head))
	}
	return 1
}

// wake serves the queue of a counter as long as there is room, each lane in turn.
func (l *Leader) wake(c *counter, now Time) {
	c.advance(now, c.keep)
	for {
		w := c.head()
		if w == nil {
			return
		}
		need := c.need(w)
		at := l.earliest(c, w.ln.Class, now, need)
		if at == never {
			c.dequeue()
			l.refuse(w, c, now)
			continue
		}
		if at > now+l.p.Lookahead {
			l.doze(c, at)
			return
		}
		if c.free(l.p) < need {
			l.starve(c, w, now)
			return
		}
		ln := c.dequeue()
		l.serve(ln, c, now)
	}
}

// sleepers is a heap by wake.
type sleepers []*counter

func (h sleepers) Len() int           { return len(h) }
func (h sleepers) Less(i, j int) bool { return h[i].wake < h[j].wake }
func (h sleepers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = int32(i), int32(j)
}
func (h *sleepers) Push(x any) {
	c := x.(*counter)
	c.index = int32(len(*h))
	*h = append(*h, c)
}
func (h *sleepers) Pop() any {
	old := *h
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	c.index = -1
	return c
}
func (h *sleepers) pop() *counter { return heap.Pop(h).(*counter) }
