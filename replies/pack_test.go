package replies_test

import (
	"testing"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/replies"
)

// shipped is the pack as a node without a configuration of its own has it.
func shipped(t testing.TB) ([]replies.Rule, *replies.Pack) {
	t.Helper()
	c, err := daemon.Parse("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	rules, groups := c.ReplyRules()
	for _, f := range replies.Check(replies.World{Groups: groups}, rules) {
		t.Errorf("%s: %s: %s; %s", rules[f.Rule].Name, f.Field, f.What, f.Mend)
	}
	p, err := replies.New(groups, rules)
	if err != nil {
		t.Fatal(err)
	}
	return rules, p
}

// Every reply of the corpus means what it is said to mean, every rule of the pack
// decides at least one of them, and none is kept from its turn.
func TestCorpus(t *testing.T) {
	rules, p := shipped(t)
	samples, err := replies.ParseSamples(replies.Corpus)
	if err != nil {
		t.Fatal(err)
	}
	decides := map[string]int{}
	wrong := 0
	for _, s := range samples {
		v := p.Look(s.Reply)
		decides[v.Rule]++
		if v.Class != s.Class || v.Action != s.Action || v.Rule != s.Rule {
			if wrong++; wrong <= 20 {
				t.Errorf("line %d: %s %s by %q, want %s %s by %q\n\t%s", s.Line, v.Class, v.Action, v.Rule, s.Class, s.Action, s.Rule, s.Reply.Reply)
			}
		}
	}
	if wrong > 20 {
		t.Errorf("and %d more", wrong-20)
	}
	for _, r := range rules {
		if decides[r.Name] == 0 {
			t.Errorf("no reply of the corpus is decided by %s", r.Name)
		}
	}
	for _, f := range p.Shadowed(samples, nil) {
		t.Errorf("%s %s", rules[f.Rule].Name, f.What)
	}
	if len(samples) < 300 {
		t.Errorf("only %d replies", len(samples))
	}
}
