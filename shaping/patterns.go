package shaping

import (
	"fmt"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// Patterns finds what belongs to a domain among patterns, the most specific
// first: the domain itself, then "*.example.net" with the longest tail, then "*".
// "*.example.net" is every name below example.net, at any depth, and not
// example.net itself. The zero value is empty; not for concurrent Add, but any
// number of goroutines may look up once it is built.
type Patterns[V any] struct {
	exact map[mail.Domain]V
	tails map[mail.Domain]V // "*.example.net" under "example.net"; "*" under ""
}

// Add binds v to a pattern. The same pattern twice is refused: which one was meant
// cannot be told.
func (p *Patterns[V]) Add(pattern string, v V) error {
	if p.exact == nil {
		p.exact, p.tails = map[mail.Domain]V{}, map[mail.Domain]V{}
	}
	into, key := p.exact, pattern
	switch {
	case pattern == "*":
		into, key = p.tails, ""
	case strings.HasPrefix(pattern, "*."):
		into, key = p.tails, pattern[2:]
	}
	if pattern == "" || pattern == "*." || strings.ContainsAny(key, "* \t@") {
		return fmt.Errorf("%q is no domain pattern; write example.net, *.example.net or *", pattern)
	}
	d := mail.CanonicalDomain(key)
	if _, twice := into[d]; twice {
		return fmt.Errorf("pattern %q is given twice", pattern)
	}
	into[d] = v
	return nil
}

// Each calls fn with what belongs to d, the most specific first, until fn says
// false. It allocates nothing.
func (p *Patterns[V]) Each(d mail.Domain, fn func(V) bool) {
	if v, ok := p.exact[d]; ok && !fn(v) {
		return
	}
	p.eachTail(d, fn)
}

// eachTail is Each without what belongs to d by its full name.
func (p *Patterns[V]) eachTail(d mail.Domain, fn func(V) bool) {
	if len(p.tails) == 0 {
		return
	}
	for tail := d; tail != ""; {
		i := strings.IndexByte(string(tail), '.')
		if i < 0 {
			break
		}
		tail = tail[i+1:]
		if v, ok := p.tails[tail]; ok && tail != "" && !fn(v) {
			return
		}
	}
	if v, ok := p.tails[""]; ok {
		fn(v)
	}
}

// For returns the most specific match for d.
func (p *Patterns[V]) For(d mail.Domain) (v V, ok bool) {
	p.Each(d, func(m V) bool { v, ok = m, true; return false })
	return v, ok
}
