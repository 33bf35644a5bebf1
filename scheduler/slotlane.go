package scheduler

// slotCounter finds a limit of connections by its name.
func (l *Leader) slotCounter(name string) *slotCounter {
	d := &l.slots
	c := d.counters[name]
	if c == nil {
		c = &slotCounter{name: name, max: -1}
		if h := l.f.byName[name]; h != nil && !l.forgetting[h.id] {
			c.name, c.id = h.name, h.id
		}
		d.counters[c.name] = c
	}
	return c
}

// look has the counter looked at in the next Turn.
func (l *Leader) look(c *slotCounter) {
	if !c.dirty {
		c.dirty = true
		l.slots.changed = append(l.slots.changed, c)
	}
}

// slotLaneFor finds a lane and binds it by the rules in force.
func (l *Leader) slotLaneFor(key Lane) *slotLane {
	key.Kind = Connection
	ln := l.slots.lanes[key]
	if ln == nil {
		ln = &slotLane{Lane: key}
		l.slots.lanes[key] = ln
	}
	if ln.version != l.version || ln.counters == nil {
		l.bindSlots(ln)
	}
	return ln
}

func (l *Leader) bindSlots(ln *slotLane) {
	for _, c := range ln.counters {
		c.lanes--
	}
	b := l.table.Bounds(ln.Dest, ln.Source, ln.Tenant)
	ln.version, ln.counters, ln.shut = l.version, make([]*slotCounter, 0, len(b.Slots)), ""
	for _, x := range b.Slots {
		c := l.slotCounter(x.Counter)
		c.max, c.from = x.Max, x.From
		c.lanes++
		ln.counters = append(ln.counters, c)
		l.look(c)
	}
	if b.Suspended != nil {
		ln.shut = "suspended"
		if r := b.Suspended.Reason; r != "" {
			ln.shut += ": " + r
		}
	}
}

// rebindSlots counts the slots that are held by the new rules. Where a limit has come
// down, the holders are asked to end what is too much.
func (l *Leader) rebindSlots(now Time) {
	for _, c := range l.slots.counters {
		c.max = -1
	}
	for _, s := range l.roll {
		for _, id := range sortedSlots(s) {
			x := s.slots[id]
			l.unbindSlot(x)
			x.ln = l.slotLaneFor(x.ln.Lane)
			l.bindSlot(x)
		}
	}
}

// wantSlots sets how many slots a session wants to hold on a lane.
func (l *Leader) wantSlots(s *session, x SlotWant, now Time) {
	ln := l.slotLaneFor(x.Lane)
	w := s.slotWant(ln)
	if w.n == 0 && x.N > w.held {
		w.from = now
	}
	l.setSlotWant(w, max(0, x.N))
	if w.n > w.held {
		l.seek(w, now)
	}
}

// slotWant finds what a session wants of a lane.
func (s *session) slotWant(ln *slotLane) *slotWant {
	for _, w := range ln.wants {
		if w.s == s {
			return w
		}
	}
	w := &slotWant{s: s, ln: ln}
	ln.wants = append(ln.wants, w)
	s.slotWants = append(s.slotWants, w)
	return w
}

// setSlotWant changes the number, and ends waiting where it is reached.
func (l *Leader) setSlotWant(w *slotWant, n int) {
	w.n = n
	if w.n <= w.held {
		l.leaveQueue(w)
		w.told = false
	}
}

func (l *Leader) leaveQueue(w *slotWant) {
	if c := w.on; c != nil {
		for i, o := range c.waiting {
			if o == w {
				c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
				break
			}
		}
		w.on = nil
	}
}

// seek has the demand looked at in the next Turn, by the limit that may be in its way.
func (l *Leader) seek(w *slotWant, now Time) {
	if w.on != nil || w.s.over {
		return
	}
	c := l.obstacle(w)
	if c == nil && len(w.ln.counters) > 0 {
		c = w.ln.counters[0]
	}
	if c == nil {
		c = l.slotCounter("") // nothing bounds the lane
	}
	w.on = c
	c.waiting = append(c.waiting, w)
	l.look(c)
}

// obstacle is the first limit of the lane that is full; nil: none is.
func (l *Leader) obstacle(w *slotWant) *slotCounter {
	for _, c := range w.ln.counters {
		if !c.room() {
			return c
		}
	}
	return nil
}
