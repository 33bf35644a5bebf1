package shaping

import (
	"iter"
	"slices"
)

// lower applies the reactions to what the rules allow. A counter keeps its name, and
// so its past: a window is exact through every step down and up again.
func (t *Table) lower(b *Bounds, d Destination, source, tenant string) {
	for r := range t.reactions(d) {
		p := r.Remedy.Per
		b.Tenants = b.Tenants || p&Tenant != 0
		if !r.matches(source, tenant) {
			continue
		}
		switch r.Remedy.Action {
		case Slow:
			b.slow(counter(Messages, d, p, source, tenant), r)
		case FewerConns:
			b.fewer(counter(Connections, d, p, source, tenant), r)
		case Suspend, Hold:
			// An operator's stands before it; of several the one that lasts longest.
			if s := b.Suspended; s == nil || s.byReaction && s.Until.Before(r.Until) {
				b.Suspended = r.suspension()
			}
		}
	}
}

// reactions are those to d. One to a named destination is also one to a domain of it
// that counts by itself: whoever keeps both hosts has said it.
func (t *Table) reactions(d Destination) iter.Seq[*Reaction] {
	return func(yield func(*Reaction) bool) {
		keys := [2]string{d.Key}
		if d.Name != "" && d.Key != "name:"+d.Name {
			keys[1] = "name:" + d.Name
		}
		for _, k := range keys {
			list := t.reacted[k]
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

func (b *Bounds) slow(name string, r *Reaction) {
	w := r.Pace()
	i := slices.IndexFunc(b.Counters, func(x Bound) bool { return x.Counter == name })
	if i < 0 {
		b.Counters = append(b.Counters, Bound{Counter: name, Unit: Messages, Windows: []Window{w}, From: r.ref(), Lowered: []Lowered{{w, r.ref()}}})
		return
	}
	// The rules' own windows hold beside it; of two of one length the smaller does.
	x := &b.Counters[i]
	x.Windows, x.Lowered = slices.Clone(x.Windows), append(x.Lowered, Lowered{w, r.ref()})
	if k := slices.IndexFunc(x.Windows, func(o Window) bool { return o.Length == w.Length }); k >= 0 {
		x.Windows[k].Max = min(x.Windows[k].Max, w.Max)
	} else {
		x.Windows = append(x.Windows, w)
	}
}

func (b *Bounds) fewer(name string, r *Reaction) {
	n := r.Connections()
	i := slices.IndexFunc(b.Slots, func(x SlotBound) bool { return x.Counter == name })
	if i < 0 {
		b.Slots = append(b.Slots, SlotBound{Counter: name, Max: n, From: r.ref()})
	} else if n < b.Slots[i].Max {
		b.Slots[i].Max, b.Slots[i].From = n, r.ref()
	}
}

func (r *Reaction) ref() RuleRef {
	return RuleRef{Layer: LayerReaction, To: r.To.String(), Per: r.Remedy.Per, ID: r.ID}
}

// suspension is a reaction that lets nothing through, as Bounds says it.
func (r *Reaction) suspension() *Suspension {
	return &Suspension{To: r.Whom(), Reason: r.Ref() + ", " + r.by(), Author: r.Author, At: r.At, Until: r.Until, byReaction: true}
}
