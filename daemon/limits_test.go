package daemon

import (
	"strings"
	"testing"

	"github.com/tarishi/tarishi/shaping"
)

func rulesText(rules []shaping.Rule) string {
	var lines []string
	for _, r := range rules {
		s := r.String()
		if r.Note != "" {
			s += " (" + r.Note + ")"
		}
		lines = append(lines, s)
	}
	return strings.Join(lines, "\n")
}

func TestLimitsOfTheFile(t *testing.T) {
	c := mustParse(t, `
destinations:
  google:
    mx: ["*.google.com", "*.googlemail.com"]
    domains: [gmail.com]
limits:
  - to: google
    messages: [{max: 1000, window: 1h}, {max: 20, window: 1s}]
    connections: 5
    per_connection: 50
  - {to: google, per: [source, tenant], messages: ["100/1h"], recipients: [5/1d]}
  - {to: "*", per: [source], new_connections: [60/m], connections: 0}
  - {to: moved.example, messages: [{max: 0, window: 1h}], note: "asked for a pause"}
`)
	want := `google: messages 1000/1h, 20/1s; connections 5; per_connection 50
google per source,tenant: messages 100/1h; recipients 5/1d
* per source: new_connections 60/1m; connections 0
moved.example: messages 0/1h (asked for a pause)`
	if got := rulesText(c.Rules()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	g := c.Groups()["google"]
	if len(g.MX) != 2 || len(g.Domains) != 1 || c.Rules()[0].Messages[0].Max != 1000 {
		t.Errorf("%+v", g)
	}
	again := mustParse(t, printed(t, c))
	if got := rulesText(again.Rules()); got != want {
		t.Errorf("printed and read again:\n%s", got)
	}
}

func TestBadLimits(t *testing.T) {
	for _, x := range []struct{ name, src, want string }{
		{"window without max", "limits:\n  - to: a.test\n    messages:\n      - window: 1h", `t.yaml:4: limits[0].messages[0].max: missing; How many.`},
		{"window without length", "limits: [{to: a.test, messages: [{max: 5}]}]", `t.yaml:1: limits[0].messages[0].window: missing; In how long, 1s to 30d.`},
		{"window of another unit", "limits: [{to: a.test, messages: [{max: 5, window: 1fortnight}]}]", `t.yaml:1: limits[0].messages[0].window: "1fortnight" wants a duration such as 30s, 1h30m or 5d`},
		{"window with a strange key", "limits: [{to: a.test, messages: [{max: 5, windw: 1h}]}]", `t.yaml:1: unknown key "windw" in limits[0].messages[0]; did you mean "window"?`},
		{"short window of another unit", "limits:\n  - to: a.test\n    messages:\n      - 5/1h\n      - 5/fortnight", `t.yaml:5: limits[0].messages[1]: "fortnight" is no unit of time; write a length such as 1s, 30m, 1h or 1d`},
		{"short window without a window", "limits: [{to: a.test, messages: [1000]}]", `t.yaml:1: limits[0].messages[0]: "1000" has no window; write how many in how long, such as 1000/1h or 20/s`},
		{"one window that is no list", "limits: [{to: a.test, messages: 5/1h}]", `t.yaml:1: limits[0].messages: wants a list, not "5/1h"`},
		{"too short a window", "limits:\n  - to: a.test\n    recipients:\n      - max: 5\n        window: 10ms", `t.yaml:5: limits[0].recipients[0].window: 10ms is too small; at least 1s`},
		{"too long a window", "limits: [{to: a.test, new_connections: [{max: 5, window: 31d}]}]", `t.yaml:1: limits[0].new_connections[0].window: 31d is too large; at most 30d`},
		{"negative", "limits:\n  - to: a.test\n    messages: [{max: -5, window: 1h}]", `t.yaml:3: limits[0].messages[0].max: -5 is negative; write 0 to suspend, or leave the limit out`},
		{"absurd", "limits: [{to: a.test, connections: 99999999}]", `t.yaml:1: limits[0].connections: 99999999 is no limit anybody reaches; at most 1000000, or leave it out`},
		{"text for a number", "limits: [{to: a.test, connections: many}]", `t.yaml:1: limits[0].connections: "many" wants a whole number`},
		{"no list of windows", "limits: [{to: a.test, messages: []}]", `t.yaml:1: limits[0].messages: is an empty list, which limits nothing; leave it out, or write how many in how long`},
		{"one window twice", "limits: [{to: a.test, messages: [5/1m, {max: 7, window: 60s}]}]", `t.yaml:1: limits[0].messages[1].window: 5/1m and 7/1m are limits of the same window; keep the smaller one`},
		{"another scope", "limits: [{to: a.test, per: [sender], messages: [5/1m]}]", `t.yaml:1: limits[0].per[0]: "sender" is not possible; one of source, tenant`},
		{"connections per tenant", "limits:\n  - to: a.test\n    per: [tenant]\n    connections: 5", `t.yaml:4: limits[0].connections: cannot count per tenant: tenants share connections; limit messages or recipients per tenant, and connections per source or for the cluster`},
		{"no message on a connection", "limits: [{to: a.test, per_connection: 0}]", `t.yaml:1: limits[0].per_connection: 0 would open connections for no mail; at least 1; connections: 0 suspends`},
		{"nobody", "replies: {pack: off}\ndestinations: {google: {mx: [a.test]}, yahoo: {mx: [b.test]}}\nlimits: [{to: comcast, connections: 5}]", `t.yaml:3: limits[0].to: "comcast" is a destination nobody defined; those defined are google, yahoo`},
		{"a destination without members", "destinations:\n  google: {}", `t.yaml:2: destinations.google: has no members; list mx, domains or both`},
		{"a destination of all", "destinations:\n  g:\n    mx: [\"*\"]", `t.yaml:3: destinations.g.mx[0]: "*" would be everybody; limit to: "*" instead`},
		{"a host in two destinations", "destinations:\n  g: {mx: [a.test]}\n  h:\n    mx: [A.test]", `t.yaml:4: destinations.h.mx[0]: "A.test" belongs to g.mx[0] already; keep one`},
		{"tenant header with a colon", "smtp: {tenant_header: \"X-Tenant:\"}", `t.yaml:1: smtp.tenant_header: "X-Tenant:" is no name of a header field; write one such as X-Tenant, without the colon`},
		{"tenant header that is needed", "smtp: {tenant_header: from}", `t.yaml:1: smtp.tenant_header: "from" is a field that messages need; choose one of your own, such as X-Tenant`},
		{"source that is a name", "delivery: {source: mx.test}", `t.yaml:1: delivery.source: "mx.test" wants an IP address of this machine`},
		{"source that is any address", "delivery: {source: \"::\"}", `t.yaml:1: delivery.source: "::" wants an IP address of this machine`},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := Parse("t.yaml", []byte(x.src), nil)
			if err == nil || err.Error() != x.want {
				t.Errorf("for\n%s\ngot\n%v\nwant\n%s", x.src, err, x.want)
			}
		})
	}
}

