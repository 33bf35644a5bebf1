package replies

import (
	"regexp/syntax"
	"strings"
)

// literals returns texts, in lower case, one of which stands in whatever the
// expression matches; none when that cannot be told. Only ASCII counts: what the
// automaton compares is octets.
func literals(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		if s := longestASCII(re.Rune); s != "" {
			return []string{s}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return literals(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return literals(re.Sub[0])
		}
	case syntax.OpCharClass:
		return smallClass(re.Rune)
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if l := literals(sub); better(l, best) {
				best = l
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			l := literals(sub)
			if l == nil {
				return nil
			}
			all = append(all, l...)
		}
		return all
	}
	return nil
}

// better tells whether a says more than b: the shortest of its texts is longer.
func better(a, b []string) bool {
	if a == nil || b == nil {
		return b == nil && a != nil
	}
	return shortest(a) > shortest(b)
}

func shortest(ss []string) int {
	n := len(ss[0])
	for _, s := range ss {
		n = min(n, len(s))
	}
	return n
}

// maxLiteral is enough of a text to know it by.
const maxLiteral = 24

func longestASCII(runes []rune) string {
	best := ""
	for rest := runes; len(rest) > 0; {
		n := 0
		for n < len(rest) && rest[n] < 0x80 {
			n++
		}
		if n > len(best) {
			best = strings.ToLower(string(rest[:n]))
		}
		rest = rest[min(n+1, len(rest)):]
	}
	return best[:min(len(best), maxLiteral)]
}

// smallClass is what a class of a few ASCII characters may be, as [45] in OpCharClass.
func smallClass(ranges []rune) []string {
	var out []string
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if r >= 0x80 {
				// The two letters outside ASCII that fold into it do not come: see Words.
				if r == '\u017f' || r == '\u212a' {
					continue
				}
				return nil
			}
			if len(out) == 12 {
				return nil
			}
			if s := strings.ToLower(string(r)); !contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

func contains(ss []string, s string) bool {
	for _, x := range ss {
		if x == s {
			return true
		}
	}
	return false
}

// maxExact bounds the texts that stand for one expression.
const maxExact = 64

// exactly returns the texts, in lower case, that the expression matches, when they
// are few and it matches nothing else: finding one of them is all there is to ask.
func exactly(re *syntax.Regexp) ([]string, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		s := string(re.Rune)
		return []string{strings.ToLower(s)}, isASCII(s)
	case syntax.OpCharClass:
		l := smallClass(re.Rune)
		return l, l != nil
	case syntax.OpCapture:
		return exactly(re.Sub[0])
	case syntax.OpQuest:
		l, ok := exactly(re.Sub[0])
		return append(l, ""), ok
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			l, ok := exactly(sub)
			if all = append(all, l...); !ok || len(all) > maxExact {
				return nil, false
			}
		}
		return all, true
	case syntax.OpConcat:
		all := []string{""}
		for _, sub := range re.Sub {
			l, ok := exactly(sub)
			if !ok || len(all)*len(l) > maxExact {
				return nil, false
			}
			var next []string
			for _, a := range all {
				for _, b := range l {
					next = append(next, a+b)
				}
			}
			all = next
		}
		return all, true
	}
	return nil, false
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
