package shaping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/internal/nearest"
	"github.com/tarishi/tarishi/mail"
)

// Explanation says what bounds mail to a domain, and which rule says so.
type Explanation struct {
	Version     uint64      `json:"version"`
	Domain      string      `json:"domain"`
	MX          []string    `json:"mx,omitempty"`
	Source      string      `json:"source,omitempty"`
	Tenant      string      `json:"tenant,omitempty"`
	Destination Destination `json:"destination"`
	Why         string      `json:"why"` // it is that destination
	Suspended   *Suspension `json:"suspended,omitempty"`
	Values      []Value     `json:"values"`
	Reactions   []Reaction  `json:"reactions,omitempty"` // to the destination, whomever there they concern
	Notes       []string    `json:"notes,omitempty"`     // what might surprise
}

// Value is one limit in force.
type Value struct {
	Field      Field    `json:"field"`
	Per        Per      `json:"per,omitzero"`
	Windows    []Window `json:"windows,omitempty"`
	Number     *int     `json:"number,omitempty"`
	From       RuleRef  `json:"from"`
	Counter    string   `json:"counter,omitempty"` // what it is counted under
	Note       string   `json:"note,omitempty"`    // of the rule
	Overridden []Other  `json:"overridden,omitempty"`
}

// Other is a value that does not count, since a more specific one does.
type Other struct {
	Value string  `json:"value"`
	From  RuleRef `json:"from"`
}

// String is "1000/1h, 20/1s" or "5".
func (v Value) String() string {
	if v.Number != nil {
		return fmt.Sprint(*v.Number)
	}
	return FormatWindows(v.Windows)
}

// String says where a rule was written: "google (set)", "* per source (file)",
// "google (reaction r7)".
func (r RuleRef) String() string {
	s := r.To
	if r.Per != 0 {
		s += " per " + r.Per.String()
	}
	s += " (" + string(r.Layer)
	if r.ID != 0 {
		s += fmt.Sprintf(" r%d", r.ID)
	}
	return s + ")"
}

// Explain answers for one domain as Destination and Bounds do, with the reasons.
// domain may also be a named destination's name.
func (t *Table) Explain(domain string, mx []string, source, tenant string) (Explanation, error) {
	e := Explanation{Version: t.version, Domain: domain, MX: mx, Source: source, Tenant: tenant, Values: []Value{}}
	if _, named := t.groups[domain]; named {
		e.Destination, e.Why = Destination{Key: "name:" + domain}, "destinations."+domain+" defines it"
	} else {
		if !isDomain(domain) || !strings.Contains(domain, ".") {
			names := slices.Sorted(maps.Keys(t.groups))
			mend := "write a domain such as example.net"
			if n := nearest.To(domain, names); n != "" {
				mend = fmt.Sprintf("did you mean %q?", n)
			}
			return e, refuse("", fmt.Sprintf("%q is neither a domain nor a destination that is defined", domain), mend)
		}
		d := mail.CanonicalDomain(domain)
		e.Domain = string(d)
		e.Destination, e.Why = t.place(d, mx)
		e.Notes = t.passedOver(d, e.Destination)
	}
	e.Suspended = t.Bounds(e.Destination, source, tenant).Suspended
	for p := range t.scopes {
		rules := t.rulesFor(e.Destination, Per(p))
		for _, f := range Fields {
			if r, ok := first(rules, f); ok {
				e.Values = append(e.Values, t.value(f, Per(p), r, rules, &e))
			}
		}
		for _, s := range t.shadow(nil, e.Destination, Per(p), source, tenant) {
			e.Notes = append(e.Notes, fmt.Sprintf("%s %s of %s counts in shadow and holds nothing", s.Unit, FormatWindows(s.Windows), s.From))
		}
	}
	t.explainReactions(&e)
	return e, nil
}

// explainReactions names the reactions, and their limits beside those of the rules:
// both hold.
func (t *Table) explainReactions(e *Explanation) {
	for r := range t.reactions(e.Destination) {
		e.Reactions = append(e.Reactions, *r)
		if !r.matches(e.Source, e.Tenant) {
			continue
		}
		v := Value{Per: r.Remedy.Per, From: r.ref(), Note: r.by()}
		switch r.Remedy.Action {
		case Slow:
			v.Field, v.Windows = Messages, []Window{r.Pace()}
		case FewerConns:
			n := r.Connections()
			v.Field, v.Number = Connections, &n
		default:
			continue // it is what e.Suspended says
		}
		v.Counter = counter(v.Field, e.Destination, v.Per, e.Source, e.Tenant)
		e.Values = append(e.Values, v)
	}
}

func (t *Table) value(f Field, p Per, r layered, rules []layered, e *Explanation) Value {
	v := Value{Field: f, Per: p, Windows: r.Windows(f), Number: r.Number(f), From: r.ref(), Note: r.Note}
	if f != PerConnection {
		v.Counter = counter(f, e.Destination, p, e.Source, e.Tenant)
	}
	seen := false
	for _, o := range rules {
		if !o.Gives(f) {
			continue
		}
		if seen {
			v.Overridden = append(v.Overridden, Other{o.value(f), o.ref()})
		}
		seen = true
	}
	return v
}

// passedOver names the patterns that hold the domain and yet play no part, since
// it counts with a named destination.
func (t *Table) passedOver(d mail.Domain, dest Destination) []string {
	if !strings.HasPrefix(dest.Key, "name:") {
		return nil
	}
	var out []string
	t.own.eachTail(d, func(to string) bool {
		out = append(out, fmt.Sprintf("%s plays no part: %s counts with %s; a limit to exactly %s would make it a destination of its own", to, d, dest, d))
		return true
	})
	return out
}
