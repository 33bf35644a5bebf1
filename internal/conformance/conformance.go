// Package conformance answers one question: what of the wire's rules do we keep,
// and which test says so?
//
// A rule has an id (A1, B3, …). A test is a rule's when its name begins with the
// id: TestB1_smuggling; with several when it begins with several: TestD1_M1_later.
// Nothing else is recorded anywhere, so a test that is moved or renamed takes its
// entry along. The rules stand in rules_*.go, with what of them does not hold and
// why. From both comes docs/conformance.md; `make conformance` runs the tests and
// writes it, and the tests of this package fail when a rule has neither test nor
// reason, or when the page is out of date.
package conformance

// Rule is one thing that must hold on the wire.
type Rule struct {
	ID   string // a section's letter and a number
	What string // what is sent and what must come back, in Markdown
	Not  string // what of it does not hold, and why; empty: all of it does
}

// Section is a group of rules.
type Section struct {
	Title string // behind the letter
	Rules []Rule
}

// Sections are all rules, in the order of the page.
func Sections() []Section {
	return []Section{session, data, pipelining, extensions, startTLS, relay, abuse, headers}
}
