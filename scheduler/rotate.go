package scheduler

import "fmt"

// rotateEvery is how often full limits are looked at.
const rotateEvery = 50 * Millisecond

// trim asks for the end of what is more than the limit allows, since it was lowered:
// of those who have most, the oldest.
func (l *Leader) trim(c *slotCounter) {
	for c.max >= 0 && len(c.held)-c.ending > c.max {
		var most *slot
		for _, x := range c.held {
			if !x.ending && (most == nil || x.richer(most)) {
				most = x
			}
		}
		l.endSlot(most)
	}
}

// richer tells whether x rather than o is to be ended.
func (x *slot) richer(o *slot) bool {
	a, b := x.ln.held-x.ln.ending, o.ln.held-o.ln.ending
	if x.ln != o.ln && a != b {
		return a > b
	}
	if a, b := x.want.held-x.want.ending, o.want.held-o.want.ending; a != b {
		return a > b
	}
	return x.since < o.since
}

func (l *Leader) endSlot(x *slot) {
	x.ending = true
	x.ln.ending++
	x.want.ending++
	for _, c := range x.bound {
		c.ending++
	}
	l.emit(x.s.id, Order{EndSlot: x.id})
}

// enqueue has the limit's holders asked to let others have a turn.
func (l *Leader) enqueue(c *slotCounter) {
	if !c.queued {
		c.queued = true
		l.slots.full = append(l.slots.full, c)
	}
}

// rotate shares full limits fairly: where a lane, or a session within its lane, waits
// and another has more slots than it, the one that had its slot longest is asked to
// end it after the transaction under way.
func (l *Leader) rotate(now Time) {
	d := &l.slots
	if now-d.checked < rotateEvery {
		return
	}
	d.checked = now
	kept := d.full[:0]
	for _, c := range d.full {
		if len(c.waiting) == 0 {
			c.queued = false
			continue
		}
		kept = append(kept, c)
		l.rotateOne(c, now)
	}
	clear(d.full[len(kept):])
	d.full = kept
}

func (l *Leader) rotateOne(c *slotCounter, now Time) {
	coming := c.ending + c.resting // somebody of the queue gets these soon
	defer func() {
		for _, w := range c.waiting {
			w.ln.soon = 0
		}
	}()
	for i := range c.waiting {
		w := c.poorest(i)
		if !w.told && w.from+Second < now {
			l.tellSlot(w, fmt.Sprintf("all %d connections are in use (%s)", c.max, c.name))
		}
		if i < coming || c.room() {
			w.ln.soon++
			continue
		}
		var most *slot
		for _, x := range c.held {
			if !x.ending && x.since+l.p.SlotTurn <= now && x.yields(w) && (most == nil || x.richer(most)) {
				most = x
			}
		}
		if most != nil {
			l.endSlot(most)
		}
	}
}

// yields tells whether x's holder has more than w's, with what that one gets soon: of
// two lanes the lanes count, in one lane the sessions.
func (x *slot) yields(w *slotWant) bool {
	if x.ln != w.ln {
		return x.ln.held-x.ln.ending > w.ln.held+w.ln.soon
	}
	return x.want.held-x.want.ending > w.held
}

// tellSlot tells a session why it gets no slot.
func (l *Leader) tellSlot(w *slotWant, why string) {
	w.told = true
	l.emit(w.s.id, Order{Hold: &Hold{Lane: w.ln.Lane, Why: why}})
}
