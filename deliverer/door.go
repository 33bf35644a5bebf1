package deliverer

import (
	"slices"
	"time"

	"github.com/tarishi/tarishi/plugin"
)

// door is where deliveries of one destination, by one way, are while plugins are asked
// about them: before they stand in a line, so that no connection, slot or permit
// waits for a plugin. What has not been asked yet goes back to the queue when its
// patience ends, as what waits in a line does. Guarded by Deliverer.mu.
type door struct {
	key     laneKey // without a via
	waiting []visitor
	asking  int             // of whom plugins are being asked
	inside  map[party]crowd // both
	last    *via            // where plugins have sent the last one; nil: nowhere else
	lively  time.Time
}

// visitor is a delivery at a door, counted in a purse, if it has one.
type visitor struct {
	held
	purse *purse
}

// crowd is how many deliveries of a party are at a door, and how many of these have
// waited in the queue before.
type crowd struct{ n, aged int }

// askedAtOnce bounds of how many deliveries for one destination plugins are asked at a
// time: one that is stuck for a destination must not keep the others' mail waiting.
const askedAtOnce = 100

// mostAsked bounds it for all destinations together.
func (d *Deliverer) mostAsked() int { return max(d.c.HandJobs/4, 1) }

// thinksMost bounds for how much of their time plugins have mail read ahead.
const thinksMost = 5 * time.Second

// asks tells whether there is a plugin to be asked before an attempt.
func (d *Deliverer) asks() bool {
	p := d.c.Plugins
	return p != nil && (p.Has(plugin.SendEmail) || p.Has(plugin.GetMX))
}

// leads is where the next delivery will probably be sent. nil: nowhere else.
func (dr *door) leads() *via {
	if dr == nil {
		return nil
	}
	return dr.last
}

// at is how many of a line's mail are at the door.
func (dr *door) at(of party) crowd {
	if dr == nil {
		return crowd{}
	}
	return dr.inside[of]
}

// doorOf is the door of a line's mail; nil: none is there.
func (d *Deliverer) doorOf(q *line) *door {
	if len(d.doors) == 0 {
		return nil
	}
	return d.doors[laneKey{dest: q.lane.dest, route: q.lane.route}]
}

// enter has plugins asked about h. With mu held.
func (d *Deliverer) enter(q *line, h held, now time.Time) {
	k := laneKey{dest: q.lane.dest, route: q.lane.route}
	dr := d.doors[k]
	if dr == nil {
		dr = &door{key: k, inside: map[party]crowd{}}
		d.doors[k] = dr
	}
	dr.lively = now
	v := visitor{held: h, purse: q.purse}
	dr.count(&v, 1)
	dr.waiting = append(dr.waiting, v)
	d.admit(dr)
}

func (dr *door) count(v *visitor, n int) {
	of := v.party()
	c := dr.inside[of]
	c.n += n
	if v.aged {
		c.aged += n
	}
	if c.n > 0 {
		dr.inside[of] = c
	} else {
		delete(dr.inside, of)
	}
	if v.purse != nil {
		v.purse.outside += n
	}
}

// admit has plugins asked about those who wait, as many as may be. With mu held.
func (d *Deliverer) admit(dr *door) {
	for d.soft.Err() == nil && len(dr.waiting) > 0 && dr.asking < min(askedAtOnce, max(d.mostAsked()/4, 1)) {
		if d.asking >= d.mostAsked() {
			d.doorsFull = true
			return
		}
		v := dr.waiting[0]
		dr.waiting[0] = visitor{}
		dr.waiting = dr.waiting[1:]
		dr.asking++
		d.asking++
		d.crew.start(func() { d.visit(dr, &v) })
	}
}

// visit asks plugins about one delivery and does what they say.
func (d *Deliverer) visit(dr *door, v *visitor) {
	began := time.Now()
	said := d.ask(&v.held)
	took := time.Since(began)
	d.mu.Lock()
	if p := v.purse; p != nil {
		p.thinks += (took - p.thinks) / 8
	}
	dr.count(v, -1)
	dr.asking--
	d.asking--
	if said.goes {
		dr.last = v.via
	}
	if d.doorsFull {
		d.doorsFull = false
		for _, x := range d.doors {
			d.admit(x)
		}
	}
	d.admit(dr)
	d.mu.Unlock()
	d.obeyPlugins(&v.held, &said)
}

// leave takes the waiting visitors out that take says.
func (dr *door) leave(take func(*visitor) bool, each func(*visitor)) {
	dr.waiting = slices.DeleteFunc(dr.waiting, func(v visitor) bool {
		if !take(&v) {
			return false
		}
		dr.count(&v, -1)
		each(&v)
		return true
	})
}

// sweepDoors gives back whose patience has ended, and forgets doors that nobody uses.
// It returns when to look again. With mu held.
func (d *Deliverer) sweepDoors(now time.Time, back []parked) ([]parked, time.Duration) {
	next := quiet
	for k, dr := range d.doors {
		dr.leave(func(v *visitor) bool { return !now.Before(v.until) }, func(v *visitor) {
			back = append(back, parked{held: v.held})
		})
		if len(dr.waiting) > 0 {
			next = tick
		}
		if len(dr.inside) == 0 && now.Sub(dr.lively) >= quiet {
			delete(d.doors, k)
		}
	}
	return back, next
}

// takeFromDoors takes up to n of those out of the hand who wait at doors: they have
// come no further. New mail goes to WAIT, and what was read there is left there.
func (d *Deliverer) takeFromDoors(aged bool, n int, back []parked) ([]parked, int) {
	for _, dr := range d.doors {
		dr.leave(func(v *visitor) bool {
			return n > 0 && v.aged == aged && (!aged || d.portion(v.party()).n > d.fair(d.portion(v.party())))
		}, func(v *visitor) {
			back = append(back, parked{held: v.held, release: aged})
			n--
		})
	}
	return back, n
}

// emptyDoors takes out all who wait. With mu held.
func (d *Deliverer) emptyDoors(to []held) []held {
	for _, dr := range d.doors {
		dr.leave(func(*visitor) bool { return true }, func(v *visitor) { to = append(to, v.held) })
	}
	return to
}
