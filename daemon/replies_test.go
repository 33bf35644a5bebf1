package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/replies"
)

// ruled loads a configuration with a file of rules.
func ruled(t *testing.T, conf, rules string) (*Config, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "r.yaml")
	if err := os.WriteFile(name, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Parse("t.yaml", []byte("replies: {files: ["+name+"]}\n"+conf), nil)
	if err != nil {
		err = problemText(strings.ReplaceAll(err.Error(), filepath.Dir(name)+"/", ""))
	}
	return c, err
}

type problemText string

func (p problemText) Error() string { return string(p) }

func TestOwnRulesStandBeforeThePack(t *testing.T) {
	c, err := ruled(t, "", `
destinations:
  acme: {mx: ["*.acme.test"]}
rules:
  - name: mine
    for: [google, acme]
    when: {code: [421], text: "unusual rate"}
    class: SpamBlock
    threshold: 2 in 1h
    do: [suspend for 3h, slow 0.5 per source for 1h after 5 in 1m]
`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.ReplyPack()
	if err != nil {
		t.Fatal(err)
	}
	v := p.Look(replies.Reply{Reply: mail.R(421, "4.7.28", "Gmail has detected an unusual rate of unsolicited mail"), Host: "aspmx.l.google.com"})
	if v.Rule != "mine" || v.Class != replies.SpamBlock || len(v.Hits) != 2 || v.Hits[0].To != "google" || v.Hits[1].Threshold.Count != 5 {
		t.Errorf("%+v", v)
	}
	if _, ok := c.Groups()["acme"]; !ok {
		t.Error("the file's destination has no limits")
	}
}

func TestARuleOfTheSameName(t *testing.T) {
	c, err := ruled(t, "", "rules:\n  - name: google/spam\n    for: [google]\n    when: {code: [421]}\n    class: RateLimited")
	if err != nil {
		t.Fatal(err)
	}
	rules, _ := c.ReplyRules()
	n := 0
	for _, r := range rules {
		if r.Name == "google/spam" {
			n++
		}
	}
	if n != 1 || rules[0].Name != "google/spam" || rules[0].From == "pack" {
		t.Errorf("%d of the name, the first is %+v", n, rules[0])
	}
}

func TestPackOff(t *testing.T) {
	c, err := Parse("t.yaml", []byte("replies: {pack: off}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	rules, groups := c.ReplyRules()
	if len(rules)+len(groups) > 0 {
		t.Errorf("%d rules, %d destinations", len(rules), len(groups))
	}
}

func TestDestinationsOfThePack(t *testing.T) {
	c, err := Parse("t.yaml", []byte(`
destinations:
  gmail: {mx: ["*.google.com"]}
  yahoo: {domains: [y.test]}
limits: [{to: outlook, connections: 3}, {to: gmail, connections: 3}]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	g := c.Groups()
	if got := g["google"].MX; len(got) != 1 || got[0] != "*.googlemail.com" {
		t.Errorf("what the configuration took stays its own: %v", got)
	}
	if got := g["yahoo"]; len(got.MX) != 0 || got.Domains[0] != "y.test" {
		t.Errorf("a name of the configuration is its own: %v", got)
	}
}

func TestBadRules(t *testing.T) {
	for _, x := range []struct{ rules, want string }{
		{"rules:\n  - name: a\n    for: [gogle]\n    when: {code: [421]}\n    class: RateLimited", `r.yaml:3: rules[0].for[0]: a: "gogle" is a destination nobody defined, so no reply is ever its; did you mean "google"?`},
		{"rules:\n  - name: a\n    for: [google]\n    when: {code: [421]}\n    class: RateLimited\n    colour: red", `r.yaml:6: unknown key "colour" in rules[0]; keys here: name, for, when, class, action, threshold, do`},
		{"rules:\n  - name: a\n    for: [google]\n    when: {code: [421]}\n    class: RateLimited\n    threshold: 3", `r.yaml:6: rules[0].threshold: "3" is no threshold; write how many within how long, such as "3 in 10m"`},
		{"rules:\n  - name: a\n    for: [google]\n    when: {code: [421]}\n    class: RateLimited\n    do: [slow 0.5 floor 100/1m]", `r.yaml:6: rules[0].do[0]: floor: 100/1m is more than 60/1m, where it begins; write less`},
		{"rules: 3", `r.yaml:1: rules: wants a list, not "3"`},
		{"rule: []", `r.yaml:1: unknown key "rule"; did you mean "rules"?`},
		{"destinations: {x: {mx: [\"*\"]}}", `r.yaml:1: destinations.x.mx[0]: "*" would be everybody; limit to: "*" instead`},
		{"rules:\n  - name: a\n    for: [x.test]\n    when: {text: \"busy\"}\n    class: RateLimited\n    do: [reroute via r]", `r.yaml:6: rules[0].do[0]: a: no route has the name "r"; name one of the routes of the configuration`},
	} {
		_, err := ruled(t, "", x.rules)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != x.want {
			t.Errorf("for\n%s\ngot\n%s\nwant\n%s", x.rules, got, x.want)
		}
	}
	_, err := Parse("t.yaml", []byte("replies:\n  files:\n    - nowhere.yaml"), nil)
	if err == nil || err.Error() != "t.yaml:3: replies.files[0]: cannot be read: open nowhere.yaml: no such file or directory" {
		t.Error(err)
	}
}
