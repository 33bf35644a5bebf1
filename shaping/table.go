package shaping

import "strings"

// Destination is whom an attempt is about: what shares limits and connections. It
// is fixed from the domain and its MX before anything is asked of the scheduler.
type Destination struct {
	Key  string // "name:google", "domain:example.net" or "site:mx1.example.net,mx2.example.net"
	Name string // the named destination whose rules hold where a domain: has none; else empty
}

// String is the destination as people are shown it.
func (d Destination) String() string {
	_, s, _ := strings.Cut(d.Key, ":")
	return s
}

// Layer says where a rule was written.
type Layer string

// The two layers; what is set at run time replaces the file's, field by field.
const (
	LayerFile Layer = "file"
	LayerSet  Layer = "set"
)

// RuleRef names the rule that something came from.
type RuleRef struct {
	Layer Layer  `json:"layer"`
	To    string `json:"to"`
	Per   Per    `json:"per,omitzero"`
}

// Bounds is everything that bounds the mail of one destination, source and tenant.
type Bounds struct {
	Counters      []Bound     // all of them bind
	Slots         []SlotBound // so do these
	PerConnection int         // 0: no rule says
	Suspended     *Suspension // nothing may be sent; nil: it may
}

// Free tells whether no rule bounds it, so that nothing need be asked for.
func (b *Bounds) Free() bool {
	return len(b.Counters) == 0 && len(b.Slots) == 0 && b.Suspended == nil
}

// Bound is the windows of one counter. The counter's past belongs to its name, so
// it survives a change of the windows. Two destinations that differ in Name alone
// share their counters and may see different windows on them.
type Bound struct {
	Counter string
	Unit    Field // Messages, Recipients or NewConnections
	Windows []Window
	From    RuleRef
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
	version uint64
	names   Patterns[string] // domain → named destination
	hosts   Patterns[string] // MX host → named destination
	own     Patterns[bool]   // domains that are destinations of their own
	scopes  [4]scope         // by Per
	paused  toMap[*Suspension]
}

// Version is the Book's.
func (t *Table) Version() uint64 { return t.version }

// toMap finds what belongs to a To.
type toMap[V any] struct {
	domains Patterns[V]
	names   map[string]V
}

// scope is the rules that count by the same Per.
type scope struct {
	rules toMap[*effective]
	any   bool
}

// effective is what both layers make of one To and Per.
type effective struct {
	rule Rule
	from [5]RuleRef // by position in Fields
}
