package deliverer

import (
	"cmp"
	"slices"
	"time"
)

// portion is what one party has of the hand. A party that is alone may have nearly all
// of it; where several want more than there is, each has a fair part by its weight,
// and what little is kept back is for those who have less than that. Guarded by
// Deliverer.mu.
type portion struct {
	weight int
	n      int       // deliveries
	busy   int       // of them, those under way
	missed time.Time // it was refused room last, although it had less than its fair part
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

// slack is how many more deliveries that have waited the hand takes of parties that
// have their fair part already.
func (d *Deliverer) slack() int {
	if d.bytes >= d.c.HandBytes {
		return 0
	}
	return min(d.mostOfKind()-d.aged, d.c.HandJobs-d.hand) - d.c.HandJobs/8
}

// spaceFor is how many more deliveries that have waited the hand takes of a party.
// With mu held.
func (d *Deliverer) spaceFor(of party, now time.Time) int {
	p := d.portion(of)
	n := d.slack()
	if own := d.fair(p) - p.n; own > n && d.bytes < d.c.HandBytes {
		n = min(own, n+d.c.HandJobs/8)
	}
	if n <= 0 {
		d.refused = true
		if p.n < d.fair(p) {
			p.missed = now
			d.missed = now
		}
	}
	return max(n, 0)
}

// crowds tells whether q's party has so much under way that it leaves others too
// little of the hand. With mu held.
func (d *Deliverer) crowds(q *line) bool {
	p := d.portions[q.party]
	return p != nil && p.busy >= d.mostOfKind() && len(d.portions) > 1
}

// makeRoom takes something out of a hand that has been full for a tick: new mail when
// nothing can be fetched, since nobody knows whose lies behind it; mail that has
// waited when somebody who has less than a fair part is refused. With mu held.
func (d *Deliverer) makeRoom(now time.Time, back []parked) []parked {
	if d.down() {
		return back
	}
	if d.starving && d.fetchable() == 0 && now.Sub(d.starved) >= tick {
		back = d.takeOut(false, d.leastFetch(), back)
	}
	if now.Sub(d.missed) <= tick {
		back = d.takeOut(true, max(d.c.HandJobs/16, 1), back)
	}
	return back
}

// takeOut takes up to n waiting deliveries out of the hand: of those who have most by
// their weight, from the lines that have stood longest, the last come first. What is
// new goes to WAIT, and what was read there is left there. With mu held.
func (d *Deliverer) takeOut(aged bool, n int, back []parked) []parked {
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
