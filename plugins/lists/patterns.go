package lists

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// Patterns is a list of regular expressions. Each must match the whole text, in any
// letter case. They are Go's (RE2), so that none can take more than linear time,
// however it was written; they are tried one after the other, so that a list of names
// is better one of names. The zero Patterns is empty; once it is built any number of
// goroutines may ask.
type Patterns struct{ all []*regexp.Regexp }

// Add puts in an expression.
func (p *Patterns) Add(text string) error {
	// By itself first: a ) in the wrong place must not pair with ours.
	if _, err := regexp.Compile(text); err != nil {
		var s *syntax.Error
		if errors.As(err, &s) && s.Code == syntax.ErrMissingRepeatArgument {
			return fmt.Errorf("is no regular expression: %s %q; to match any text write .*", s.Code, s.Expr)
		}
		if strings.Contains(text, "(?=") || strings.Contains(text, "(?!") || strings.Contains(text, "(?<") {
			return errors.New("looks ahead or behind, which expressions here cannot (RE2); write two lists, or a script")
		}
		if errors.As(err, &s) {
			return fmt.Errorf("is no regular expression: %s %q", s.Code, s.Expr)
		}
		return fmt.Errorf("is no regular expression: %w", err)
	}
	re, err := regexp.Compile(`(?i)^(?:` + text + `)$`)
	if err != nil {
		return fmt.Errorf("is no regular expression: %w", err)
	}
	p.all = append(p.all, re)
	return nil
}

// Has tells whether an expression matches text.
func (p *Patterns) Has(text string) bool {
	for _, re := range p.all {
		if re.MatchString(text) {
			return true
		}
	}
	return false
}

// Len is how many there are.
func (p *Patterns) Len() int { return len(p.all) }
