package shaping

import "time"

// Sighting says that replies have come for which a rule asks for a remedy.
type Sighting struct {
	Rule      string
	Threshold Threshold
	Remedy    Remedy
	To        Destination
	Source    string
	Tenant    string
	Count     int    // how many
	Sample    string // one of them
}

// Trigger is what the sighting asks for once its threshold is met.
func (n *Sighting) Trigger() Trigger {
	return Trigger{Rule: n.Rule, Cause: Cause(n.Sample), To: n.To, Source: n.Source, Tenant: n.Tenant, Remedy: n.Remedy}
}

// Place is what sightings are counted for together, and what there is one reaction for.
func (n *Sighting) Place() Place {
	r := Reaction{Rule: n.Rule, To: n.To, Remedy: n.Remedy}
	if n.Remedy.Per&Source != 0 {
		r.Source = n.Source
	}
	if n.Remedy.Per&Tenant != 0 {
		r.Tenant = n.Tenant
	}
	return r.place()
}

// Settling tells whether a reaction to just that is too young for another sighting to
// mean anything: it is about what was sent before.
func (t *Table) Settling(n *Sighting, now time.Time) bool {
	p := n.Place()
	for _, r := range t.reacted[n.To.Key] {
		if r.place() == p && r.Settling(now) {
			return true
		}
	}
	return false
}

// Tally counts sightings against their thresholds: so many within any stretch of time,
// to within a sixty-fourth of it. The zero value is empty; not for concurrent use.
type Tally struct {
	of    map[Place]*tallied
	swept time.Time
}

type tallied struct {
	within time.Duration
	last   time.Time
	cells  []tallyCell
}

// tallyCell is n sightings, the last of them at.
type tallyCell struct {
	at time.Time
	n  int
}

// maxTally bounds what is counted at a time. What comes beyond is not counted: a
// reaction it would have brought comes later, when others are forgotten.
const maxTally = 10_000

// Add counts a sighting, and tells whether its threshold is met. If so counting begins
// anew.
func (t *Tally) Add(n *Sighting, now time.Time) bool {
	if n.Threshold.Count <= 1 || n.Count >= n.Threshold.Count {
		delete(t.of, n.Place())
		return n.Count > 0
	}
	t.sweep(now)
	p := n.Place()
	x := t.of[p]
	if x == nil {
		if len(t.of) >= maxTally {
			return false
		}
		if t.of == nil {
			t.of = map[Place]*tallied{}
		}
		x = &tallied{}
		t.of[p] = x
	}
	x.within, x.last = n.Threshold.Within, now
	x.add(n.Count, now)
	if x.sum(now) < n.Threshold.Count {
		return false
	}
	delete(t.of, p)
	return true
}

// add takes those together that come close after one another.
func (x *tallied) add(n int, now time.Time) {
	if k := len(x.cells) - 1; k >= 0 && now.Sub(x.cells[k].at) < x.within/64 {
		// Under the earlier time: they are forgotten a little too soon, and no reply is
		// counted that is too old.
		x.cells[k].n += n
		return
	}
	x.cells = append(x.cells, tallyCell{now, n})
}

func (x *tallied) sum(now time.Time) (n int) {
	i := 0
	for i < len(x.cells) && now.Sub(x.cells[i].at) >= x.within {
		i++
	}
	x.cells = x.cells[i:]
	for _, c := range x.cells {
		n += c.n
	}
	return n
}

// sweep forgets what is too old, now and then.
func (t *Tally) sweep(now time.Time) {
	if now.Sub(t.swept) < time.Minute && len(t.of) < maxTally {
		return
	}
	if len(t.of) >= maxTally && now.Sub(t.swept) < time.Second {
		return
	}
	t.swept = now
	for p, x := range t.of {
		if now.Sub(x.last) >= x.within {
			delete(t.of, p)
		}
	}
}