func TestParseRules(t *testing.T) {
	want := "google: messages 1000/1h; connections 5\n*.example.net per tenant: recipients 3/1s"
	for name, src := range map[string]string{
		"a list":       "- {to: google, messages: [1000/1h], connections: 5}\n- to: \"*.example.net\"\n  per: [tenant]\n  recipients: [{max: 3, window: 1s}]\n",
		"under limits": "limits:\n- {to: google, messages: [1000/1h], connections: 5}\n- {to: \"*.example.net\", per: [tenant], recipients: [3/s]}\n",
		"JSON":         `[{"to":"google","messages":[{"max":1000,"window":"1h"}],"connections":5},{"to":"*.example.net","per":["tenant"],"recipients":[{"max":3,"window":"1s"}]}]`,
	} {
		rules, err := ParseRules("l.yaml", []byte(src))
		if err != nil || rulesText(rules) != want {
			t.Errorf("%s: %v\n%s", name, err, rulesText(rules))
		}
	}
	for src, want := range map[string]string{
		"- to: a.test\n  mesages: [5/1h]":  `l.yaml:2: unknown key "mesages" in limits[0]; did you mean "messages"?`,
		"limits: []\nroutes: []":           `l.yaml:2: unknown key "routes"; keys here: limits`,
		"- to: a.test":                     `l.yaml:1: limits[0]: limits nothing; give messages, recipients, new_connections, connections or per_connection`,
		"- to: a b.test\n  connections: 5": `l.yaml:1: limits[0].to: "a b.test" is no domain; write a domain, "*.example.net" or "*"`,
		"5":                                `l.yaml:1: wants keys and values, not "5"`,
		"- {to: a.test, messages: [99999999/1h}]":                        `l.yaml:1: not YAML:`,
		"- {to: a.test, connections: 1}\n- {to: A.test, connections: 1}": `l.yaml:2: limits[1].to: "A.test" per cluster has a limit already`,
	} {
		if _, err := ParseRules("l.yaml", []byte(src)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n%v\nwant %s", src, err, want)
		}
	}
	for _, empty := range []string{"", "[]", "limits: []", "# none\n"} {
		if rules, err := ParseRules("l.yaml", []byte(empty)); err != nil || len(rules) != 0 {
			t.Errorf("%q: %v %v", empty, rules, err)
		}
	}
}
