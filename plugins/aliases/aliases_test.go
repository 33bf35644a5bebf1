package aliases_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/aliases"
	"github.com/tarishi/tarishi/plugins/internal/trial"
)

func TestPage(t *testing.T) {
	n, dialogues := trial.Page(t, "aliases.md", aliases.Kind)
	n.Run(t, dialogues[0])
	m := n.Mail()
	if len(m) != 1 || m[0].To() != "ann@example.net postmaster@example.net bob@example.org" {
		t.Fatalf("%v", m)
	}
	for _, r := range m[0].Recipients {
		if want := "rfc822;sales+2Bsummer@example.net"; r.Domain != "example.net" && r.ORcpt != want {
			t.Errorf("%s has ORCPT %q, want %q", r.Raw, r.ORcpt, want)
		}
	}
}

// to asks who gets the mail for an address; "-": it is no alias, "": nobody does.
func to(t testing.TB, c *plugin.Chain, address string) string {
	t.Helper()
	conn := &plugin.Connection{}
	tx := conn.Begin("1", mail.Address{})
	r := mail.Recipient{Address: mail.NewAddress(address)}
	tx.AddRecipient(r)
	v := c.Run(t.Context(), &plugin.Event{Hook: plugin.Rcpt, Connection: conn, Transaction: tx, Address: r.Address, Recipient: &r})
	if v.Code != plugin.OK {
		if got := tx.Recipients(); len(got) != 1 || got[0] != r {
			t.Errorf("%s is no alias, and was changed to %v", address, got)
		}
		return "-"
	}
	var out []string
	for _, r := range tx.Recipients() {
		out = append(out, r.Raw)
	}
	return strings.Join(out, " ")
}

const book = `{
	"ann@ours.test": {"action": "alias", "to": "a1@x.test"},
	"ann": {"action": "alias", "to": "a2"},
	"ann+vip": {"action": "Alias", "to": "a3"},
	"Bob@ours.test": {"action": "drop"},
	"list@ours.test": {"action": "alias", "to": ["a", "b@x.test", "c@y.test"]},
	"@all.test": {"action": "alias", "to": "all"},
	"x@all.test": {"action": "alias", "to": "x@bücher.test"},
	"jean-paul": {"action": "alias", "to": "jp"}
}`

func TestFind(t *testing.T) {
	files := trial.Files{"aliases": book, "host_list": "ours.test\n*.ours.test\n"}
	c := trial.Chain(t, files, trial.Use{Kind: aliases.Kind})
	for address, want := range map[string]string{
		"ann@ours.test":          "a1@x.test", // the address goes before its user
		"ANN@OURS.test":          "a1@x.test",
		`"ann"@ours.test`:        "a1@x.test",
		"ann+news@ours.test":     "a1@x.test",
		"ann-news+x@ours.test":   "a1@x.test",
		"ann+vip@ours.test":      "a3@ours.test", // and so does the user with the detail before the address without
		"ann@sub.ours.test":      "a2@sub.ours.test",
		"ann+news@sub.ours.test": "a2@sub.ours.test",
		"ann@away.test":          "-",
		"annabel@ours.test":      "-",
		"+ann@ours.test":         "-",
		"bob@ours.test":          "",
		"bob+x@ours.test":        "",
		"list@ours.test":         "a@ours.test b@x.test c@y.test",
		"anybody@all.test":       "all@all.test",
		"x@all.test":             "x@xn--bcher-kva.test",
		"x+y@all.test":           "x@xn--bcher-kva.test",
		"jean-paul@ours.test":    "jp@ours.test",
		"jean@ours.test":         "-",
		"list%x.test@all.test":   "-", // F1
		`"list@x.test"@all.test`: "-",
		"postmaster":             "-",
	} {
		if got := to(t, c, address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	c = trial.Chain(t, files, trial.Use{Kind: aliases.Kind, Settings: `separators: ""`})
	if got := to(t, c, "ann+news@ours.test"); got != "-" {
		t.Errorf("without separators ann+news is %q", got)
	}
	files["aliases.json"] = `{"*": {"action": "alias", "to": "catch@ours.test"}}`
	c = trial.Chain(t, files, trial.Use{Kind: aliases.Kind})
	if got := to(t, c, "who@sub.ours.test") + " " + to(t, c, "who@away.test"); got != "catch@ours.test -" {
		t.Errorf("everybody: %q", got)
	}
}

func TestChain(t *testing.T) {
	files := trial.Files{"host_list": "ours.test", "aliases.json": `{
		"staff": {"action": "alias", "to": ["sales", "dev", "boss@away.test"]},
		"sales": {"action": "alias", "to": ["ann", "bob"]},
		"dev":   {"action": "alias", "to": ["bob", "nobody", "cleo"]},
		"nobody": {"action": "drop"},
		"ann":   {"action": "alias", "to": ["ann", "archive"]},
		"a":     {"action": "alias", "to": "b"},
		"b":     {"action": "alias", "to": ["c", "a"]},
		"c":     {"action": "alias", "to": "a"}
	}`}
	once := trial.Chain(t, files, trial.Use{Kind: aliases.Kind})
	chained := trial.Chain(t, files, trial.Use{Kind: aliases.Kind, Settings: "chain: true"})
	for user, want := range map[string][2]string{
		"staff": {"sales dev boss@away.test", "ann archive bob cleo boss@away.test"},
		"ann":   {"ann archive", "ann archive"},
		"a":     {"b", "a"},
		"b":     {"c a", "b"},
		"sales": {"ann bob", "ann archive bob"},
	} {
		for i, c := range []*plugin.Chain{once, chained} {
			if got := strings.ReplaceAll(to(t, c, user+"@ours.test"), "@ours.test", ""); got != want[i] {
				t.Errorf("%s, chain %v: %q, want %q", user, i == 1, got, want[i])
			}
		}
	}
}

// TestChain_ends: whatever the book says, following it ends, and nobody is there twice.
func TestChain_ends(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		users := []string{"a", "b", "c", "d", "e", "f"}
		var entries []string
		for _, u := range users {
			targets := rapid.SliceOfN(rapid.SampledFrom(users), 1, 4).Draw(r, "targets of "+u)
			entries = append(entries, fmt.Sprintf(`%q: {"action": "alias", "to": [%q]}`, u, strings.Join(targets, `","`)))
		}
		text := strings.ReplaceAll("{"+strings.Join(entries, ",")+"}", `\"`, `"`)
		c := trial.Chain(t, trial.Files{"aliases": text, "host_list": "ours.test"}, trial.Use{Kind: aliases.Kind, Settings: "chain: true"})
		for _, u := range users {
			got := strings.Fields(to(t, c, u+"@ours.test"))
			sorted := slices.Sorted(slices.Values(got))
			if len(got) == 0 || len(slices.Compact(sorted)) != len(got) {
				r.Errorf("%s of %s leads to %q", u, text, got)
			}
		}
	})
}

