package replies

import (
	"errors"
	"fmt"
	"maps"
	bits64 "math/bits"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// Pack is rules made ready to be asked. It is not changed once made, so any number
// of goroutines may ask. A nil one knows codes, and neither rules nor phrases.
type Pack struct {
	rules []*compiled
	bare  bits // rules that no text is known of that must stand in the reply
	words *automaton
	names shaping.Patterns[string] // domains of named destinations
	hosts shaping.Patterns[string] // and their MX hosts
}

// compiled is one rule.
type compiled struct {
	*Rule
	all      bool                       // for everybody
	names    map[string]bool            // named destinations
	members  shaping.Patterns[struct{}] // their domains
	hosts    shaping.Patterns[struct{}] // and their MX hosts
	domains  shaping.Patterns[struct{}] // domains given one by one
	mx       shaping.Patterns[struct{}] // and hosts
	codes    codes
	enhanced []enhanced
	phases   map[Phase]bool
	text     *regexp.Regexp // nil: none, or exact
	exact    bool           // that a text of it was found is all there is to ask
	hits     []Hit          // without To
}

// New makes the rules ready, the first to be asked first. groups are the named
// destinations as they are counted. The error names the first rule that is wrong; Check finds all that is.
func New(groups map[string]shaping.Group, rules []Rule) (*Pack, error) {
	if n := len(rules) + len(strongPhrases) + len(phrases); n > maxBits {
		return nil, fmt.Errorf("%d rules are too many; at most %d", len(rules), MaxRules)
	}
	p := &Pack{}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		for _, d := range groups[name].Domains {
			if err := p.names.Add(d, name); err != nil {
				return nil, fmt.Errorf("destination %s: %w", name, err)
			}
		}
		for _, h := range groups[name].MX {
			if err := p.hosts.Add(h, name); err != nil {
				return nil, fmt.Errorf("destination %s: %w", name, err)
			}
		}
	}
	var texts []string
	var ids []int32
	for i := range rules {
		c, must, err := compile(&rules[i], groups)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", rules[i].Name, err)
		}
		p.rules = append(p.rules, c)
		if len(must) == 0 {
			p.bare.add(i)
		}
		for _, t := range must {
			texts, ids = append(texts, t), append(ids, int32(i))
		}
	}
	for i := range strongPhrases {
		texts, ids = append(texts, strongPhrases[i].text), append(ids, int32(len(rules)+i))
	}
	for i := range phrases {
		texts, ids = append(texts, phrases[i].text), append(ids, int32(len(rules)+len(strongPhrases)+i))
	}
	p.words = newAutomaton(texts, ids)
	return p, nil
}

// MaxRules is how many rules there may be in all.
const MaxRules = 1000

