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
