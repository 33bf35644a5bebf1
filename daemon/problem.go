package daemon

import (
	"slices"
	"strings"
)

// Problem is one fault of a configuration.
type Problem struct {
	Where string // "file:line", "TARISHI_X" or "" for a default
	Field string // "smtp.listen[0]", or empty when What names it
	What  string
	Mend  string // what to write instead; may be empty
	order int
}

func (p *Problem) Error() string {
	var b strings.Builder
	for _, s := range []string{p.Where, p.Field} {
		if s != "" {
			b.WriteString(s + ": ")
		}
	}
	b.WriteString(p.What)
	if p.Mend != "" {
		b.WriteString("; " + p.Mend)
	}
	return b.String()
}

// Problems is every fault of a configuration, one per line, in file order.
type Problems []*Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a *Problem.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b *Problem) int { return a.order - b.order })
}
