package replies

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/internal/nearest"
	"github.com/tarishi/tarishi/shaping"
)

// Fault is what is wrong with one of several rules: it cannot be read, or it can
// never fit, or what it asks for can never be.
type Fault struct {
	Rule  int    // its position
	Field string // "when.text", "do[1]"; empty: the whole rule
	What  string
	Mend  string
}

func (f *Fault) Error() string { return f.What + "; " + f.Mend }

// World is what rules may name.
type World struct {
	Groups map[string]shaping.Group // named destinations
	Routes []string                 // named routes
}

// linter collects the faults of one rule.
type linter struct {
	World
	at    int
	rule  *Rule
	out   *[]Fault
	codes codes // those of the rule
}

func (l *linter) bad(field, what, mend string) {
	*l.out = append(*l.out, Fault{l.at, field, what, mend})
}

// Check finds all that is wrong with rules that are asked in this order.
func Check(w World, rules []Rule) []Fault {
	var out []Fault
	first := map[string]int{}
	for i := range rules {
		l := &linter{World: w, at: i, rule: &rules[i], out: &out}
		l.identity(first)
		l.whom()
		l.when()
		l.meaning()
		l.remedies()
	}
	if len(rules) > MaxRules {
		out = append(out, Fault{MaxRules, "", fmt.Sprintf("%d rules are too many", len(rules)), fmt.Sprintf("at most %d in all", MaxRules)})
	}
	if len(out) == 0 {
		out = covered(rules)
	}
	return out
}

var goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]{0,63}$`)

func (l *linter) identity(first map[string]int) {
	name := l.rule.Name
	if !goodName.MatchString(name) {
		l.bad("name", fmt.Sprintf("%q is no name", name), "write small letters, digits and ./_- such as google/slow, at most 64")
		return
	}
	if j, twice := first[name]; twice {
		l.bad("name", fmt.Sprintf("a rule before it (number %d) has the name %s", j+1, name), "give each rule a name of its own")
		return
	}
	first[name] = l.at
}

func (l *linter) whom() {
	if len(l.rule.For) == 0 {
		l.bad("for", "the rule is for nobody", `name destinations, or write ["*"] for all`)
	}
	for i, f := range l.rule.For {
		field := fmt.Sprintf("for[%d]", i)
		host, isMX := strings.CutPrefix(f, "mx:")
		switch {
		case f == "*":
			if len(l.rule.For) > 1 {
				l.bad(field, `"*" is everybody`, "leave the others out")
			}
		case isMX || strings.Contains(f, "."):
			var p shaping.Patterns[int]
			if host == "*" || p.Add(host, 0) != nil {
				l.bad(field, fmt.Sprintf("%q is no pattern", f), `write example.net, "*.example.net" or "mx:*.example.net"`)
			}
		default:
			if _, ok := l.Groups[f]; ok {
				continue
			}
			if _, ok := l.rule.Groups[f]; ok {
				continue
			}
			mend := "define it under destinations"
			names := make([]string, 0, len(l.Groups))
			for n := range l.Groups {
				names = append(names, n)
			}
			slices.Sort(names)
			if n := nearest.To(f, names); n != "" {
				mend = fmt.Sprintf("did you mean %q?", n)
			}
			l.bad(field, fmt.Sprintf("%q is a destination nobody defined, so no reply is ever its", f), mend)
		}
	}
}

func (l *linter) when() {
	w := &l.rule.When
	if len(w.Code) == 0 && len(w.Enhanced) == 0 && w.Text == "" && len(w.Phase) == 0 {
		l.bad("when", "every refusal fits", "say which replies are meant: code, enhanced, text or phase")
	}
	for i, s := range w.Code {
		c, err := parseCodes([]string{s})
		if err != nil {
			l.bad(fmt.Sprintf("when.code[%d]", i), firstPart(err), lastPart(err))
			continue
		}
		for j := range l.codes {
			l.codes[j] |= c[j]
		}
	}
	if len(w.Code) == 0 {
		l.codes, _ = parseCodes(nil)
	}
	for i, s := range w.Enhanced {
		field := fmt.Sprintf("when.enhanced[%d]", i)
		e, err := parseEnhanced(s)
		switch {
		case err != nil:
			l.bad(field, firstPart(err), lastPart(err))
		case e[0][0] == e[0][1] && l.codes != (codes{}) && !l.codes.class(int(e[0][0])):
			l.bad(field, fmt.Sprintf("%s never comes with the codes %s: their class is another", s, strings.Join(w.Code, ", ")),
				fmt.Sprintf("write %q, or another code", "*"+s[1:]))
		}
	}
	for i, p := range w.Phase {
		if !slices.Contains(Phases, p) {
			l.bad(fmt.Sprintf("when.phase[%d]", i), fmt.Sprintf("%q is no phase", p), "write connect, hello, mail, rcpt, data or dot")
		}
	}
	if w.Text != "" {
		l.text(w.Text)
	}
}

var (
	codeInText     = regexp.MustCompile(`^\^?[45]\d\d($|[ -]|\\[s-]|\[)`)
	enhancedInText = regexp.MustCompile(`^\^?[45]\\?\.\d{1,3}\\?\.\d{1,3}($|[ ]|\\s)`)
)

func (l *linter) text(s string) {
	const field = "when.text"
	re, err := compileText(s)
	switch {
	case err != nil:
		l.bad(field, err.Error(), "see https://github.com/google/re2/wiki/Syntax")
	case codeInText.MatchString(s):
		l.bad(field, "begins with a code, which is never in the text", "write the code under when.code")
	case enhancedInText.MatchString(s):
		l.bad(field, "begins with an enhanced code, which is never in the text", "write it under when.enhanced")
	case re.MatchString(""):
		l.bad(field, "is found in every text", "leave it out, or say what must stand there")
	default:
		if why := cannotMatch(re.String()); why != "" {
			l.bad(field, "can never be found: "+why, "the text is one line with single spaces")
		}
	}
}

func (l *linter) meaning() {
	r := l.rule
	switch {
	case r.Class == "":
		l.bad("class", "missing", "one of "+classNames())
	case !r.Class.Known():
		mend := "one of " + classNames()
		if n := nearest.To(string(r.Class), strings.Split(classNames(), ", ")); n != "" {
			mend = fmt.Sprintf("did you mean %q?", n)
		}
		l.bad("class", fmt.Sprintf("%q is no class", r.Class), mend)
	case r.Class == NotTried || r.Class == Suppressed || r.Class == ByOperator:
		l.bad("class", fmt.Sprintf("%s is what we say ourselves, and no receiver's reply", r.Class), "choose another class")
	}
	switch r.Action {
	case "", Retry, Delay, Slow, Return, Fix:
	case Suppress:
		if r.Class.Known() && r.Class.Info().Permanent != Suppress {
			l.bad("action", fmt.Sprintf("%s is nothing an address is suppressed for", r.Class), "only InvalidRecipient and InactiveMailbox are")
		}
	default:
		l.bad("action", fmt.Sprintf("%q is no action", r.Action), "write retry, delay, slow, return, suppress or fix")
	}
}

func (l *linter) remedies() {
	r := l.rule
	if err := r.Threshold.Check(); err != nil {
		l.fromShaping("threshold", err)
	}
	if r.Threshold != (shaping.Threshold{}) && len(r.Do) == 0 {
		l.bad("threshold", "counts for nothing: the rule does nothing", "write do, or leave the threshold out")
	}
	for i, d := range r.Do {
		field := fmt.Sprintf("do[%d]", i)
		if err := d.Remedy.Check(); err != nil {
			l.fromShaping(field, err)
			continue
		}
		if err := d.Threshold.Check(); err != nil {
			l.fromShaping(field, err)
		}
		switch d.Remedy.Action {
		case shaping.Delay: // a reroute does come about: after it a 5yz of the usual way is not the last word
			if l.codes != (codes{}) && !l.codes.class(4) {
				l.bad(field, fmt.Sprintf("%s never comes about: after a 5yz nothing is tried again", d.Remedy.Action), "it goes with a 4yz")
			}
		}
		if d.Remedy.Action == shaping.Reroute && !slices.Contains(l.Routes, d.Remedy.Route) {
			l.bad(field, fmt.Sprintf("no route has the name %q", d.Remedy.Route), "name one of the routes of the configuration")
		}
		if slices.Contains(r.Do[:i], d) {
			l.bad(field, "stands twice", "keep one")
		}
	}
}

func (l *linter) fromShaping(field string, err error) {
	var re *shaping.RefusedError
	if errors.As(err, &re) {
		what := re.What
		if re.Field != "" {
			what = re.Field + ": " + what
		}
		l.bad(field, what, re.Mend)
		return
	}
	l.bad(field, err.Error(), "")
}

func firstPart(err error) string { s, _, _ := strings.Cut(err.Error(), "; "); return s }

func lastPart(err error) string { _, s, _ := strings.Cut(err.Error(), "; "); return s }

func classNames() string {
	var names []string
	for _, i := range Classes {
		if i.Class != NotTried && i.Class != Suppressed && i.Class != ByOperator {
			names = append(names, string(i.Class))
		}
	}
	return strings.Join(names, ", ")
}
