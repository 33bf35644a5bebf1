package shaping

import (
	"fmt"
	"slices"
	"strings"
)

// How much history is kept: enough for a person to see and undo weeks of work,
// and bounded, because every node holds it in memory and in snapshots.
const (
	maxHistory     = 200
	maxDifferences = 2 * MaxRules // in all entries together
	// maxReactionHistory is apart from the rest.
	maxReactionHistory = 200
)

// Diff tells what makes the rules of one layer out of old ones, sorted by To and Per.
func Diff(old, new []Rule) []Difference {
	before, after := byPlace(old), byPlace(new)
	places := make([]rulePlace, 0, len(before)+len(after))
	for p := range before {
		places = append(places, p)
	}
	for p := range after {
		if before[p] == nil {
			places = append(places, p)
		}
	}
	slices.SortFunc(places, rulePlace.compare)
	var out []Difference
	for _, p := range places {
		if b, a := before[p], after[p]; b == nil || a == nil || !b.same(a) {
			out = append(out, Difference{Before: b, After: a})
		}
	}
	return out
}

// To is the destination the difference is about.
func (d Difference) To() string {
	if d.After != nil {
		return d.After.To
	}
	return d.Before.To
}

// Per is what its rule counts by.
func (d Difference) Per() Per {
	if d.After != nil {
		return d.After.Per
	}
	return d.Before.Per
}

// Shadow tells whether its rule is in shadow.
func (d Difference) Shadow() bool {
	if d.After != nil {
		return d.After.Shadow
	}
	return d.Before.Shadow
}

// String is the difference in words: "google: messages 1000/1h (was 500/1h); connections gone (was 5)".
func (d Difference) String() string {
	head := d.To()
	if p := d.Per(); p != 0 {
		head += " per " + p.String()
	}
	if d.Shadow() {
		head += " in shadow"
	}
	var items []string
	for _, f := range Fields {
		was, is := "", ""
		if d.Before != nil {
			was = d.Before.value(f)
		}
		if d.After != nil {
			is = d.After.value(f)
		}
		switch {
		case was == is:
		case was == "":
			items = append(items, fmt.Sprintf("%s %s", f, is))
		case is == "":
			items = append(items, fmt.Sprintf("%s gone (was %s)", f, was))
		default:
			items = append(items, fmt.Sprintf("%s %s (was %s)", f, is, was))
		}
	}
	if len(items) == 0 {
		items = []string{"another note"}
	}
	return head + ": " + strings.Join(items, "; ")
}

// inWords tells several differences in one line.
func inWords(ds []Difference) string {
	const most = 3
	items := make([]string, 0, most)
	for _, d := range ds[:min(most, len(ds))] {
		items = append(items, d.String())
	}
	s := strings.Join(items, " | ")
	if more := len(ds) - most; more > 0 {
		s += fmt.Sprintf(" | and %d more", more)
	}
	return s
}

// rulePlace is where a rule stands: there is one rule for each in a layer.
type rulePlace struct {
	to     string
	per    Per
	shadow bool
}

func (r *Rule) place() rulePlace { return rulePlace{canonicalTo(r.To), r.Per, r.Shadow} }

func (p rulePlace) compare(q rulePlace) int {
	if c := strings.Compare(p.to, q.to); c != 0 {
		return c
	}
	if p.shadow != q.shadow {
		if q.shadow {
			return -1
		}
		return 1
	}
	return int(p.per) - int(q.per)
}

func byPlace(rules []Rule) map[rulePlace]*Rule {
	m := make(map[rulePlace]*Rule, len(rules))
	for i := range rules {
		m[rules[i].place()] = &rules[i]
	}
	return m
}

// same tells whether two rules of one place say the same.
func (r *Rule) same(o *Rule) bool {
	num := func(a, b *int) bool { return a == b || a != nil && b != nil && *a == *b }
	return r.Note == o.Note && num(r.Connections, o.Connections) && num(r.PerConnection, o.PerConnection) &&
		slices.Equal(r.Messages, o.Messages) && slices.Equal(r.Recipients, o.Recipients) && slices.Equal(r.NewConnections, o.NewConnections)
}

// normal puts rules into the one form in which a Book keeps what is set.
func normal(rules []Rule) []Rule {
	out := make([]Rule, len(rules))
	for i, r := range rules {
		out[i] = r.clone()
		out[i].To = canonicalTo(r.To)
	}
	slices.SortFunc(out, func(a, b Rule) int { return a.place().compare(b.place()) })
	return out
}

// remember appends an entry and drops the oldest ones that are too many. Those about
// reactions are counted apart: a busy night of them must not push out what people did.
func (b *Book) remember(e Entry) {
	h := append(slices.Clone(b.History), e)
	people, differences := 0, 0
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].reacts() {
			continue
		}
		people++
		differences += len(h[i].Set)
		// The newest entry stays whatever its size: the last change can always be undone.
		// What is older than one that goes must go, too: nothing can be undone beyond it.
		if people > maxHistory || differences > maxDifferences && people > 1 {
			h = slices.Clone(h[i+1:])
			break
		}
	}
	reactions := 0
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].reacts() {
			if reactions++; reactions > maxReactionHistory {
				h = slices.Delete(h, i, i+1)
			}
		}
	}
	b.History = h
}

// reacts tells whether the entry is about what replies brought about, or its end.
func (e *Entry) reacts() bool { return e.Op == OpReact || e.Op == OpRecover }

// setAt returns what was set at run time at a version, by undoing what came since.
func (b *Book) setAt(version uint64) ([]Rule, error) {
	oldest := b.Version
	if len(b.History) > 0 {
		oldest = b.History[0].Version - 1
	}
	switch {
	case version > b.Version:
		return nil, refuse("", fmt.Sprintf("there is no version %d yet", version), fmt.Sprintf("the newest is %d", b.Version))
	case version < oldest:
		return nil, refuse("", fmt.Sprintf("version %d is older than the history that is kept", version), fmt.Sprintf("the oldest is %d", oldest))
	}
	rules := byPlace(b.Set)
	for i := len(b.History) - 1; i >= 0 && b.History[i].Version > version; i-- {
		for _, d := range b.History[i].Set {
			if d.Before == nil {
				delete(rules, d.After.place())
			} else {
				rules[d.Before.place()] = d.Before
			}
		}
	}
	out := make([]Rule, 0, len(rules))
	for _, r := range rules {
		out = append(out, *r)
	}
	return normal(out), nil // sorted: the map's order does not show
}
