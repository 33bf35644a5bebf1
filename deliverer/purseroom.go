package deliverer

import (
	"slices"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// ask notes that the queue has more of q.
func (p *purse) ask(q *line) {
	if !q.asking {
		q.asking = true
		p.asking = append(p.asking, q)
		p.account.tendAt = time.Time{}
		p.weigh()
	}
}

func (p *purse) unask(q *line) {
	p.promised -= q.promised
	q.promised = 0
	if q.asking {
		q.asking = false
		p.asking = slices.DeleteFunc(p.asking, func(x *line) bool { return x == q })
		p.weigh()
	}
}

// roomFor is how many of q's mail may be read from the queue: as many as there are
// permits in hand, and what its rate says will come. The lines take turns. With mu held.
func (d *Deliverer) roomFor(p *purse, q *line, now time.Time) int {
	p.ask(q)
	if now.Sub(p.promisedAt) > promiseTime && p.promised > 0 {
		for _, x := range p.asking {
			x.promised = 0
		}
		p.promised = 0
	}
	if q.promised > 0 {
		return q.promised // the queue asks twice before it reads
	}
	free := d.spendable(p, now) - p.jobs - p.outside - p.promised
	if free <= 0 {
		return 0
	}
	for len(p.asking) > 1 && now.Sub(p.asking[0].asked) > time.Second {
		p.unask(p.asking[0]) // not in this round; it asks again when it has more
	}
	each := p.stretch(now)
	i := slices.Index(p.asking[:min((free+each-1)/each, len(p.asking))], q)
	if i < 0 {
		return 0
	}
	n := max(free/len(p.asking), min(each, free))
	p.asking = append(slices.Delete(p.asking, i, i+1), q)
	p.promised += n
	q.promised = n
	p.promisedAt = now
	p.low = (p.jobs + p.promised) / 2
	return n
}

// spendable is how many deliveries could start within about half a second. With mu held.
func (d *Deliverer) spendable(p *purse, now time.Time) int {
	recent := p.rate.recent(now)
	n := d.c.HandJobs
	if p.limited() {
		ready, hold := p.permits.Ready()
		if ready == 0 {
			d.dried(p, hold, now)
			if p.held(now.Add(lead)) {
				return 0
			}
			if hold.NotBefore.After(now) {
				ready = 1 // it is coming
			}
		}
		n = ready + recent/4
	}
	if now.Sub(p.shut) > quiet {
		// What plugins are asked about meanwhile comes on top, or they would set the pace.
		n += int(float64(recent) * min(p.thinks, thinksMost).Seconds())
	}
	if a := p.account; a.slots != nil {
		have := a.held + a.slots.Ready()
		if have == 0 {
			a.short(1)
			return 0
		}
		n = min(n, p.part(have*p.stretch(now)))
	}
	if a := p.account; a.dials != nil {
		if a.open == 0 && !d.mayDial(a, 0, now) {
			return 0
		}
		n = min(n, p.part(max(a.open, 1)*p.stretch(now)))
	}
	return n
}

// stretch is how many deliveries of one lane are read at a time, so that few
// connections carry much: what one of them takes in about five seconds. To change
// to another site takes longer than many a transaction.
func (p *purse) stretch(now time.Time) int {
	a := p.account
	if a.slots == nil && a.dials == nil {
		return 1
	}
	most := a.limits.PerConnection
	if most == 0 {
		most = shaping.DefaultLimit.PerConnection
	}
	return min(max(5*p.rate.recent(now)/max(a.connected, 1), 8), most)
}
