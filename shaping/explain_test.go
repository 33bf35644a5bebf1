package shaping

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestExplainNamesTheRuleOfEachValue(t *testing.T) {
	b := must(t, &Book{}, file("node1",
		Rule{To: "*", Messages: windows("100/1m"), Connections: num(10)},
		Rule{To: "*.test", Messages: windows("2/1s")},
		Rule{To: "google", Messages: windows("1000/1h"), Note: "as agreed"}),
		set(Rule{To: "google", Messages: windows("10/1h")}),
		set(Rule{To: "google", Per: Tenant, Recipients: windows("5/1m")}))
	e, err := tableOf(t, b).Explain("Workspace.TEST", []string{"aspmx.l.google.com"}, "192.0.2.1", "acme")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.MarshalIndent(e, "", " ")
	for _, want := range []string{
		`"version": 3`, `"domain": "workspace.test"`, `"key": "name:google"`,
		`"why": "its MX host aspmx.l.google.com is of destinations.google (*.google.com)"`,
		`"counter": "messages name:google"`, `"counter": "recipients name:google tenant=acme"`,
		`"value": "1000/1h"`, `"value": "100/1m"`,
		`*.test plays no part: workspace.test counts with google; a limit to exactly workspace.test would make it a destination of its own`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if v := e.Values[0]; v.String() != "10/1h" || v.From.String() != "google (set)" || len(v.Overridden) != 2 || v.Note != "" {
		t.Errorf("%+v", v)
	}
	if v := e.Values[1]; v.String() != "10" || v.From.String() != "* (file)" || len(v.Overridden) != 0 {
		t.Errorf("%+v", v)
	}
}

func TestExplainSaysWhyItIsThatDestination(t *testing.T) {
	w := windows("1/1s")
	tab := tableOf(t, &Book{Destinations: someGroups, File: []Rule{{To: "a.net", Messages: w}, {To: "*.b.net", Messages: w}}})
	for domain, want := range map[string]string{
		"a.net":      "exactly this domain",
		"x.b.net":    "limit or suspension to *.b.net",
		"gmail.com":  "destinations.google lists gmail.com",
		"google":     "destinations.google defines it",
		"other.test": "it has no MX, or a route says where its mail goes",
	} {
		e, err := tab.Explain(domain, nil, "", "")
		if err != nil || !strings.Contains(e.Why, want) {
			t.Errorf("%s: %q, %v", domain, e.Why, err)
		}
	}
	for domain, want := range map[string]string{
		"":              `write a domain such as example.net`,
		"goggle":        `did you mean "google"?`,
		"user@test.net": "neither a domain",
		"*.b.net":       "neither a domain",
	} {
		if _, err := tab.Explain(domain, nil, "", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", domain, err)
		}
	}
}
