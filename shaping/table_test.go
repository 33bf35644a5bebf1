package shaping

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

func tableOf(t testing.TB, b *Book) *Table {
	t.Helper()
	tab, err := b.Table()
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestDestinationOfADomain(t *testing.T) {
	w := windows("10/1h")
	tab := tableOf(t, &Book{
		Destinations: someGroups,
		File: []Rule{
			{To: "*", Messages: w},
			{To: "google", Messages: w},
			{To: "example.net", Messages: w},
			{To: "own.gsuite.test", Messages: w},
			{To: "*.pattern.test", Messages: w},
		},
		Suspensions: []Suspension{{To: "shut.test"}},
	})
	google := []string{"aspmx.l.google.com", "ALT1.ASPMX.L.GOOGLE.COM."}
	for _, x := range []struct {
		domain mail.Domain
		mx     []string
		want   Destination
	}{
		{"example.net", []string{"mx.example.net"}, Destination{Key: "domain:example.net"}},
		{"example.net", nil, Destination{Key: "domain:example.net"}},
		{"gmail.com", google, Destination{Key: "name:google"}},
		{"gmail.com", nil, Destination{Key: "name:google"}}, // listed: its MX play no part
		{"gmail.com", []string{"x.mail.protection.outlook.com"}, Destination{Key: "name:google"}},
		{"workspace.test", google, Destination{Key: "name:google"}},
		{"own.gsuite.test", google, Destination{"domain:own.gsuite.test", "google"}},
		{"a.family.test", nil, Destination{Key: "name:family"}},
		{"family.test", nil, Destination{Key: "domain:family.test"}},
		{"a.pattern.test", []string{"mx.hoster.test"}, Destination{Key: "domain:a.pattern.test"}},
		{"a.pattern.test", google, Destination{Key: "name:google"}},
		{"shut.test", []string{"mx.hoster.test"}, Destination{Key: "domain:shut.test"}},
		{"one.test", []string{"mx2.hoster.test", "MX1.hoster.test."}, Destination{Key: "site:mx1.hoster.test,mx2.hoster.test"}},
		{"two.test", []string{"mx1.hoster.test", "mx2.hoster.test", "mx1.hoster.test"}, Destination{Key: "site:mx1.hoster.test,mx2.hoster.test"}},
		{"routed.test", nil, Destination{Key: "domain:routed.test"}},
		{"routed.test", []string{}, Destination{Key: "domain:routed.test"}},
		// Members of two groups: the longest pattern, whatever the order of the hosts.
		{"mixed.test", []string{"a.google.com", "b.mail.protection.outlook.com"}, Destination{Key: "name:microsoft"}},
		{"mixed.test", []string{"b.mail.protection.outlook.com", "a.google.com"}, Destination{Key: "name:microsoft"}},
	} {
		if got := tab.Destination(x.domain, x.mx); got != x.want {
			t.Errorf("%s %v: %+v, want %+v", x.domain, x.mx, got, x.want)
		}
	}
}

func TestPatternsOfOneLengthAreSettledByName(t *testing.T) {
	tab := tableOf(t, &Book{Destinations: map[string]Group{"zeta": {MX: []string{"*.a.test"}}, "alpha": {MX: []string{"*.b.test"}}}})
	for _, mx := range [][]string{{"x.a.test", "x.b.test"}, {"x.b.test", "x.a.test"}} {
		if got := tab.Destination("d.test", mx); got.Key != "name:alpha" {
			t.Errorf("%v: %v", mx, got)
		}
	}
}

func TestSitesOfManyHostsAreShort(t *testing.T) {
	var mx []string
	for i := range 40 {
		mx = append(mx, fmt.Sprintf("mx%02d.a-rather-long-name.example.net", i))
	}
	a, b := site(mx), site(mx[:39])
	if a == b || len(a) > 160 || !strings.HasPrefix(a, "mx00.a-rather-long-name.example.net,+39#") {
		t.Errorf("%s and %s", a, b)
	}
}

// Each line of want is "counter: windows from".
func TestBoundsFieldByField(t *testing.T) {
	b := &Book{
		Destinations: someGroups,
		File: []Rule{
			{To: "*", Messages: windows("100/1m"), Recipients: windows("500/1m"), Connections: num(10), PerConnection: num(100)},
			{To: "*", Per: Source, NewConnections: windows("30/1m"), PerConnection: num(70)},
			{To: "*", Per: Tenant, Messages: windows("9/1s")},
			{To: "google", Messages: windows("1000/1h,20/1s"), Connections: num(5)},
			{To: "*.deep.pattern.test", Connections: num(1)},
			{To: "*.pattern.test", Messages: windows("1/1s"), Connections: num(2)},
			{To: "own.gsuite.test", Connections: num(3)},
		},
		Set: []Rule{
			{To: "google", Messages: windows("7/1h")},
			{To: "google", Per: Tenant, Recipients: windows("2/1s")},
		},
	}
	tab := tableOf(t, b)
	for _, x := range []struct {
		dest Destination
		want string
	}{
		{Destination{Key: "site:mx.test"}, `
messages site:mx.test: 100/1m from * (file)
recipients site:mx.test: 500/1m from * (file)
connections site:mx.test: 10 from * (file)
new_connections site:mx.test source=192.0.2.1: 30/1m from * per source (file)
messages site:mx.test tenant=acme: 9/1s from * per tenant (file)
per connection 70`},
		{Destination{Key: "name:google"}, `
messages name:google: 7/1h from google (set)
recipients name:google: 500/1m from * (file)
connections name:google: 5 from google (file)
new_connections name:google source=192.0.2.1: 30/1m from * per source (file)
messages name:google tenant=acme: 9/1s from * per tenant (file)
recipients name:google tenant=acme: 2/1s from google per tenant (set)
per connection 70`},
		{Destination{"domain:own.gsuite.test", "google"}, `
messages domain:own.gsuite.test: 7/1h from google (set)
recipients domain:own.gsuite.test: 500/1m from * (file)
connections domain:own.gsuite.test: 3 from own.gsuite.test (file)
new_connections domain:own.gsuite.test source=192.0.2.1: 30/1m from * per source (file)
messages domain:own.gsuite.test tenant=acme: 9/1s from * per tenant (file)
recipients domain:own.gsuite.test tenant=acme: 2/1s from google per tenant (set)
per connection 70`},
		{Destination{Key: "domain:a.deep.pattern.test"}, `
messages domain:a.deep.pattern.test: 1/1s from *.pattern.test (file)
recipients domain:a.deep.pattern.test: 500/1m from * (file)
connections domain:a.deep.pattern.test: 1 from *.deep.pattern.test (file)
new_connections domain:a.deep.pattern.test source=192.0.2.1: 30/1m from * per source (file)
messages domain:a.deep.pattern.test tenant=acme: 9/1s from * per tenant (file)
per connection 70`},
	} {
		if got := show(tab.Bounds(x.dest, "192.0.2.1", "acme")); got != strings.TrimSpace(x.want) {
			t.Errorf("%+v:\n%s\nwant:%s", x.dest, got, x.want)
		}
	}
}

func show(b Bounds) string {
	var out strings.Builder
	var byScope [4][]string
	for _, c := range b.Counters {
		byScope[c.From.Per] = append(byScope[c.From.Per], fmt.Sprintf("%s: %s from %s", c.Counter, FormatWindows(c.Windows), c.From))
	}
	for _, c := range b.Slots {
		byScope[c.From.Per] = append(byScope[c.From.Per], fmt.Sprintf("%s: %d from %s", c.Counter, c.Max, c.From))
	}
	for _, lines := range byScope {
		for _, l := range lines {
			out.WriteString(l + "\n")
		}
	}
	fmt.Fprintf(&out, "per connection %d", b.PerConnection)
	if s := b.Suspended; s != nil {
		fmt.Fprintf(&out, "\nsuspended: %s %s", s.To, s.Reason)
	}
	return out.String()
}

func TestCountersAreTakenApartAgain(t *testing.T) {
	for _, x := range []struct {
		p              Per
		source, tenant string
	}{{0, "", ""}, {Source, "192.0.2.1", ""}, {Source, "", ""}, {Tenant, "", "acme"}, {Tenant, "", "a source=b tenant=c"}, {Source | Tenant, "::1", "x y"}} {
		name := counter(Recipients, Destination{Key: "site:mx.test,mx2.test"}, x.p, x.source, x.tenant)
		f, d, source, tenant := SplitCounter(name)
		if f != Recipients || d.Key != "site:mx.test,mx2.test" || source != x.source || tenant != x.tenant {
			t.Errorf("%q: %s %s %q %q", name, f, d.Key, source, tenant)
		}
	}
}

func TestNothingBoundsWithoutRules(t *testing.T) {
	tab := tableOf(t, &Book{File: []Rule{{To: "a.net", PerConnection: num(3)}}})
	for key, free := range map[string]bool{"domain:b.net": true, "domain:a.net": true, "site:mx.net": true} {
		if b := tab.Bounds(Destination{Key: key}, "", ""); b.Free() != free {
			t.Errorf("%s: %+v", key, b)
		}
	}
	var empty Table
	if b := empty.Bounds(empty.Destination("a.net", nil), "", ""); !b.Free() {
		t.Errorf("an empty table: %+v", b)
	}
}

func TestSuspended(t *testing.T) {
	b := &Book{
		Destinations: someGroups,
		File: []Rule{
			{To: "zero.test", Messages: windows("0/1h")},
			{To: "shut.test", Connections: num(0)},
			{To: "*.norcpt.test", Recipients: windows("10/1s,0/1d")},
			{To: "fine.test", Messages: windows("1/1h")},
			{To: "own.gsuite.test", Messages: windows("1/1h")},
		},
		Suspensions: []Suspension{{To: "*.gone.test", Reason: "moved"}, {To: "google", Reason: "blocked"}, {To: "gmail.com", Reason: "too many complaints"}},
	}
	tab := tableOf(t, b)
	for domain, want := range map[mail.Domain]string{
		"zero.test":       "zero.test: messages limited to 0/1h",
		"shut.test":       "shut.test: connections limited to 0",
		"a.norcpt.test":   "*.norcpt.test: recipients limited to 10/1s, 0/1d",
		"fine.test":       "",
		"a.gone.test":     "*.gone.test: moved",
		"gone.test":       "",
		"googlemail.com":  "google: blocked",
		"gmail.com":       "gmail.com: too many complaints",
		"own.gsuite.test": "google: blocked",
	} {
		var mx []string
		if domain == "own.gsuite.test" {
			mx = []string{"aspmx.l.google.com"}
		}
		got := ""
		if s := tab.Bounds(tab.Destination(domain, mx), "", "").Suspended; s != nil {
			got = s.To + ": " + s.Reason
		}
		if got != want {
			t.Errorf("%s: %q, want %q", domain, got, want)
		}
	}
	all := tableOf(t, &Book{Suspensions: []Suspension{{To: "*"}}})
	if all.Bounds(all.Destination("x.test", []string{"mx.test"}), "", "").Suspended == nil {
		t.Error("* suspends nothing")
	}
}

func BenchmarkDestination(b *testing.B) {
	book := &Book{Destinations: someGroups}
	for i := range 1000 {
		book.File = append(book.File, Rule{To: fmt.Sprintf("d%d.test", i), Messages: windows("10/1h")})
	}
	tab := tableOf(b, book)
	mx := []string{"mx1.hoster.test", "mx2.hoster.test"}
	b.ReportAllocs()
	for b.Loop() {
		_ = tab.Destination("example.net", mx)
	}
}

func BenchmarkBounds(b *testing.B) {
	tab := tableOf(b, &Book{Destinations: someGroups, File: []Rule{{To: "*", Messages: windows("100/1m"), Connections: num(2)}}})
	d := tab.Destination("example.net", []string{"mx1.hoster.test", "mx2.hoster.test"})
	b.ReportAllocs()
	for b.Loop() {
		_ = tab.Bounds(d, "", "")
	}
}
