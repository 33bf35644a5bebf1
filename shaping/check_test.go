package shaping

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func num(n int) *int { return &n }

func windows(s string) []Window {
	ws, err := ParseWindows(s)
	if err != nil {
		panic(err)
	}
	return ws
}

var someGroups = map[string]Group{
	"google":    {MX: []string{"*.google.com", "*.googlemail.com"}, Domains: []string{"gmail.com", "googlemail.com"}},
	"microsoft": {MX: []string{"*.protection.outlook.com"}},
	"family":    {Domains: []string{"*.family.test"}},
}

func TestGoodRulesPass(t *testing.T) {
	rules := []Rule{
		{To: "google", Messages: windows("1000/1h,20/1s"), Connections: num(5), PerConnection: num(50)},
		{To: "google", Per: Source, NewConnections: windows("60/1m"), Connections: num(0)},
		{To: "google", Per: Source | Tenant, Messages: windows("1/1s")},
		{To: "Example.NET", Recipients: windows("0/1h"), Note: "they asked for a pause"},
		{To: "bücher.example", Messages: windows("1/1s")},
		{To: "*.example.net", Messages: windows("1/30d")},
		{To: "*.fr", Connections: num(2)},
		{To: "*", Messages: windows("1000000000/1s")},
	}
	for _, f := range Check(someGroups, rules) {
		t.Errorf("%d: %v", f.Index, f.RefusedError)
	}
	for _, e := range CheckGroups(someGroups) {
		t.Error(e)
	}
}

func TestBadRulesSayWhereAndHow(t *testing.T) {
	w := windows("10/1h")
	for _, x := range []struct {
		rule Rule
		want string
	}{
		{Rule{Messages: w}, `to: names nobody; write a domain`},
		{Rule{To: "gogle", Messages: w}, `to: "gogle" is a destination nobody defined; did you mean "google"?`},
		{Rule{To: "yahoo", Messages: w}, `to: "yahoo" is a destination nobody defined; those defined are family, google, microsoft`},
		{Rule{To: "*.", Messages: w}, `is no domain`},
		{Rule{To: "*.*.net", Messages: w}, `is no domain`},
		{Rule{To: "a*.example.net", Messages: w}, `is no domain`},
		{Rule{To: "user@example.net", Messages: w}, `is no domain`},
		{Rule{To: "192.0.2.1", Messages: w}, `is no domain`},
		{Rule{To: "localhost.", Messages: w}, `is no domain`},
		{Rule{To: strings.Repeat("a", 64) + ".net", Messages: w}, `is no domain`},
		{Rule{To: "a.net"}, `limits nothing; give messages`},
		{Rule{To: "a.net", Messages: []Window{}}, `messages: is an empty list`},
		{Rule{To: "a.net", Messages: []Window{{-1, time.Hour}}}, `messages[0].max: -1 is negative`},
		{Rule{To: "a.net", Messages: []Window{{MaxCount + 1, time.Hour}}}, `at most 1000000000`},
		{Rule{To: "a.net", Recipients: []Window{{1, time.Millisecond}}}, `recipients[0].window: 1ms is too short; at least 1s`},
		{Rule{To: "a.net", NewConnections: []Window{{1, 31 * 24 * time.Hour}}}, `new_connections[0].window: 31d is too long; at most 30d`},
		{Rule{To: "a.net", Messages: []Window{{1, time.Hour}, {2, time.Hour}}}, `limits of the same window`},
		{Rule{To: "a.net", Connections: num(-1)}, `connections: -1 is negative`},
		{Rule{To: "a.net", Connections: num(1e7)}, `at most 1000000`},
		{Rule{To: "a.net", PerConnection: num(0)}, `per_connection: 0 would open connections for no mail; at least 1; connections: 0 suspends`},
		{Rule{To: "a.net", Per: Tenant, Connections: num(1)}, `connections: cannot count per tenant`},
		{Rule{To: "a.net", Per: Tenant | Source, NewConnections: w}, `new_connections: cannot count per tenant`},
		{Rule{To: "a.net", Per: Tenant, PerConnection: num(1)}, `per_connection: cannot count per tenant`},
		{Rule{To: "a.net", Per: 8, Messages: w}, `per: counts by something`},
		{Rule{To: "a.net", Messages: w, Note: "two\nlines"}, `note: is not one line`},
	} {
		faults := Check(someGroups, []Rule{x.rule})
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), x.want) {
			t.Errorf("%+v: %v; want one fault with %q", x.rule, faults, x.want)
		}
	}
	if f := Check(nil, []Rule{{To: "google", Messages: w}}); len(f) != 1 || !strings.Contains(f[0].Error(), "define it under destinations") {
		t.Errorf("without any named destination: %v", f)
	}
}

func TestOnePlaceOneRule(t *testing.T) {
	w := windows("10/1h")
	f := Check(nil, []Rule{{To: "a.net", Messages: w}, {To: "b.net", Messages: w}, {To: "A.Net.", Messages: w}, {To: "a.net", Per: Source, Messages: w}})
	if len(f) != 1 || f[0].Index != 2 || !strings.Contains(f[0].Error(), "has a limit already (number 1)") {
		t.Errorf("%v", f)
	}
	var many []Rule
	for i := range MaxRules + 1 {
		many = append(many, Rule{To: fmt.Sprintf("d%d.test", i), Messages: w})
	}
	if f := Check(nil, many); len(f) != 1 || !strings.Contains(f[0].Error(), "at most 10000") {
		t.Errorf("%d rules: %v", len(many), f)
	}
}

func TestBadGroupsSayWhere(t *testing.T) {
	for _, x := range []struct {
		groups map[string]Group
		want   string
	}{
		{map[string]Group{"": {MX: []string{"a.net"}}}, "cannot be told from a domain"},
		{map[string]Group{"goo.gle": {MX: []string{"a.net"}}}, "letters, digits"},
		{map[string]Group{"g g": {MX: []string{"a.net"}}}, "letters, digits"},
		{map[string]Group{"g": {}}, "g: has no members"},
		{map[string]Group{"g": {MX: []string{"*"}}}, `g.mx[0]: "*" would be everybody`},
		{map[string]Group{"g": {Domains: []string{"a.net", "no domain"}}}, `g.domains[1]: "no domain" is no domain`},
		{map[string]Group{"g": {MX: []string{"*.a.net"}}, "h": {MX: []string{"*.A.NET"}}}, `h.mx[0]: "*.A.NET" belongs to g.mx[0] already`},
	} {
		got := CheckGroups(x.groups)
		if len(got) != 1 || !strings.Contains(got[0].Error(), x.want) {
			t.Errorf("%v: %v; want %q", x.groups, got, x.want)
		}
	}
}

func TestPerIsReadAndWritten(t *testing.T) {
	for _, x := range []struct {
		names []string
		per   Per
		text  string
	}{{nil, 0, "cluster"}, {[]string{"source"}, Source, "source"}, {[]string{"tenant", "source"}, Source | Tenant, "source,tenant"}} {
		p, err := ParsePer(x.names)
		if err != nil || p != x.per || p.String() != x.text {
			t.Errorf("%v: %v %v", x.names, p, err)
		}
		b, _ := p.MarshalJSON()
		var q Per
		if err := q.UnmarshalJSON(b); err != nil || q != p {
			t.Errorf("%s: %v %v", b, q, err)
		}
	}
	if _, err := ParsePer([]string{"sender"}); err == nil || !strings.Contains(err.Error(), "source, tenant") {
		t.Error(err)
	}
}
