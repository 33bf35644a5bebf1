package shaping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// Layer says where a rule was written.
type Layer string

// The two layers; what is set at run time replaces the file's, field by field.
const (
	LayerFile Layer = "file"
	LayerSet  Layer = "set"
	// LayerReaction is no place of rules: the limit is a reaction's.
	LayerReaction Layer = "reaction"
)

// RuleRef names the rule that something came from.
type RuleRef struct {
	Layer Layer  `json:"layer"`
	To    string `json:"to"`
	Per   Per    `json:"per,omitzero"`
	ID    uint64 `json:"id,omitempty"` // of a reaction
}

// Bounds is everything that bounds the mail of one destination, source and tenant.
type Bounds struct {
	Counters      []Bound     // all of them bind
	Slots         []SlotBound // so do these
	PerConnection int         // 0: no rule says
	Suspended     *Suspension // nothing may be sent; nil: it may
	Shadows       []Bound     // none of these does: they are counted alone
	Tenants       bool        // a reaction concerns one tenant: what bounds the others is not the same
}

// Free tells whether no rule bounds it, so that nothing need be asked for.
func (b *Bounds) Free() bool {
	return len(b.Counters) == 0 && len(b.Shadows) == 0 && len(b.Slots) == 0 && b.Suspended == nil && !b.Tenants
}

// Bound is the windows of one counter. The counter's past belongs to its name, so
// it survives a change of the windows. Two destinations that differ in Name alone
// share their counters and may see different windows on them.
type Bound struct {
	Counter string
	Unit    Field // Messages, Recipients or NewConnections
	Windows []Window
	From    RuleRef
	Lowered []Lowered // windows that are reactions'
}

// Lowered is a window that a reaction adds.
type Lowered struct {
	Window Window
	From   RuleRef
}

// SlotBound is how many connections may be open in all under one counter.
type SlotBound struct {
	Counter string
	Max     int
	From    RuleRef
}

// Table is a Book made ready for questions. It is not changed once made, so any
// number of goroutines may ask.
type Table struct {
	version  uint64
	members  Patterns[member]    // domains that named destinations list
	hosts    Patterns[member]    // MX hosts they have
	own      Patterns[string]    // domains that count by themselves; under the To that makes them
	scopes   [4]toMap[[]layered] // the rules, by Per
	shadows  [4]toMap[[]layered] // those in shadow
	shadowed bool                // there are any
	paused   toMap[*Suspension]  // what is suspended
	groups   map[string]Group
	shares   Shares
	reacted  map[string][]Reaction // by the destination's key
}

// member is a pattern of a named destination.
type member struct{ name, pattern string }

// layered is a rule and the layer it was written in.
type layered struct {
	*Rule
	layer Layer
}

func (l layered) ref() RuleRef { return RuleRef{Layer: l.layer, To: l.To, Per: l.Per} }

// toMap finds what belongs to a destination among what is kept by To.
type toMap[V any] struct {
	domains Patterns[V]
	names   map[string]V
}

// put keeps v under a canonical To.
func (m *toMap[V]) put(groups map[string]Group, to string, v V) error {
	if _, named := groups[to]; !named {
		return m.domains.Add(to, v)
	}
	if m.names == nil {
		m.names = map[string]V{}
	}
	m.names[to] = v
	return nil
}

// each calls fn with what belongs to d, the most specific first, until fn says
// false: the domain, the named destination, *.example.net with the longest tail, *.
// A destination of many domains is not asked for by the pattern of one of them.
func (m *toMap[V]) each(d Destination, fn func(V) bool) {
	kind, rest, _ := strings.Cut(d.Key, ":")
	name := d.Name
	if kind == "name" {
		name = rest
	}
	if kind == "domain" {
		if v, ok := m.domains.exact[mail.Domain(rest)]; ok && !fn(v) {
			return
		}
	}
	if v, ok := m.names[name]; ok && !fn(v) {
		return
	}
	if kind != "domain" {
		rest = ""
	}
	m.domains.eachTail(mail.Domain(rest), fn)
}