// A drop is its recipient's own; a message that nobody is left to get is stored nowhere.
func TestDrop(t *testing.T) {
	n := &trial.Node{
		Plugins: []trial.Use{{Kind: aliases.Kind}},
		Files:   trial.Files{"aliases.json": `{"gone@ours.test": {"action": "drop"}, "two@ours.test": {"action": "alias", "to": ["a@x.test", "b@y.test"]}}`},
		Policy:  func(p *ingress.Policy) { p.LocalDomains = []string{"ours.test"} },
	}
	n.Run(t, `
		C: EHLO a.test
		S: 250
		C: MAIL FROM:<a@a.test>
		S: 250
		C: RCPT TO:<gone@ours.test>
		S: 250
		C: RCPT TO:<gone+x@ours.test>
		S: 250
		C: DATA
		S: 354
		C: Subject: for nobody
		C:
		C: .
		S: 250
		C: MAIL FROM:<a@a.test>
		S: 250
		C: RCPT TO:<gone@ours.test>
		S: 250
		C: RCPT TO:<here@ours.test>
		S: 250
		C: RCPT TO:<two@ours.test>
		S: 250
		C: RCPT TO:<a@x.test>
		S: 550
		C: DATA
		S: 354
		C: Subject: for three
		C:
		C: .
		S: 250
		C: MAIL FROM:<a@a.test>
		S: 250
		C: RCPT TO:<gone@ours.test>
		S: 250
		C: BDAT 2 LAST
		C:
		S: 250
	`)
	if m := n.Mail(); len(m) != 1 || m[0].To() != "here@ours.test a@x.test b@y.test" {
		t.Errorf("%v", m)
	}
}

// Who has asked for notices his own way keeps it.
func TestNotify(t *testing.T) {
	n := &trial.Node{
		Plugins: []trial.Use{{Kind: aliases.Kind}},
		Files:   trial.Files{"aliases.json": `{"sales@ours.test": {"action": "alias", "to": "a@x.test"}}`},
	}
	n.Run(t, `
		C: EHLO a.test
		S: 250
		C: MAIL FROM:<a@a.test>
		S: 250
		C: RCPT TO:<sales@ours.test> NOTIFY=NEVER ORCPT=rfc822;first@z.test
		S: 250
		C: DATA
		S: 354
		C: Subject: x
		C:
		C: .
		S: 250
	`)
	if m := n.Mail(); len(m) != 1 || m[0].Recipients[0].Notify != "NEVER" || m[0].Recipients[0].ORcpt != "rfc822;first@z.test" {
		t.Errorf("%+v", m)
	}
}

