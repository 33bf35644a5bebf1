package shaping

import (
	"fmt"

	"github.com/tarishi/tarishi/mail"
)

// Limit is what a destination can bear.
type Limit struct {
	Connections   int // open at the same time
	PerConnection int // transactions on one connection before it is closed
}

// DefaultLimit holds where no rule says otherwise.
var DefaultLimit = Limit{Connections: 20, PerConnection: 100}

// ConnectionRule limits the destinations its pattern names, on one node. A zero field says nothing: the
// next less specific rule that gives it, or DefaultLimit, decides.
type ConnectionRule struct {
	To string // "example.net", "*.example.net" or "*"
	Limit
}

// Rules is a set of rules; safe for concurrent use once made.
type Rules struct {
	by Patterns[Limit]
}

// NewRules checks the rules. The error names the rule and the mend.
func NewRules(rules []ConnectionRule) (*Rules, error) {
	r := &Rules{}
	for i, x := range rules {
		if x.Connections < 0 || x.PerConnection < 0 {
			return nil, fmt.Errorf("limit %d (to %q): negative numbers limit nothing; leave the key out for the default", i+1, x.To)
		}
		if err := r.by.Add(x.To, x.Limit); err != nil {
			return nil, fmt.Errorf("limit %d: %w", i+1, err)
		}
	}
	return r, nil
}

// For returns the limit of a destination, field by field from the most specific
// rule that gives it. A nil Rules answers DefaultLimit.
func (r *Rules) For(d mail.Domain) Limit {
	var l Limit
	if r != nil {
		r.by.Each(d, func(m Limit) bool {
			if l.Connections == 0 {
				l.Connections = m.Connections
			}
			if l.PerConnection == 0 {
				l.PerConnection = m.PerConnection
			}
			return l.Connections == 0 || l.PerConnection == 0
		})
	}
	if l.Connections == 0 {
		l.Connections = DefaultLimit.Connections
	}
	if l.PerConnection == 0 {
		l.PerConnection = DefaultLimit.PerConnection
	}
	return l
}
