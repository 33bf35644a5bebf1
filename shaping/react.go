package shaping

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trigger asks for a reaction: the threshold of a rule was met, or an operator says so.
type Trigger struct {
	Rule   string      `json:"rule,omitempty"`
	Cause  string      `json:"cause,omitempty"`
	To     Destination `json:"to"`
	Source string      `json:"source,omitempty"`
	Tenant string      `json:"tenant,omitempty"`
	Remedy Remedy      `json:"remedy"`
}

// Cause makes a reply fit to be kept: one line, and not too long.
func Cause(reply string) string {
	s := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(reply, "?"), func(c rune) bool { return c <= ' ' || c == 0x7f }), " ")
	if len(s) <= MaxCause {
		return s
	}
	const dots = "…"
	return strings.ToValidUTF8(s[:MaxCause-len(dots)], "") + dots
}

// maxWord bounds the names in a trigger, in octets.
const maxWord = 300

// Check says what is wrong with the trigger, if anything.
func (t *Trigger) Check() error {
	kind, rest, _ := strings.Cut(t.To.Key, ":")
	if kind != "name" && kind != "domain" && kind != "site" && kind != "route" || rest == "" {
		return refuse("to", fmt.Sprintf("%q is no destination", t.To.Key), "write a domain, or the name of a destination that is defined")
	}
	for _, x := range []struct{ field, s string }{{"to", t.To.Key}, {"to", t.To.Name}, {"source", t.Source}, {"tenant", t.Tenant}, {"rule", t.Rule}, {"cause", t.Cause}} {
		if len(x.s) > maxWord || checkText(x.s) != nil {
			return refuse(x.field, "is not one line of a reasonable length", fmt.Sprintf("write at most %d octets without control characters", maxWord))
		}
	}
	if t.Remedy.Action.Local() {
		return refuse("", fmt.Sprintf("%s is about one attempt and no reaction", t.Remedy.Action), "write slow, suspend, hold or connections")
	}
	return t.Remedy.Check()
}

// react adds reactions, or deepens and prolongs those that are there already.
func (b *Book) react(c Change) (*Book, string, error) {
	if len(c.Triggers) == 0 {
		return nil, "", refuse("", "nothing to react to", "this is a fault of the program; please report it")
	}
	table, err := b.Table()
	if err != nil {
		return nil, "", err
	}
	next := *b
	next.Reactions = slices.Clone(b.Reactions)
	at := make(map[Place]int, len(next.Reactions))
	for i := range next.Reactions {
		at[next.Reactions[i].place()] = i
	}
	var said []string
	full := 0
	for _, t := range c.Triggers {
		if err := t.Check(); err != nil {
			return nil, "", err
		}
		r := newReaction(t, c)
		i, there := at[r.place()]
		switch {
		case there:
			if old := &next.Reactions[i]; t.Rule == "" || !old.Settling(c.At) {
				old.again(r)
				said = append(said, old.Whom()+" "+old.What()+" ("+old.Ref()+", again)")
			}
		case len(next.Reactions) >= MaxReactions:
			full++
		default:
			next.LastReaction++
			r.ID = next.LastReaction
			r.begin(table)
			at[r.place()] = len(next.Reactions)
			next.Reactions = append(next.Reactions, r)
			said = append(said, r.Whom()+" "+r.What()+" ("+r.Ref()+", "+r.By()+")")
		}
	}
	if len(said) == 0 {
		if full > 0 {
			return nil, "", refuse("", fmt.Sprintf("there are %d reactions already", len(next.Reactions)), "see them with `tarishi reactions ls`, and undo those that are not needed")
		}
		return b, "", nil
	}
	if full > 0 {
		said = slices.Insert(said, 0, fmt.Sprintf("%d more would be too many", full))
	}
	return &next, fewWords(said), nil
}

// newReaction is what a trigger asks for, before it is known what it cuts.
func newReaction(t Trigger, c Change) Reaction {
	r := Reaction{Rule: t.Rule, Author: c.Author, Cause: Cause(t.Cause), To: t.To, Remedy: t.Remedy, At: c.At}
	if r.Rule != "" {
		r.Author = ""
	}
	if r.Remedy.Per&Source != 0 {
		r.Source = t.Source
	}
	if r.Remedy.Per&Tenant != 0 {
		r.Tenant = t.Tenant
	}
	r.renew(c.At)
	return r
}

