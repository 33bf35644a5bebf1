package shaping

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/internal/nearest"
	"github.com/tarishi/tarishi/mail"
)

// Bounds of a Book: every node holds it in memory, and every change goes through
// the log.
const (
	MaxRules      = 10_000 // in each layer; more destinations than that want a pattern
	MaxGroups     = 1_000
	maxMembers    = 1_000 // of one named destination
	maxConcurrent = 1_000_000
	maxNote       = 400
)

// RuleFault is what is wrong with one of several rules.
type RuleFault struct {
	Index int // the rule's position
	*RefusedError
}

// Check finds everything that is wrong with the rules of one layer, given the
// named destinations.
func Check(groups map[string]Group, rules []Rule) []RuleFault {
	var out []RuleFault
	first := map[rulePlace]int{}
	for i := range rules {
		r := &rules[i]
		for _, e := range checkRule(groups, r) {
			out = append(out, RuleFault{i, e})
		}
		at := r.place()
		if j, twice := first[at]; twice {
			out = append(out, RuleFault{i, &RefusedError{"to", fmt.Sprintf("%q per %s has a limit already (number %d)", r.To, r.Per, j+1), "put all its fields into one"}})
			continue
		}
		first[at] = i
	}
	if len(rules) > MaxRules {
		out = append(out, RuleFault{MaxRules, &RefusedError{"", fmt.Sprintf("%d limits are too many", len(rules)), fmt.Sprintf("at most %d; a pattern such as *.example.net is one limit for many", MaxRules)}})
	}
	return out
}

// firstFault is Check for those who stop at the first one.
func firstFault(groups map[string]Group, rules []Rule) error {
	faults := Check(groups, rules)
	if len(faults) == 0 {
		return nil
	}
	f := faults[0]
	if f.Field == "" || f.Field == "to" {
		return &RefusedError{What: f.What, Mend: f.Mend} // it names the rule, or there is one only
	}
	return &RefusedError{Field: rules[f.Index].To + " " + f.Field, What: f.What, Mend: f.Mend}
}

func checkRule(groups map[string]Group, r *Rule) []*RefusedError {
	var out []*RefusedError
	bad := func(field Field, err error) {
		var re *RefusedError
		if errors.As(err, &re) {
			out = append(out, &RefusedError{string(field) + re.Field, re.What, re.Mend})
		}
	}
	bad("to", checkTo(groups, r.To))
	if r.Per&^(Source|Tenant) != 0 {
		bad("per", refuse("", "counts by something this version does not know", "write source, tenant or both"))
	}
	for _, f := range Fields[:3] {
		ws := r.Windows(f)
		if ws != nil && len(ws) == 0 {
			bad(f, refuse("", "is an empty list, which limits nothing", "leave it out, or write how many in how long"))
		}
		bad(f, checkWindows(ws))
	}
	for _, f := range Fields[3:] {
		n := r.Number(f)
		switch {
		case n == nil:
		case *n < 0:
			bad(f, refuse("", fmt.Sprintf("%d is negative", *n), "leave it out for the default"))
		case *n == 0 && f == PerConnection:
			bad(f, refuse("", "0 would open connections for no mail", "at least 1; connections: 0 suspends"))
		case *n > maxConcurrent:
			bad(f, refuse("", fmt.Sprintf("%d is no limit anybody reaches", *n), fmt.Sprintf("at most %d, or leave it out", maxConcurrent)))
		}
	}
	if r.Per&Tenant != 0 {
		for _, f := range Fields[2:] {
			if r.Gives(f) {
				bad(f, refuse("", "cannot count per tenant: tenants share connections", "limit messages or recipients per tenant, and connections per source or for the cluster"))
			}
		}
	}
	if r.Shadow {
		for _, f := range Fields[3:] {
			if r.Gives(f) {
				bad(f, refuse("", "cannot be tried in shadow: what is not held is not counted", "try messages, recipients or new_connections"))
			}
		}
	}
	if r.Empty() {
		bad("", refuse("", "limits nothing", "give messages, recipients, new_connections, connections or per_connection"))
	}
	bad("note", checkText(r.Note))
	return out
}