// compile makes one rule ready. must are texts, one of which stands in what it fits.
func compile(r *Rule, groups map[string]shaping.Group) (c *compiled, must []string, err error) {
	c = &compiled{Rule: r, names: map[string]bool{}, phases: map[Phase]bool{}}
	for _, f := range r.For {
		mx, isMX := strings.CutPrefix(f, "mx:")
		switch {
		case f == "*":
			c.all = true
		case isMX:
			err = c.mx.Add(mx, struct{}{})
		case strings.Contains(f, "."):
			err = c.domains.Add(f, struct{}{})
		default:
			c.names[f] = true
			g, ok := r.Groups[f]
			if !ok {
				g = groups[f]
			}
			err = errors.Join(addAll(&c.hosts, g.MX), addAll(&c.members, g.Domains))
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if c.codes, err = parseCodes(r.When.Code); err != nil {
		return nil, nil, err
	}
	for _, s := range r.When.Enhanced {
		e, err := parseEnhanced(s)
		if err != nil {
			return nil, nil, err
		}
		c.enhanced = append(c.enhanced, e)
	}
	for _, p := range r.When.Phase {
		c.phases[p] = true
	}
	if r.When.Text != "" {
		if c.text, err = compileText(r.When.Text); err != nil {
			return nil, nil, fmt.Errorf("text %w", err)
		}
		tree, err := syntax.Parse(c.text.String(), syntax.Perl)
		if err != nil {
			return nil, nil, err
		}
		if texts, ok := exactly(tree); ok && !contains(texts, "") {
			c.text, must = nil, texts
			c.exact = true
		} else {
			must = literals(tree)
		}
	}
	for _, d := range r.Do {
		t := d.Threshold
		if t == (shaping.Threshold{}) {
			t = r.Threshold
		}
		c.hits = append(c.hits, Hit{Rule: r.Name, Threshold: t, Remedy: d.Remedy})
	}
	return c, must, nil
}

// addAll adds the patterns that are not there yet.
func addAll(p *shaping.Patterns[struct{}], patterns []string) error {
	seen := map[string]bool{}
	for _, s := range patterns {
		if seen[s] {
			continue
		}
		seen[s] = true
		if err := p.Add(s, struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// Look says what a reply means. A positive one means nothing.
func (p *Pack) Look(r Reply) Verdict {
	if r.Code/100 != 4 && r.Code/100 != 5 {
		return Verdict{}
	}
	if r.Ours {
		c := ours(r.Enhanced)
		return Verdict{Class: c, Action: settle(c, "", &r)}
	}
	words := Words(r.Text)
	r.Enhanced, words = status(&r.Reply, words)
	var found bits
	if p != nil {
		p.words.find(words, &found)
		if c := p.rule(&r, words, &found); c != nil {
			return c.verdict(p, &r)
		}
	}
	c := p.general(&r, &found)
	return Verdict{Class: c, Action: settle(c, "", &r)}
}

// rule is the first that fits.
func (p *Pack) rule(r *Reply, words string, found *bits) *compiled {
	last := (len(p.rules) + 63) / 64
	for w := range last {
		for set := found[w] | p.bare[w]; set != 0; set &= set - 1 {
			i := w*64 + bits64.TrailingZeros64(set)
			if i >= len(p.rules) {
				return nil
			}
			if c := p.rules[i]; (!c.exact || found.has(i)) && c.fits(p, r, words) {
				return c
			}
		}
	}
	return nil
}

// fits tells whether the rule is for the reply, the cheapest questions first.
func (c *compiled) fits(p *Pack, r *Reply, words string) bool {
	switch {
	case !c.codes.has(r.Code):
		return false
	case len(c.phases) > 0 && r.Phase != "" && !c.phases[r.Phase]:
		return false
	case len(c.enhanced) > 0 && !slices.ContainsFunc(c.enhanced, func(e enhanced) bool { return e.has(r.Enhanced) }):
		return false
	case !c.all && !c.isFor(p, r):
		return false
	}
	return c.text == nil || c.text.MatchString(words)
}

// isFor tells whether the rule is for the reply's destination.
func (c *compiled) isFor(p *Pack, r *Reply) bool {
	if c.named(p, r) {
		return true
	}
	if _, ok := c.domains.For(r.Domain); ok && r.Domain != "" {
		return true
	}
	if r.Host == "" {
		return false
	}
	_, ok := c.mx.For(mail.CanonicalDomain(r.Host))
	return ok
}

// named tells whether the reply is of a named destination of the rule.
func (c *compiled) named(p *Pack, r *Reply) bool {
	if len(c.names) == 0 {
		return false
	}
	if n := p.named(r); n != "" && c.names[n] {
		return true
	}
	if r.Host != "" {
		_, ok := c.hosts.For(mail.CanonicalDomain(r.Host))
		return ok
	}
	_, ok := c.members.For(r.Domain)
	return ok
}

// named is the named destination of a reply: who said it decides before whose mail
// it was, since a domain may use another's hosts.
func (p *Pack) named(r *Reply) string {
	if r.Host != "" {
		if n, ok := p.hosts.For(mail.CanonicalDomain(r.Host)); ok {
			return n
		}
	}
	if r.Destination.Name != "" {
		return r.Destination.Name
	}
	if n, ok := strings.CutPrefix(r.Destination.Key, "name:"); ok {
		return n
	}
	n, _ := p.names.For(r.Domain)
	return n
}

// verdict is what the rule says of the reply.
func (c *compiled) verdict(p *Pack, r *Reply) Verdict {
	v := Verdict{Class: c.Class, Action: settle(c.Class, c.Rule.Action, r), Rule: c.Name}
	if len(c.hits) == 0 {
		return v
	}
	v.Hits = slices.Clone(c.hits)
	if name := p.named(r); name != "" && c.named(p, r) {
		for i := range v.Hits {
			v.Hits[i].To = name
		}
	}
	return v
}

// general is what codes and phrases say where no rule is.
func (p *Pack) general(r *Reply, found *bits) Class {
	if p != nil {
		if c, ok := firstPhrase(found, len(p.rules), strongPhrases); ok {
			return c
		}
	}
	if c, ok := sure(r.Enhanced); ok {
		return c
	}
	if p != nil {
		if c, ok := firstPhrase(found, len(p.rules)+len(strongPhrases), phrases); ok {
			return c
		}
	}
	return vague(r.Code, r.Enhanced, r.Phase)
}

// firstPhrase is the class of the first of list that was found; from is its id.
func firstPhrase(found *bits, from int, list []phrase) (Class, bool) {
	for i := range list {
		if found.has(from + i) {
			return list[i].class, true
		}
	}
	return "", false
}
