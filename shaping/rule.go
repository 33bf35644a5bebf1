package shaping

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Field names one thing a Rule can limit, as it is written in the configuration,
// on the command line and in a counter's name.
type Field string

// The fields of a rule. The first three are windows, the last two plain numbers.
const (
	Messages       Field = "messages"        // transactions started (MAIL FROM), refused ones included
	Recipients     Field = "recipients"      // RCPT TO sent
	NewConnections Field = "new_connections" // connections begun
	Connections    Field = "connections"     // open at the same time
	PerConnection  Field = "per_connection"  // transactions on one connection before it is closed
)

// Fields are all of them, in the order in which they are shown.
var Fields = []Field{Messages, Recipients, NewConnections, Connections, PerConnection}

// Per says whether a rule counts for the whole cluster (zero) or apart for each
// source address, each tenant, or each pair of them.
type Per uint8

// What a rule may count apart.
const (
	Source Per = 1 << iota // the address we send from
	Tenant                 // the customer whose mail it is
)

var perNames = []struct {
	bit  Per
	name string
}{{Source, "source"}, {Tenant, "tenant"}}

// ParsePer reads the names "source" and "tenant", in any order.
func ParsePer(names []string) (Per, error) {
	var p Per
	for _, n := range names {
		i := slices.IndexFunc(perNames, func(x struct {
			bit  Per
			name string
		}) bool {
			return x.name == n
		})
		if i < 0 {
			return 0, refuse("", fmt.Sprintf("%q is nothing to count by", n), "write source, tenant, both, or leave it out to count for the whole cluster")
		}
		p |= perNames[i].bit
	}
	return p, nil
}

// Names lists what p counts by; empty for the whole cluster.
func (p Per) Names() []string {
	names := []string{}
	for _, x := range perNames {
		if p&x.bit != 0 {
			names = append(names, x.name)
		}
	}
	return names
}

// String is "cluster", "source", "tenant" or "source,tenant".
func (p Per) String() string {
	if p == 0 {
		return "cluster"
	}
	return strings.Join(p.Names(), ",")
}

// MarshalJSON writes the names: [], ["source"], ["source","tenant"].
func (p Per) MarshalJSON() ([]byte, error) { return json.Marshal(p.Names()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Per) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return fmt.Errorf("per: %w", err)
	}
	v, err := ParsePer(names)
	*p = v
	return err
}

// Rule says what the destinations its To names can bear. A field that is nil says
// nothing: the next less specific rule that gives it decides. A window of 0 and 0
// connections suspend.
//
// A rule in shadow stands beside the others, as if they were not there: each is the
// most specific of its own kind, and the same To and Per may have one of each.
//
// A Rule is a value: whoever holds one does not change what it points to.
type Rule struct {
	To             string   `json:"to"`           // a domain, a named destination, "*.example.net" or "*"
	Per            Per      `json:"per,omitzero"` // counted apart for each; zero: the whole cluster
	Messages       []Window `json:"messages,omitempty"`
	Recipients     []Window `json:"recipients,omitempty"`
	NewConnections []Window `json:"new_connections,omitempty"`
	Connections    *int     `json:"connections,omitempty"`
	PerConnection  *int     `json:"per_connection,omitempty"`
	Shadow         bool     `json:"shadow,omitempty"` // counts what it would hold, and holds nothing
	Note           string   `json:"note,omitempty"`   // why, for people
}

// Windows returns the windows of a field; nil when the rule does not give it, or
// it has none.
func (r *Rule) Windows(f Field) []Window {
	switch f {
	case Messages:
		return r.Messages
	case Recipients:
		return r.Recipients
	case NewConnections:
		return r.NewConnections
	}
	return nil
}

// Number returns the number of a field; nil when the rule does not give it, or it
// has none.
func (r *Rule) Number(f Field) *int {
	switch f {
	case Connections:
		return r.Connections
	case PerConnection:
		return r.PerConnection
	}
	return nil
}

// Gives tells whether the rule says something of f.
func (r *Rule) Gives(f Field) bool { return r.Windows(f) != nil || r.Number(f) != nil }

// shuts tells whether field f of the rule lets nothing through.
func (r *Rule) shuts(f Field) bool {
	if n := r.Number(f); n != nil {
		return *n == 0
	}
	return slices.ContainsFunc(r.Windows(f), func(w Window) bool { return w.Max == 0 })
}

// Empty tells whether the rule limits nothing.
func (r *Rule) Empty() bool {
	return !slices.ContainsFunc(Fields, r.Gives)
}

// take replaces field f of r by that of from, given there or not.
func (r *Rule) take(f Field, from *Rule) {
	switch f {
	case Messages:
		r.Messages = from.Messages
	case Recipients:
		r.Recipients = from.Recipients
	case NewConnections:
		r.NewConnections = from.NewConnections
	case Connections:
		r.Connections = from.Connections
	case PerConnection:
		r.PerConnection = from.PerConnection
	}
}

// value is field f of the rule as people write it: "1000/1h, 20/1s" or "5"; empty
// when it is not given.
func (r *Rule) value(f Field) string {
	if n := r.Number(f); n != nil {
		return fmt.Sprint(*n)
	}
	return FormatWindows(r.Windows(f))
}

// String is the rule in one line: "google per source: messages 1000/1h, connections 5".
func (r Rule) String() string {
	var b strings.Builder
	b.WriteString(r.To)
	if r.Per != 0 {
		b.WriteString(" per " + r.Per.String())
	}
	if r.Shadow {
		b.WriteString(" in shadow")
	}
	sep := ": "
	for _, f := range Fields {
		if r.Gives(f) {
			b.WriteString(sep + string(f) + " " + r.value(f))
			sep = "; "
		}
	}
	if sep == ": " {
		b.WriteString(": nothing")
	}
	return b.String()
}

// clone copies what r points to, so that a caller who goes on changing his does
// not change ours.
func (r Rule) clone() Rule {
	r.Messages, r.Recipients, r.NewConnections = slices.Clone(r.Messages), slices.Clone(r.Recipients), slices.Clone(r.NewConnections)
	for _, p := range []**int{&r.Connections, &r.PerConnection} {
		if *p != nil {
			n := **p
			*p = &n
		}
	}
	return r
}