// Table makes the Book ready for questions.
func (b *Book) Table() (*Table, error) {
	t := &Table{version: b.Version, groups: b.Destinations, shares: b.Shares}
	for _, name := range slices.Sorted(maps.Keys(b.Destinations)) {
		for _, list := range []struct {
			into     *Patterns[member]
			patterns []string
		}{{&t.members, b.Destinations[name].Domains}, {&t.hosts, b.Destinations[name].MX}} {
			for _, p := range list.patterns {
				if err := list.into.Add(p, member{name, canonicalTo(p)}); err != nil {
					return nil, fmt.Errorf("destination %s: %w", name, err)
				}
			}
		}
	}
	own := map[string]bool{}
	var by, shadows [4]map[string][]layered
	for _, l := range []struct {
		layer Layer
		rules []Rule
	}{{LayerSet, b.Set}, {LayerFile, b.File}} { // in the order in which they are asked
		for i := range l.rules {
			r := l.rules[i].clone()
			r.To = canonicalTo(r.To)
			into := &by[r.Per&(Source|Tenant)]
			if r.Shadow {
				into, t.shadowed = &shadows[r.Per&(Source|Tenant)], true
			}
			if *into == nil {
				*into = map[string][]layered{}
			}
			(*into)[r.To] = append((*into)[r.To], layered{&r, l.layer})
			own[r.To] = true
		}
	}
	for p := range by {
		for to, rules := range by[p] {
			if err := t.scopes[p].put(b.Destinations, to, rules); err != nil {
				return nil, err
			}
		}
		for to, rules := range shadows[p] {
			if err := t.shadows[p].put(b.Destinations, to, rules); err != nil {
				return nil, err
			}
		}
	}
	for i := range b.Suspensions {
		s := b.Suspensions[i]
		if err := t.paused.put(b.Destinations, s.To, &s); err != nil {
			return nil, err
		}
		own[s.To] = true
	}
	for _, r := range b.Reactions {
		if t.reacted == nil {
			t.reacted = map[string][]Reaction{}
		}
		t.reacted[r.To.Key] = append(t.reacted[r.To.Key], r)
	}
	for to := range own {
		if _, named := b.Destinations[to]; named || to == "*" {
			continue
		}
		if err := t.own.Add(to, to); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Version is the Book's.
func (t *Table) Version() uint64 { return t.version }

// Shares are the Book's.
func (t *Table) Shares() *Shares { return &t.shares }

// Bounds is everything that bounds mail to d from a source address ("": whichever
// the system takes) for a tenant ("": none; such mail counts together).
func (t *Table) Bounds(d Destination, source, tenant string) Bounds {
	var b Bounds
	t.paused.each(d, func(s *Suspension) bool { b.Suspended = s; return false })
	for p := range t.scopes {
		if t.shadowed {
			b.Shadows = t.shadow(b.Shadows, d, Per(p), source, tenant)
		}
		rules := t.rulesFor(d, Per(p))
		for _, f := range Fields {
			r, ok := first(rules, f)
			if !ok {
				continue
			}
			if b.Suspended == nil && r.shuts(f) {
				b.Suspended = &Suspension{To: r.To, Reason: fmt.Sprintf("%s limited to %s", f, r.value(f))}
			}
			switch f {
			case Connections:
				b.Slots = append(b.Slots, SlotBound{counter(f, d, Per(p), source, tenant), *r.Connections, r.ref()})
			case PerConnection:
				if n := *r.PerConnection; b.PerConnection == 0 || n < b.PerConnection {
					b.PerConnection = n
				}
			default:
				b.Counters = append(b.Counters, Bound{Counter: counter(f, d, Per(p), source, tenant), Unit: f, Windows: r.Windows(f), From: r.ref()})
			}
		}
	}
	t.lower(&b, d, source, tenant)
	return b
}

// rulesFor lists the rules of one scope that hold for d, the most specific first.
func (t *Table) rulesFor(d Destination, p Per) []layered { return all(&t.scopes[p], d) }

// shadow adds the bounds of the rules in shadow of one scope.
func (t *Table) shadow(to []Bound, d Destination, p Per, source, tenant string) []Bound {
	rules := all(&t.shadows[p], d)
	for _, f := range Fields[:3] {
		if r, ok := first(rules, f); ok {
			to = append(to, Bound{Counter: counter(f, d, p, source, tenant), Unit: f, Windows: r.Windows(f), From: r.ref()})
		}
	}
	return to
}

// all lists what each finds, rule by rule.
func all(m *toMap[[]layered], d Destination) []layered {
	var out []layered
	m.each(d, func(ls []layered) bool { out = append(out, ls...); return true })
	return out
}

// first is the most specific of rules that gives f.
func first(rules []layered, f Field) (layered, bool) {
	i := slices.IndexFunc(rules, func(l layered) bool { return l.Gives(f) })
	if i < 0 {
		return layered{}, false
	}
	return rules[i], true
}

// counter names what is counted: everything started under one name counts together.
func counter(f Field, d Destination, p Per, source, tenant string) string {
	s := string(f) + " " + d.Key
	if p&Source != 0 {
		s += " source=" + source
	}
	if p&Tenant != 0 {
		// Last, so that no tenant's name can be taken for another counter's.
		s += " tenant=" + tenant
	}
	return s
}

// SplitCounter takes a counter's name apart again.
func SplitCounter(s string) (f Field, d Destination, source, tenant string) {
	head, tenant, _ := strings.Cut(s, " tenant=")
	head, source, _ = strings.Cut(head, " source=")
	field, key, _ := strings.Cut(head, " ")
	return Field(field), Destination{Key: key}, source, tenant
}
