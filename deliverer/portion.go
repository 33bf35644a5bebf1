package deliverer

import (
	"cmp"
	"slices"
	"time"
)

// portion is what one party has of the hand. A party that is alone may have most of
// it; an eighth is kept back for those who have little, and where several want more
// than there is, each comes to its fair part by weight. Guarded by Deliverer.mu.
type portion struct {
	weight int
	n      int       // deliveries
	busy   int       // of them, those under way
	missed time.Time // it was refused room last, although it had little
}

// portion returns what a party has, made when needed. With mu held.
func (d *Deliverer) portion(of party) *portion {
	p := d.portions[of]
	if p == nil {
		p = &portion{weight: d.weight(of.tenant)}
		d.portions[of] = p
		d.weights += p.weight
	}
	return p
}

// weight is a tenant's; without a scheduler all are alike.
func (d *Deliverer) weight(tenant string) int {
	if d.c.Scheduler == nil {
		return 1
	}
	return max(d.c.Scheduler.Weight(tenant), 1)
}

// mostOfKind is how much of the hand new mail may fill, and mail that has waited: a
// quarter is left to the other.
func (d *Deliverer) mostOfKind() int { return max(d.c.HandJobs*3/4, 1) }

// fair is a party's part of the hand, were it full.
func (d *Deliverer) fair(p *portion) int {
	return max(d.c.HandJobs*p.weight/max(d.weights, p.weight), 1)
}

// kept is how much of the hand, and of what each kind may fill of it, is kept back.
func (d *Deliverer) kept() int { return d.c.HandJobs / 8 }

// little is what a party may have although only what is kept back is left.
func (d *Deliverer) little(p *portion) int { return min(d.fair(p), max(d.kept(), 1)) }

// slack is how many more deliveries that have waited the hand takes of parties that
// have more than a little.
func (d *Deliverer) slack() int {
	if d.bytes >= d.c.HandBytes {
		return 0
	}
	return min(d.mostOfKind()-d.aged, d.c.HandJobs-d.hand) - d.kept()
}

// spaceFor is how many more deliveries that have waited the hand takes of a party.
// With mu held.
func (d *Deliverer) spaceFor(of party, now time.Time) int {
	p := d.portion(of)
	n := d.slack()
	if own := d.little(p) - p.n; own > n && d.bytes < d.c.HandBytes {
		n = min(own, n+d.kept())
	}
	if n <= 0 {
		d.refused = true
		if p.n < d.little(p) {
			p.missed = now
			d.missed = now
		}
	}
	return max(n, 0)
}

// crowds tells whether so much is under way, which cannot be taken out of the hand,
// that what is kept back is for parties with little. With mu held.
func (d *Deliverer) crowds(q *line) bool {
	kind := d.busy
	if q.q[q.at].aged {
		kind = d.busyAged
	} else {
		kind -= d.busyAged
	}
	if kind < max(d.mostOfKind()-d.kept(), 1) && d.busy < max(d.c.HandJobs-d.kept(), 1) {
		return false
	}
	p := d.portion(q.party)
	return p.busy >= d.little(p)
}

// started counts a delivery that is under way from now on, or is no longer. With mu held.
func (d *Deliverer) started(h *held, yes bool) {
	if h.begun == yes {
		return
	}
	h.begun = yes
	n := -1
	if yes {
		n = 1
	}
	d.busy += n
	if h.aged {
		d.busyAged += n
	}
	d.portion(h.party()).busy += n
}

// makeRoom takes something out of a hand that has been full for a tick: new mail when
// nothing can be fetched, since nobody knows whose lies behind it; mail that has
// waited when somebody who has less than little is refused. With mu held.
func (d *Deliverer) makeRoom(now time.Time, back []parked) []parked {
	if !d.live(now) {
		return back // nothing moves, and not for want of room
	}
	if d.starving && d.fetchable() == 0 && now.Sub(d.starved) >= tick {
		back = d.takeOut(false, max(2*d.kept(), 1), back)
		d.cramped = now
	}
	if now.Sub(d.missed) <= tick {
		back = d.takeOut(true, max(d.c.HandJobs/16, 1), back)
	}
	return back
}

// stays tells whether new mail may stay in the hand for now: after room had to be made,
// what a party with more than a little brings for a destination that does not move
// would only fill it again. With mu held.
func (d *Deliverer) stays(q *line, now time.Time) bool {
	if now.Sub(d.cramped) > 2*tick || !d.live(now) {
		return true
	}
	p, l := d.portion(q.party), q.lane
	return p.n <= d.little(p) || q.len() == 0 && (l.busy == 0 || l.rate.recent(now) > 0)
}

// takeOut takes up to n waiting deliveries out of the hand: of those who have most by
// their weight, from the lines that have stood longest, the last come first. What is
// new goes to WAIT, and what was read there is left there. With mu held.
func (d *Deliverer) takeOut(aged bool, n int, back []parked) []parked {
	back, n = d.takeFromDoors(aged, n, back)
	var lines []*line
	for _, l := range d.lanes {
		for _, q := range l.lines {
			if has := q.aged; aged && has > 0 || !aged && q.len() > has {
				lines = append(lines, q)
			}
		}
	}
	slices.SortFunc(lines, func(a, b *line) int {
		if a.party != b.party {
			x, y := d.portion(a.party), d.portion(b.party)
			return cmp.Or(cmp.Compare(y.n*x.weight, x.n*y.weight), cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.class, b.class))
		}
		return a.q[a.at].since.Compare(b.q[b.at].since)
	})
	took := map[party]int{}
	for _, q := range lines {
		if n <= 0 {
			break
		}
		most := n
		if p := d.portion(q.party); aged {
			most = min(most, p.n-took[q.party]-d.fair(p)) // nobody is put below a fair part for others
		}
		for _, h := range q.takeLast(most, aged) {
			back = append(back, parked{held: h, release: aged})
			took[q.party]++
			n--
		}
	}
	return back
}

// takeLast takes out up to n of what has waited, or has not, the last first.
func (q *line) takeLast(n int, aged bool) []held {
	skip := -n
	for i := range q.q[q.at:] {
		if q.q[q.at+i].aged == aged {
			skip++
		}
	}
	return q.takeIf(nil, func(h *held) bool {
		if n <= 0 || h.aged != aged {
			return false
		}
		skip--
		return skip < 0
	})
}

// forgetPortions forgets parties that have nothing and want nothing. With mu held.
func (d *Deliverer) forgetPortions(now time.Time) {
	for of, p := range d.portions {
		if p.n == 0 && now.Sub(p.missed) > askingFor {
			delete(d.portions, of)
			d.weights -= p.weight
			continue
		}
		if w := d.weight(of.tenant); w != p.weight {
			d.weights += w - p.weight
			p.weight = w
		}
	}
}