func TestNew_refuses(t *testing.T) {
	trial.Refused(t, aliases.Kind, "", nil, "there is no file config/aliases.json or aliases")
	trial.Refused(t, aliases.Kind, "file: people", nil, "config/people")
	trial.Refused(t, aliases.Kind, "domains: [a@b]", trial.Files{"aliases": `{"ann": {"action": "drop"}}`}, "domains[0]")
	trial.Refused(t, aliases.Kind, "", trial.Files{"aliases": `{"ann": {"action": "drop"}}`}, "names no domain", "config/host_list")
}

func TestParse_refuses(t *testing.T) {
	for text, words := range map[string][]string{
		"[]":                       {"config/aliases:1:", "wants an object"},
		"":                         {"no JSON", "too early"},
		`{"a@b.test": {"action": `: {"no JSON"},
		"{\n\n  \"a@b.test\": {\"action\": \"forward\"}}":                                 {"config/aliases:3:", `has the action "forward"`},
		"{\n\"a@b.test\": {}}":                                                            {":2:", "has no action"},
		"{\"a@b.test\": {\"action\": \"alias\"}}":                                         {`has no "to"`},
		"{\"a@b.test\": {\"action\": \"alias\", \"to\": []}}":                             {`has no "to"`},
		"{\"a@b.test\": {\"action\": \"drop\", \"to\": \"x@y.test\"}}":                    {"leave out one"},
		"{\"a@b.test\": {\"action\": \"alias\", \"too\": \"x\"}}":                         {"unknown field"},
		"{\"a@b.test\": {\"action\": \"alias\", \"to\": 7}}":                              {"address or a list"},
		"{\"a@b.test\": {\"action\": \"alias\", \"to\": \"x@\"}}":                         {`has the target "x@"`},
		"{\"a@b.test\": {\"action\": \"alias\", \"to\": [\"b@c.test\", \"<x@y.test>\"]}}": {"angle brackets"},
		"{\"a@b.test\": {\"action\": \"alias\", \"to\": \"ä@y.test\"}}":                   {"ASCII"},
		"{\"a b\": {\"action\": \"drop\"}}":                                               {"is no key"},
		"{\"@\": {\"action\": \"drop\"}}":                                                 {"no domain"},
		"{\"a@b.test\": \"c@d.test\"}":                                                    {"wants an object with action"},
		"{\"a@b.test\": {\"action\": \"drop\"},\n\"A@B.test\": {\"action\": \"drop\"}}":   {":2:", "stands twice"},
		"{\"a@b.test\": {\"action\": \"drop\"}} x":                                        {"behind the last"},
		"{\"a@b.test\": {\"action\": \"drop\"}\n\"c@d.test\": 1}":                         {":2:", "no JSON"},
	} {
		trial.Refused(t, aliases.Kind, "", trial.Files{"aliases": text}, words...)
	}
	// Each fault is named, not only the first; a wrong file is not listed as a whole.
	_, err := trial.Make(trial.Use{Kind: aliases.Kind}, trial.Files{"aliases": "{\n\"a b\": {},\n\"c@d.test\": {\"action\": \"x\"}}"})
	if err == nil || !strings.Contains(err.Error(), ":2:") || !strings.Contains(err.Error(), ":3:") {
		t.Error(err)
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf(`"%d@": {}`, i))
	}
	_, err = trial.Make(trial.Use{Kind: aliases.Kind}, trial.Files{"aliases": "{" + strings.Join(many, ",\n") + "}"})
	if err == nil || strings.Count(err.Error(), "\n") != 10 || !strings.Contains(err.Error(), "further aliases") {
		t.Error(err)
	}
}

func BenchmarkLoad(b *testing.B) {
	files := big(100_000)
	for b.Loop() {
		trial.Chain(b, files, trial.Use{Kind: aliases.Kind})
	}
}

func BenchmarkFind(b *testing.B) {
	for _, size := range []int{10, 100_000} {
		c := trial.Chain(b, big(size), trial.Use{Kind: aliases.Kind})
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				if to(b, c, "user5+x@ours.test") != "person5@x.test" || to(b, c, "other+x@ours.test") != "-" {
					b.Fatal()
				}
			}
		})
	}
}

func big(n int) trial.Files {
	var b strings.Builder
	b.WriteString("{\n")
	for i := range n {
		fmt.Fprintf(&b, "\"user%d@ours.test\": {\"action\": \"alias\", \"to\": \"person%d@x.test\"},\n", i, i)
	}
	return trial.Files{"aliases": strings.TrimSuffix(b.String(), ",\n") + "}"}
}
