package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// Result is what running a test came to: "pass", "fail" or "skip".
type Result = string

// Page is docs/conformance.md. result tells what a test came to; one that needs a
// build tag is not asked for.
func Page(tests []Test, result func(Test) Result) string {
	var b strings.Builder
	b.WriteString(`# What holds on the wire

Each rule has an id, and each test that proves it carries the id in its name. This page is written by ` + "`make conformance`" + `, which runs them; a test fails when it is out of date. Reply codes may differ within their class; the state behind a reply is part of the test.

Where we depart from a standard on purpose: [divergences.md](divergences.md). Which standard is kept where: [rfc.md](rfc.md).
`)
	for i, s := range Sections() {
		fmt.Fprintf(&b, "\n## %c. %s\n\n| id | rule | tests | |\n|---|---|---|---|\n", 'A'+i, s.Title)
		for _, r := range s.Rules {
			of := Of(tests, r.ID)
			what := r.What
			if r.Not != "" {
				what += " **Not so:** " + r.Not
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.ID, cell(what), strings.Join(links(of), ", "), state(r, of, result))
		}
	}
	b.WriteString("\nThe sections on outbound dialogue, TLS policy, DNS, authentication and cluster (I to M) are proved under the same kind of names, but not listed here.\n")
	return b.String()
}

// Of returns those of tests that prove the rule.
func Of(tests []Test, rule string) (of []Test) {
	for _, t := range tests {
		if slices.Contains(t.IDs, rule) {
			of = append(of, t)
		}
	}
	return of
}

func links(tests []Test) (out []string) {
	for i, t := range tests {
		link := fmt.Sprintf("[%s](../%s/%s)", t.Short(), t.Dir, t.File)
		if i == 0 || tests[i-1].Dir != t.Dir {
			link = "`" + t.Dir + "`: " + link
		}
		if t.Tag != "" {
			link += " (" + t.Tag + ")"
		}
		out = append(out, link)
	}
	return out
}

// state is the last column: what the tests came to, and whether they are the whole rule.
func state(r Rule, tests []Test, result func(Test) Result) string {
	bad, ran := 0, 0
	for _, t := range tests {
		if t.Tag != "" {
			continue
		}
		ran++
		if result(t) != "pass" {
			bad++
		}
	}
	switch {
	case bad > 0:
		return "**FAILS**"
	case ran == 0 && r.Not != "":
		return "does not hold"
	case ran == 0:
		return "**NOT PROVED**"
	case r.Not != "":
		return "holds in part"
	}
	return "holds"
}

// cell keeps a text from ending its cell of the table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
