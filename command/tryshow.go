package command

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// printTry prints what was said, by whom, and what would be stored.
func printTry(w io.Writer, r *tryResult, width int) {
	for _, s := range r.Steps {
		fmt.Fprintln(w, "C:", clean(s.Command))
		t := table{head: []string{"  HOOK", "PLUGIN", "FUNCTION", "VERDICT", ">TOOK", "REPLY"}}
		for _, f := range s.Functions {
			said := f.Reply
			if f.Fault != "" {
				said += " (" + f.Fault + ")"
			}
			t.add("  "+f.Hook, f.Plugin, f.Function, f.Verdict, brief(f.Seconds), said)
		}
		if len(t.rows) > 0 {
			t.write(w, width)
		}
		for line := range strings.SplitSeq(s.Reply, "\n") {
			if line != "" {
				fmt.Fprintln(w, "S:", clean(line))
			}
		}
	}
	fmt.Fprintln(w)
	for _, f := range r.Results {
		fmt.Fprintf(w, "Result of %s, of the %s:", clean(f.Plugin), f.Of)
		for _, l := range slices.Sorted(maps.Keys(f.Lists)) {
			fmt.Fprintf(w, " %s: %s;", l, clean(strings.Join(f.Lists[l], ", ")))
		}
		for _, k := range slices.Sorted(maps.Keys(f.Values)) {
			fmt.Fprintf(w, " %s = %s;", clean(k), clean(fmt.Sprint(f.Values[k])))
		}
		fmt.Fprintln(w)
	}
	if len(r.NotAsked) > 0 {
		fmt.Fprintf(w, "Not asked, as nothing is stored: %s.\n", strings.Join(r.NotAsked, ", "))
	}
	x := r.Stored
	if x == nil {
		fmt.Fprintln(w, "Nothing would be stored.")
		return
	}
	fmt.Fprintf(w, "Would be stored: from <%s> to %s", clean(x.From), clean(strings.Join(x.To, ", ")))
	if x.Tenant != "" {
		fmt.Fprintf(w, ", tenant %s", clean(x.Tenant))
	}
	if x.Class != "" {
		fmt.Fprintf(w, ", class %s", x.Class)
	}
	fmt.Fprintln(w)
	if len(x.Notes) > 0 {
		fmt.Fprintln(w, "Notes:", clean(string(x.Notes)))
	}
	for _, l := range x.Removed {
		fmt.Fprintln(w, "-", clean(l))
	}
	for _, l := range x.Added {
		fmt.Fprintln(w, "+", clean(l))
	}
}
