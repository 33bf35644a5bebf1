package replies

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// Rule says what some replies of some destinations mean, and what to do about
// them. What When leaves out may be anything.
type Rule struct {
	Name      string
	For       []string // whom: a named destination, a domain, "*.example.net", "mx:*.example.net" or "*"
	When      When
	Class     Class
	Action    Action            // empty: what the class says
	Threshold shaping.Threshold // of every remedy that gives none itself; zero: at once
	Do        []Do
	From      string // where it was written: the name of a file, or "pack"

	// Groups is what the names in For mean where the rule was written. Somebody may
	// use the same hosts under another name; the rule is about them all the same.
	Groups map[string]shaping.Group
}

// When is what a reply must be for a rule to fit; all of it.
type When struct {
	Code     []string // "421", "45z", "5yz"
	Enhanced []string // "4.7.28", "*.7.26", "5.7.*", "5.7.606-649"
	Text     string   // RE2, found anywhere in the text, in any case; see Words
	Phase    []Phase
}

// Do is one remedy, and how often the reply must come before it is due.
type Do struct {
	Remedy    shaping.Remedy
	Threshold shaping.Threshold // zero: the rule's
}

// ParseDo reads a remedy, with "after 3 in 10m" behind it for a threshold of its own.
func ParseDo(s string) (Do, error) {
	remedy, after, own := strings.Cut(s, " after ")
	var d Do
	var err error
	if own {
		if d.Threshold, err = shaping.ParseThreshold(after); err != nil {
			return Do{}, err
		}
	}
	d.Remedy, err = shaping.ParseRemedy(remedy)
	return d, err
}

// String is what ParseDo reads.
func (d Do) String() string {
	if d.Threshold == (shaping.Threshold{}) {
		return d.Remedy.String()
	}
	return d.Remedy.String() + " after " + d.Threshold.String()
}

// codes is a set of reply codes from 400 to 599.
type codes [4]uint64

func (c *codes) add(code int) { c[(code-400)/64] |= 1 << ((code - 400) % 64) }

func (c *codes) has(code int) bool {
	return code >= 400 && code < 600 && c[(code-400)/64]&(1<<((code-400)%64)) != 0
}

// class tells whether a code of hundreds (4 or 5) is among them.
func (c *codes) class(hundreds int) bool {
	for code := hundreds * 100; code < hundreds*100+100; code++ {
		if c.has(code) {
			return true
		}
	}
	return false
}

// parseCodes reads patterns of codes; none are all codes.
func parseCodes(patterns []string) (codes, error) {
	var set codes
	if len(patterns) == 0 {
		patterns = []string{"4yz", "5yz"}
	}
	for _, p := range patterns {
		if len(p) != 3 || p[0] != '4' && p[0] != '5' || !digitOr(p[1], 'y') || !digitOr(p[2], 'z') {
			return set, fmt.Errorf("%q is no code of a refusal; write 421, 45z or 5yz", p)
		}
		for code := int(p[0]-'0') * 100; code < int(p[0]-'0')*100+100; code++ {
			d, u := byte('0'+code/10%10), byte('0'+code%10)
			if (p[1] == 'y' || p[1] == d) && (p[2] == 'z' || p[2] == u) {
				set.add(code)
			}
		}
	}
	return set, nil
}

func digitOr(c, letter byte) bool { return c >= '0' && c <= '9' || c == letter }

// enhanced is one pattern of enhanced codes: each part from its first to its last.
type enhanced [3][2]uint16

func (e *enhanced) has(c mail.EnhancedCode) bool {
	for i, part := range e {
		if c[i] < part[0] || c[i] > part[1] {
			return false
		}
	}
	return c[0] != 0
}

func parseEnhanced(s string) (enhanced, error) {
	var e enhanced
	parts := strings.Split(s, ".")
	bad := fmt.Errorf(`%q is no enhanced code; write "4.7.28", "*.7.26", "5.7.*" or "5.7.606-649"`, s)
	if len(parts) != 3 {
		return e, bad
	}
	for i, p := range parts {
		if p == "*" {
			e[i] = [2]uint16{0, 999}
			continue
		}
		from, to, isRange := strings.Cut(p, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil || a > b || b > 999 {
			return e, bad
		}
		e[i] = [2]uint16{uint16(a), uint16(b)}
	}
	if e[0][0] != e[0][1] && e[0] != [2]uint16{0, 999} || e[0][0] == e[0][1] && e[0][0] != 4 && e[0][0] != 5 {
		return e, bad
	}
	return e, nil
}

// maxText bounds the regular expression of a rule.
const maxText = 1000

// compileText makes the expression of a rule, which finds its text in any case.
func compileText(s string) (*regexp.Regexp, error) {
	if len(s) > maxText {
		return nil, fmt.Errorf("is longer than %d octets", maxText)
	}
	re, err := regexp.Compile("(?i:" + s + ")")
	if err != nil {
		return nil, fmt.Errorf("is no regular expression (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}
