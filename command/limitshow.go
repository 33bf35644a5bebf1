package command

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/shaping"
)

// printLimits prints what is suspended, the rules, and the limits in use.
func printLimits(w io.Writer, l admin.LimitsList, width int) {
	if len(l.Rules)+len(l.Suspensions)+l.Reactions == 0 {
		fmt.Fprintln(w, "There are no limits; see `tarishi limits set --help`.")
		return
	}
	printSuspensions(w, l)
	if len(l.Rules) > 0 {
		t := table{head: []string{"~TO", "PER", "~LIMITS", "FROM", "NOTE"}}
		for _, r := range l.Rules {
			where := "set"
			if r.Layer == shaping.LayerFile {
				where = "file"
			}
			t.add(r.To, per(r.Per), limitsOf(l, r), where, r.Note)
		}
		t.write(w, width)
		fmt.Fprintln(w)
	}
	printInUse(w, l, width)
}

// printLiveLimits is the part of a listing that moves.
func printLiveLimits(w io.Writer, l admin.LimitsList, width int) {
	printSuspensions(w, l)
	printInUse(w, l, width)
}

func printSuspensions(w io.Writer, l admin.LimitsList) {
	for _, s := range l.Suspensions {
		fmt.Fprintln(w, suspended(l.Now, s))
	}
	if l.Reactions > 0 {
		fmt.Fprintf(w, "REACTIONS  %s to replies in force; see `tarishi reactions ls`\n", count(l.Reactions))
	}
	if len(l.Suspensions)+l.Reactions > 0 {
		fmt.Fprintln(w)
	}
}

// suspended says in one line what keeps a destination from being sent anything.
func suspended(now time.Time, s shaping.Suspension) string {
	line := "SUSPENDED  " + clean(s.To)
	switch {
	case !s.Until.IsZero():
		line += " until " + stamp(s.Until, until(now, s.Until))
	case !s.At.IsZero():
		line += " until it is resumed"
	}
	if s.Author != "" {
		line += ", by " + clean(s.Author)
	}
	if !s.At.IsZero() {
		line += " " + ago(now, s.At)
	}
	if s.Reason != "" {
		line += ": " + clean(s.Reason)
	}
	return line
}

// limitsOf is a rule's fields in one cell; those that a rule set at run time
// replaces are in parentheses.
func limitsOf(l admin.LimitsList, r admin.LimitRule) string {
	var over *admin.LimitRule
	if r.Layer == shaping.LayerFile {
		if i := slices.IndexFunc(l.Rules, func(o admin.LimitRule) bool {
			return o.Layer == shaping.LayerSet && o.To == r.To && o.Per == r.Per && o.Shadow == r.Shadow
		}); i >= 0 {
			over = &l.Rules[i]
		}
	}
	var items []string
	for _, f := range shaping.Fields {
		if !r.Gives(f) {
			continue
		}
		s := fieldWord(f) + " " + limitValue(r.Windows(f), r.Number(f))
		if over != nil && over.Gives(f) {
			s = "(" + s + ")"
		}
		items = append(items, s)
	}
	if r.Shadow {
		return strings.Join(items, "; ") + " in shadow"
	}
	return strings.Join(items, "; ")
}

// fieldWord is a field as people read it: new_connections is "new connections".
func fieldWord(f shaping.Field) string { return strings.ReplaceAll(string(f), "_", " ") }

func limitValue(ws []shaping.Window, n *int) string {
	if n != nil {
		return count(*n)
	}
	return shaping.FormatWindows(ws)
}

// printInUse prints how the limits stand that mail went through lately.
func printInUse(w io.Writer, l admin.LimitsList, width int) {
	if len(l.Live) == 0 {
		fmt.Fprintln(w, "None is in use just now.")
		return
	}
	t := table{head: []string{"~DESTINATION", "OF", "LIMIT", ">USED", ">IN FLIGHT", ">WAITING", "NEXT RELEASE", "FROM"}}
	for _, x := range l.Live {
		limit := fieldWord(x.Field) + " " + fmt.Sprint(x.Max)
		if x.Window != "" {
			limit += "/" + x.Window
		}
		next := nextRelease(l.Now, x)
		if x.Shadow {
			limit += " in shadow"
			next = fmt.Sprintf("would have held %s of %s in %s", count(x.Held), count(x.Started), spell(l.Now.Sub(x.Since).Round(time.Second)))
		}
		t.add(x.Destination, whose(x.Source, x.Tenant), limit, count(x.Used), count(x.InFlight), count(x.Waiting), next, x.From.String())
	}
	t.write(w, width)
	if more := l.Total - len(l.Live); more > 0 {
		fmt.Fprintf(w, "%s in use not shown; see --max.\n", plural(more, "limit", "limits"))
	}
}

