package replies

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// Sample is one reply that a receiver has been seen to give, and what is to be
// made of it.
type Sample struct {
	Line   int
	Reply  Reply
	Class  Class
	Action Action
	Rule   string // empty: no rule of the pack
}

// ParseSamples reads a corpus: a line a reply, "#" begins a comment,
//
//	DESTINATION PHASE CLASS ACTION RULE 421 4.7.28 the text
//
// where "-" is no destination, any phase and no rule, and a DESTINATION with a dot
// is a domain.
func ParseSamples(src string) ([]Sample, error) {
	var out []Sample
	sc := bufio.NewScanner(strings.NewReader(src))
	for line := 1; sc.Scan(); line++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		var f [5]string
		for i := range f {
			word, rest, ok := strings.Cut(text, " ")
			if !ok {
				return nil, fmt.Errorf("line %d: write DESTINATION PHASE CLASS ACTION RULE and the reply", line)
			}
			f[i], text = word, strings.TrimLeft(rest, " ")
			if f[i] == "-" {
				f[i] = ""
			}
		}
		r, err := ParseReply(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		s := Sample{Line: line, Reply: Reply{Reply: r, Phase: Phase(f[1])}, Class: Class(f[2]), Action: Action(f[3]), Rule: f[4]}
		s.Reply.Domain, s.Reply.Destination = Whose(f[0])
		out = append(out, s)
	}
	return out, sc.Err()
}

// Whose is a destination as people write it: a domain, or the name of one.
func Whose(name string) (mail.Domain, shaping.Destination) {
	switch {
	case name == "":
		return "", shaping.Destination{}
	case strings.Contains(name, "."):
		d := mail.CanonicalDomain(name)
		return d, shaping.Destination{Key: "domain:" + string(d)}
	}
	return "", shaping.Destination{Key: "name:" + name}
}

// ParseReply reads a reply as it stands in a log: "421 4.7.28 the text".
func ParseReply(s string) (mail.Reply, error) {
	s = strings.TrimSpace(strings.ReplaceAll(s, " / ", " ")) // as logs join lines
	code, err := strconv.Atoi(s[:min(3, len(s))])
	if err != nil || code < 200 || code > 599 || len(s) > 3 && s[3] != ' ' && s[3] != '-' {
		return mail.Reply{}, fmt.Errorf("%q is no reply; it begins with a code, such as 421 4.7.0 try again", s[:min(40, len(s))])
	}
	r := mail.Reply{Code: code, Text: strings.TrimSpace(s[min(4, len(s)):])}
	if first, rest, _ := strings.Cut(r.Text, " "); len(first) >= 5 {
		if e, ok := mail.ParseEnhancedCode(first); ok && int(e[0]) == code/100 {
			r.Enhanced, r.Text = e, rest
		}
	}
	return r, nil
}

// Shadowed finds rules that fit samples and yet decide none, because others before
// them do. only says which rules are of interest; nil: all.
func (p *Pack) Shadowed(samples []Sample, only func(*Rule) bool) []Fault {
	fits, first := make([]int, len(p.rules)), make([]int, len(p.rules))
	by := make([]string, len(p.rules))
	for k := range samples {
		r := samples[k].Reply
		words := Words(r.Text)
		r.Enhanced, words = status(&r.Reply, words)
		winner := -1
		var found bits
		p.words.find(words, &found)
		for i, c := range p.rules {
			if !(found.has(i) || p.bare.has(i)) || !c.fits(p, &r, words) {
				continue
			}
			fits[i]++
			if winner < 0 {
				winner = i
				first[i]++
				continue
			}
			by[i] = p.rules[winner].Name
		}
	}
	var out []Fault
	for i, c := range p.rules {
		if fits[i] > 0 && first[i] == 0 && (only == nil || only(c.Rule)) {
			out = append(out, Fault{i, "", fmt.Sprintf("never has its turn: of %d known replies that it fits, others before it decide all, such as %s", fits[i], by[i]),
				"put it before that one, or take it away"})
		}
	}
	return out
}