// renew begins its times anew.
func (r *Reaction) renew(now time.Time) {
	r.Times++
	r.Last, r.Until, r.Next = now, time.Time{}, time.Time{}
	if r.Remedy.For > 0 {
		r.Until = now.Add(r.Remedy.For)
	}
	if r.Remedy.Recover != (Recovery{}) {
		r.Next = now.Add(r.Remedy.Recover.Every)
	}
}

// begin finds what the reaction cuts, and cuts it.
func (r *Reaction) begin(t *Table) {
	switch r.Remedy.Action {
	case Slow:
		r.Left = whole
		r.Base, r.Open = t.baseFor(r)
		if r.Open {
			return // to begin there is a cut already
		}
		r.cut()
	case FewerConns:
		r.Left, r.Conns = whole, t.connsFor(r)
		r.cut()
	}
}

// again deepens and prolongs the reaction, by the remedy as the rule has it now.
func (r *Reaction) again(o Reaction) {
	r.Remedy, r.Cause, r.Author = o.Remedy, o.Cause, o.Author
	until := r.Until
	r.renew(o.Last)
	if r.Remedy.Action != Suspend && r.Remedy.Action != Hold {
		r.cut()
	} else if r.Until.Before(until) {
		r.Until = until
	}
}

// baseFor is what a slow reaction cuts: of the limits of messages that concern it,
// the lowest in the long run, those of its own scope first. Where there is none, it
// begins where the remedy says.
func (t *Table) baseFor(r *Reaction) (w Window, open bool) {
	for _, own := range []bool{true, false} {
		for p := range t.scopes {
			if (Per(p) == r.Remedy.Per) != own {
				continue
			}
			l, ok := first(t.rulesFor(r.To, Per(p)), Messages)
			if !ok {
				continue
			}
			for _, x := range l.Messages {
				if x.Max > 0 && (w == Window{} || slower(x, w)) {
					w = x
				}
			}
		}
		if w != (Window{}) {
			return w, false
		}
	}
	return r.Remedy.Start, true
}

// connsFor is how many connections a reaction cuts.
func (t *Table) connsFor(r *Reaction) int {
	n := 0
	for p := range t.scopes {
		if l, ok := first(t.rulesFor(r.To, Per(p)), Connections); ok && *l.Connections > 0 && (n == 0 || *l.Connections < n) {
			n = *l.Connections
		}
	}
	if n == 0 {
		n = DefaultLimit.Connections
	}
	return n
}

// recoverAll takes the steps of recovery that are due, and ends what is over.
func (b *Book) recoverAll(c Change) (*Book, string, error) {
	var kept []Reaction
	var said []string
	moved := false
	for _, r := range b.Reactions {
		stepped, over := r.recover(c.At)
		moved = moved || stepped || over
		if over {
			said = append(said, r.Whom()+" ("+r.Ref()+") is over")
			continue
		}
		kept = append(kept, r)
	}
	if !moved {
		return b, "", nil
	}
	next := *b
	next.Reactions = kept
	if len(said) == 0 {
		next.Version++ // a step is no news to people, but all nodes must have it
	}
	return &next, fewWords(said), nil
}

// undo ends reactions at an operator's word.
func (b *Book) undo(c Change) (*Book, string, error) {
	if len(c.IDs) == 0 {
		return nil, "", refuse("", "no reaction is named", "see them with `tarishi reactions ls`")
	}
	gone := map[uint64]bool{}
	for _, id := range c.IDs {
		gone[id] = true
	}
	var kept []Reaction
	var said []string
	for _, r := range b.Reactions {
		if !gone[r.ID] {
			kept = append(kept, r)
			continue
		}
		delete(gone, r.ID)
		said = append(said, r.Whom()+" ("+r.Ref()+", "+r.By()+") is undone")
	}
	for _, id := range c.IDs {
		if gone[id] {
			return nil, "", refuse("", fmt.Sprintf("there is no reaction r%d", id), "it may be over; see them with `tarishi reactions ls`")
		}
	}
	next := *b
	next.Reactions = kept
	return &next, fewWords(said), nil
}

// NextReaction is when a reaction recovers by a step or is over next; zero: none
// does. Whoever leads then asks for OpRecover.
func (b *Book) NextReaction() time.Time {
	var next time.Time
	for i := range b.Reactions {
		for _, t := range []time.Time{b.Reactions[i].Until, b.Reactions[i].Next} {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next
}

// fewWords tells several things in one line.
func fewWords(said []string) string {
	const most = 3
	s := strings.Join(said[:min(most, len(said))], " | ")
	if more := len(said) - most; more > 0 {
		s += fmt.Sprintf(" | and %d more", more)
	}
	return s
}