// whose says of which source and tenant a counter is.
func whose(source, tenant string) string {
	return strings.Join(slices.DeleteFunc([]string{source, tenant}, func(s string) bool { return s == "" }), " ")
}

// nextRelease is when a limit lets the next one through.
func nextRelease(now time.Time, x admin.LiveLimit) string {
	switch {
	case !x.Next.IsZero():
		return until(now, x.Next)
	case x.Used+x.InFlight < x.Max:
		return "room"
	case x.Window == "":
		return "when one closes"
	}
	return ""
}

// printExplanation prints whom a domain counts with, and each value with its origin.
func printExplanation(w io.Writer, e admin.LimitExplanation, width int) {
	as := "counts as " + e.Destination.String()
	switch kind, rest, _ := strings.Cut(e.Destination.Key, ":"); {
	case kind == "site":
		as = "counts with its site, " + rest
	case rest == e.Domain:
		as = "counts by itself"
	}
	fmt.Fprintf(w, "%s %s: %s.\n", clean(e.Domain), clean(as), clean(e.Why))
	if e.Suspended != nil {
		fmt.Fprintln(w, suspended(e.Now, *e.Suspended))
	}
	for i := range e.Reactions {
		r := &e.Reactions[i]
		line := fmt.Sprintf("REACTION   %s: %s %s, by %s", r.Ref(), r.Whom(), r.What(), r.By())
		if r.Cause != "" {
			line += ": " + r.Cause
		}
		fmt.Fprintln(w, clean(line))
	}
	for _, n := range e.Notes {
		fmt.Fprintln(w, "Note:", clean(n)+".")
	}
	fmt.Fprintln(w)
	t := table{head: []string{"LIMIT", "PER", "VALUE", "FROM", "INSTEAD OF", "COUNTED AS"}}
	given := map[shaping.Field]bool{}
	for _, v := range e.Values {
		given[v.Field] = true
		var others []string
		for _, o := range v.Overridden {
			others = append(others, o.Value+" of "+o.From.String())
		}
		t.add(fieldWord(v.Field), per(v.Per), limitValue(v.Windows, v.Number), v.From.String(), strings.Join(others, "; "), v.Counter)
	}
	if d := e.Defaults; d != nil {
		for _, x := range []struct {
			f shaping.Field
			n int
		}{{shaping.Connections, d.Connections}, {shaping.PerConnection, d.PerConnection}} {
			if !given[x.f] {
				t.add(fieldWord(x.f), "node", count(x.n), "delivery."+string(x.f), "", "")
			}
		}
	}
	if len(t.rows) > 0 {
		t.write(w, width)
	}
	var free []string
	for _, f := range shaping.Fields[:3] {
		if !given[f] {
			free = append(free, fieldWord(f))
		}
	}
	if len(free) > 0 {
		fmt.Fprintf(w, "Without limit: %s.\n", strings.Join(free, ", "))
	}
}

// printHistory prints one row per change.
func printHistory(w io.Writer, h admin.LimitHistory, width int) {
	if len(h.Entries) == 0 {
		fmt.Fprintln(w, "Nothing was ever changed.")
		return
	}
	t := table{head: []string{">VERSION", "WHEN", "WHO", "CHANGE"}}
	for _, e := range h.Entries {
		what := e.What
		if e.Reason != "" {
			what += " (" + e.Reason + ")"
		}
		t.add(fmt.Sprint(e.Version), ago(h.Now, e.At), e.Author, what)
	}
	t.write(w, width)
	fmt.Fprintf(w, "Version %d is in force; `tarishi limits rollback` goes back to %d at the earliest.\n", h.Version, h.Oldest)
	if h.More {
		fmt.Fprintln(w, "There are more; see --max.")
	}
}