// checkTo refuses a To that names nothing.
func checkTo(groups map[string]Group, to string) error {
	if to == "" {
		return refuse("", "names nobody", `write a domain, a named destination, "*.example.net" or "*"`)
	}
	if _, named := groups[to]; named || to == "*" {
		return nil
	}
	if tail, ok := strings.CutPrefix(to, "*."); ok || strings.Contains(to, ".") {
		// A single label is told from a named destination by its star only.
		if !isDomain(tail) || !ok && !strings.Contains(canonicalTo(to), ".") {
			return refuse("", fmt.Sprintf("%q is no domain", to), `write a domain, "*.example.net" or "*"`)
		}
		return nil
	}
	names := slices.Sorted(maps.Keys(groups))
	mend := "there are none; define it under destinations, or write a domain"
	if n := nearest.To(to, names); n != "" {
		mend = fmt.Sprintf("did you mean %q?", n)
	} else if len(names) > 0 {
		mend = "those defined are " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	return refuse("", fmt.Sprintf("%q is a destination nobody defined", to), mend)
}

// isDomain tells whether s is the name of a host or domain, as RFC 1123 §2.1 and
// IDN have them.
func isDomain(s string) bool {
	d := string(mail.CanonicalDomain(s))
	if _, err := netip.ParseAddr(d); err == nil || d == "" || len(d) > 253 {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		ok := label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		if !ok || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// canonicalTo is the one spelling of a To: domains as mail.CanonicalDomain has them.
func canonicalTo(to string) string {
	if tail, ok := strings.CutPrefix(to, "*."); ok {
		return "*." + string(mail.CanonicalDomain(tail))
	}
	if strings.Contains(to, ".") {
		return string(mail.CanonicalDomain(to))
	}
	return to
}

// CheckGroups finds everything that is wrong with the named destinations. The
// fields begin with the name: "google.mx[0]".
func CheckGroups(groups map[string]Group) []*RefusedError {
	var out []*RefusedError
	bad := func(field, what, mend string) { out = append(out, &RefusedError{field, what, mend}) }
	names := slices.Sorted(maps.Keys(groups))
	if len(names) > MaxGroups {
		bad("", fmt.Sprintf("%d named destinations are too many", len(names)), fmt.Sprintf("at most %d", MaxGroups))
	}
	taken := map[string]string{} // "mx *.google.com" → where it was seen
	for _, name := range names {
		g := groups[name]
		if name == "" || len(name) > 64 || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			bad(name, fmt.Sprintf("%q cannot be told from a domain or a pattern", name), "use a name of letters, digits, - and _")
		}
		if len(g.MX)+len(g.Domains) == 0 {
			bad(name, "has no members", "list mx, domains or both")
		}
		if len(g.MX)+len(g.Domains) > maxMembers {
			bad(name, fmt.Sprintf("%d members are too many", len(g.MX)+len(g.Domains)), fmt.Sprintf("at most %d", maxMembers))
		}
		for _, list := range []struct {
			key     string
			members []string
		}{{"mx", g.MX}, {"domains", g.Domains}} {
			for i, m := range list.members {
				field := fmt.Sprintf("%s.%s[%d]", name, list.key, i)
				if m == "*" {
					bad(field, `"*" would be everybody`, `limit to: "*" instead`)
					continue
				}
				if !isDomain(strings.TrimPrefix(m, "*.")) {
					bad(field, fmt.Sprintf("%q is no domain", m), `write example.net or "*.example.net"`)
					continue
				}
				k := list.key + " " + canonicalTo(m)
				if where, twice := taken[k]; twice {
					bad(field, fmt.Sprintf("%q belongs to %s already", m, where), "keep one")
					continue
				}
				taken[k] = field
			}
		}
	}
	return out
}

// checkText bounds what people write into the log: one line that is fit to print.
func checkText(s string) error {
	if len(s) > maxNote || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return refuse("", "is not one line", fmt.Sprintf("write at most %d octets without control characters", maxNote))
	}
	return nil
}
