package replies

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
)

// cannotMatch says why an expression can never be found in Words, or "".
func cannotMatch(expr string) string {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return ""
	}
	return impossible(re)
}

const noCharacters = "it has a class of no characters"

func impossible(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpNoMatch:
		return noCharacters
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return noCharacters
		}
	case syntax.OpLiteral:
		s := string(re.Rune)
		switch {
		case strings.ContainsAny(s, "\n\r\t"):
			return "it asks for a line's end or a tab"
		case strings.Contains(s, "  "):
			return "it asks for two spaces"
		}
	case syntax.OpCapture, syntax.OpPlus:
		return impossible(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return impossible(re.Sub[0])
		}
	case syntax.OpAlternate:
		why := ""
		for _, sub := range re.Sub {
			if why = impossible(sub); why == "" {
				return ""
			}
		}
		return why
	case syntax.OpConcat:
		return impossibleRow(re.Sub)
	}
	return ""
}

// impossibleRow is impossible for what must follow one another.
func impossibleRow(subs []*syntax.Regexp) string {
	taken, ended := false, false
	for _, sub := range subs {
		if why := impossible(sub); why != "" {
			return why
		}
		switch sub.Op {
		case syntax.OpBeginText, syntax.OpBeginLine:
			if taken {
				return "it asks for the beginning behind something"
			}
		case syntax.OpEndText, syntax.OpEndLine:
			ended = true
		default:
			if consumes(sub) {
				if ended {
					return "it asks for something behind the end"
				}
				taken = true
			}
		}
	}
	return ""
}

// consumes tells whether whatever the expression matches has at least one character.
func consumes(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpLiteral, syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return consumes(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min > 0 && consumes(re.Sub[0])
	case syntax.OpConcat:
		return slices.ContainsFunc(re.Sub, consumes)
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(s *syntax.Regexp) bool { return !consumes(s) })
	}
	return false
}

// covered finds rules behind one that fits whatever they fit, as far as can be
// told from the rules alone; Shadowed tells the rest.
func covered(rules []Rule) []Fault {
	var out []Fault
	for i := range rules {
		for j := range i {
			if covers(&rules[j], &rules[i]) {
				out = append(out, Fault{i, "", fmt.Sprintf("never has its turn: %s, before it, fits whatever it fits", rules[j].Name), "put it first, or take it away"})
				break
			}
		}
	}
	return out
}

func covers(a, b *Rule) bool {
	if !slices.Contains(a.For, "*") {
		for _, f := range b.For {
			if !slices.Contains(a.For, f) {
				return false
			}
		}
	}
	ca, err := parseCodes(a.When.Code)
	cb, err2 := parseCodes(b.When.Code)
	if err != nil || err2 != nil {
		return false
	}
	for k := range ca {
		if cb[k]&^ca[k] != 0 {
			return false
		}
	}
	return coversList(a.When.Enhanced, b.When.Enhanced) && coversList(a.When.Phase, b.When.Phase) &&
		(a.When.Text == "" || strings.EqualFold(a.When.Text, b.When.Text))
}

// coversList: none are all of them.
func coversList[T comparable](a, b []T) bool {
	if len(a) == 0 {
		return true
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			return false
		}
	}
	return len(b) > 0
}
