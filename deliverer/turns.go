package deliverer

import (
	"slices"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// turns says which of the lines that wait for one path goes next: by their classes,
// in a class by the weights of their tenants, and among a tenant's lines one after
// the other. Guarded by Deliverer.mu.
//
// Each party has a clock, which every turn puts on by what the turn costs it: a
// class by classCost, a tenant by a part of one that is the smaller the heavier it
// is. Who is furthest behind goes next. Who comes back after a rest begins where the
// others are, so that nobody saves up turns; and neither does who may not go. (This
// is start-time fair queueing, with deliveries for packets.)
type turns struct {
	now     float64 // the clock of the class that went last, before its turn
	classes [len(mail.Classes)]classTurns
}

// classTurns are the turns of one class.
type classTurns struct {
	clock float64
	now   float64 // the clock of the tenant that went last, before its turn
	list  []*contender
	rest  map[string]*contender // those of them, and others, whose clocks still count
}

// contender is one tenant's lines of one class that wait for the path.
type contender struct {
	tenant string
	weight float64
	clock  float64
	lines  []*line // in turn
	tried  bool    // in the turn under way
}

// classCost makes a lower class wait for twenty turns of the one above it, and no
// longer: it goes when nothing above waits, and never starves.
var classCost = [len(mail.Classes)]float64{mail.High: 1, mail.Normal: 20, mail.Bulk: 400}

// add puts q among those that wait; weight is its tenant's.
func (t *turns) add(q *line, weight int) {
	c := &t.classes[q.class.Known()]
	if len(c.list) == 0 {
		c.clock = max(c.clock, t.now)
	}
	x := c.rest[q.tenant]
	if x == nil {
		x = &contender{tenant: q.tenant}
		if c.rest == nil {
			c.rest = map[string]*contender{}
		}
		c.forget()
		c.rest[q.tenant] = x
	}
	x.weight = max(float64(weight), 1)
	if len(x.lines) == 0 {
		x.clock = max(x.clock, c.now)
		c.list = append(c.list, x)
	}
	x.lines = append(x.lines, q)
	q.inTurn = true
}

// forget drops tenants that nothing waits of and that would begin where the others are.
func (c *classTurns) forget() {
	if len(c.rest) < 2*len(c.list)+16 {
		return
	}
	for name, x := range c.rest {
		if len(x.lines) == 0 && x.clock <= c.now {
			delete(c.rest, name)
		}
	}
}

// remove takes q out.
func (t *turns) remove(q *line) {
	if !q.inTurn {
		return
	}
	q.inTurn = false
	c := &t.classes[q.class.Known()]
	if x := c.rest[q.tenant]; x != nil {
		x.lines = slices.DeleteFunc(x.lines, func(o *line) bool { return o == q })
		if len(x.lines) == 0 {
			c.list = slices.DeleteFunc(c.list, func(o *contender) bool { return o == x })
		}
	}
}

// next is the line whose turn it is among those that pass; nil: none does.
func (t *turns) next(now time.Time, pass func(*line) bool) *line {
	var tried [len(mail.Classes)]bool
	for range mail.Classes {
		best := -1
		for _, k := range mail.Classes {
			if c := &t.classes[k]; !tried[k] && len(c.list) > 0 && (best < 0 || c.clock < t.classes[best].clock) {
				best = int(k)
			}
		}
		if best < 0 {
			return nil
		}
		tried[best] = true
		c := &t.classes[best]
		q := c.next(now, pass)
		if q == nil {
			continue
		}
		t.now = c.clock
		for k := range t.classes { // those that had no use of their turn
			if o := &t.classes[k]; tried[k] && o.clock < t.now {
				o.clock = t.now
			}
		}
		c.clock += classCost[best]
		return q
	}
	return nil
}

func (c *classTurns) next(now time.Time, pass func(*line) bool) *line {
	for _, x := range c.list {
		x.tried = false
	}
	for {
		var best *contender
		for _, x := range c.list {
			if !x.tried && (best == nil || x.clock < best.clock) && x.open(now) {
				best = x
			}
		}
		if best == nil {
			c.tidy()
			return nil
		}
		best.tried = true
		q := best.next(now, pass)
		if q == nil {
			continue
		}
		c.now = best.clock
		best.clock += 1 / best.weight
		for _, x := range c.list { // whoever was behind could not go
			if x.clock < c.now {
				x.clock = c.now
			}
		}
		c.tidy()
		return q
	}
}

// tidy drops those whose lines have run empty.
func (c *classTurns) tidy() {
	c.list = slices.DeleteFunc(c.list, func(x *contender) bool { return len(x.lines) == 0 })
}

// open tells whether anything of the tenant may go: on one path it has one purse.
func (x *contender) open(now time.Time) bool {
	return len(x.lines) == 0 || x.lines[0].purse.open(now)
}

// next is the next of the tenant's lines that passes. Empty ones are dropped.
func (x *contender) next(now time.Time, pass func(*line) bool) *line {
	for n := len(x.lines); n > 0; n-- {
		q := x.lines[0]
		copy(x.lines, x.lines[1:])
		if q.len() == 0 {
			x.lines[len(x.lines)-1] = nil
			x.lines = x.lines[:len(x.lines)-1]
			q.inTurn = false
			continue
		}
		x.lines[len(x.lines)-1] = q
		if pass(q) {
			return q
		}
		if !q.purse.open(now) {
			return nil
		}
	}
	return nil
}
