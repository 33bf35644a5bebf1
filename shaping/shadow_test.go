package shaping

import (
	"strings"
	"testing"
)

// A rule in shadow stands beside the others: it takes nothing from them, and is itself
// the most specific of its kind.
func TestRulesInShadow(t *testing.T) {
	b := &Book{}
	for _, r := range []Rule{
		{To: "*", Messages: windows("100/1h")},
		{To: "a.net", Messages: windows("50/1h"), Connections: num(3)},
		{To: "a.net", Shadow: true, Messages: windows("10/1h")},
		{To: "*", Shadow: true, Messages: windows("1/1h"), Recipients: windows("20/1h")},
	} {
		next, err := b.Apply(Change{Op: OpSet, Rule: &r})
		if err != nil {
			t.Fatal(err)
		}
		b = next
	}
	tab, err := b.Table()
	if err != nil {
		t.Fatal(err)
	}
	x := tab.Bounds(Destination{Key: "domain:a.net"}, "", "")
	if len(x.Counters) != 1 || x.Counters[0].Windows[0].Max != 50 || len(x.Slots) != 1 {
		t.Errorf("what binds: %+v", x)
	}
	if len(x.Shadows) != 2 || x.Shadows[0].Windows[0].Max != 10 || x.Shadows[1].Unit != Recipients || x.Shadows[1].Windows[0].Max != 20 {
		t.Errorf("what is tried: %+v", x.Shadows)
	}
	e, err := tab.Explain("a.net", nil, "", "")
	if err != nil || len(e.Values) != 2 || !strings.Contains(strings.Join(e.Notes, "\n"), "messages 10/1h of a.net (set) counts in shadow and holds nothing") {
		t.Errorf("explained as %+v, %v", e, err)
	}
	if what := b.History[2].What; what != "a.net in shadow: messages 10/1h" {
		t.Errorf("the history says %q", what)
	}
	if b, err = b.Apply(Change{Op: OpUnset, To: "a.net", Shadow: true}); err != nil || len(b.Set) != 3 {
		t.Errorf("taken back: %+v, %v", b, err)
	}
	if _, err = b.Apply(Change{Op: OpUnset, To: "a.net", Shadow: true}); err == nil || !strings.Contains(err.Error(), "in shadow") {
		t.Errorf("taken back twice: %v", err)
	}
	shut, err := b.Apply(Change{Op: OpSet, Rule: &Rule{To: "b.net", Shadow: true, Messages: windows("0/1h")}})
	if err != nil {
		t.Fatal(err)
	}
	if tab, _ = shut.Table(); tab.Bounds(Destination{Key: "domain:b.net"}, "", "").Suspended != nil {
		t.Error("a rule in shadow suspends")
	}
	if _, err = b.Apply(Change{Op: OpSet, Rule: &Rule{To: "b.net", Shadow: true, Connections: num(3)}}); err == nil || !strings.Contains(err.Error(), "cannot be tried in shadow") {
		t.Errorf("connections in shadow: %v", err)
	}
}
