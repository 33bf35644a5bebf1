package dns

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func hostsOf(names ...string) []MailHost {
	var out []MailHost
	for i, n := range names {
		out = append(out, MailHost{Host: n, Preference: uint16(i)})
	}
	return out
}

func TestSite(t *testing.T) {
	for _, tt := range []struct {
		hosts []string
		want  string
	}{
		{nil, ""},
		{[]string{"mx.example.net"}, "mx.example.net"},
		{[]string{"mx2.example.net", "mx1.example.net"}, "(mx1|mx2).example.net"},
		{[]string{"mx1.example.net", "mx2.example.net", "mx1.example.net"}, "(mx1|mx2).example.net"},
		{[]string{"g.example", "alt2.g.example", "alt1.g.example"}, "(alt1|alt2)?.g.example"},
		{[]string{"mx.example.net", "mx.example.org"}, "(mx.example.net|mx.example.org)"},
		{[]string{"ab.example", "b.example"}, "(ab|b).example"}, // labels, not letters, are shared
	} {
		if got := Site(hostsOf(tt.hosts...)); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.hosts, got, tt.want)
		}
	}
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("mx%d.example.net", i))
	}
	if got := Site(hostsOf(many...)); !strings.HasPrefix(got, "(*500).example.net#") || len(got) > maxSite {
		t.Errorf("500 hosts: %q", got)
	}
	if Site(hostsOf(many...)) == Site(hostsOf(append(many[1:], "mx999.example.net")...)) {
		t.Error("two large sets share a name")
	}
}

// The name depends on the set of hosts, on nothing else, and tells sets apart.
func TestSite_namesTheSet(t *testing.T) {
	names := rapid.SliceOfN(rapid.StringMatching(`([ab]{1,2}\.){0,3}(a|bc)`), 1, 6)
	rapid.Check(t, func(t *rapid.T) {
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		if Site(hostsOf(a...)) != Site(hostsOf(rapid.Permutation(a).Draw(t, "shuffled")...)) {
			t.Fatalf("the order of %v counts", a)
		}
		set := func(s []string) []string { s = slices.Clone(s); slices.Sort(s); return slices.Compact(s) }
		same := slices.Equal(set(a), set(b))
		if x, y := Site(hostsOf(a...)), Site(hostsOf(b...)); (x == y) != same {
			t.Fatalf("%v is %q, %v is %q", a, x, b, y)
		}
	})
}

func TestMatchHost(t *testing.T) {
	for _, tt := range []struct {
		pattern, host string
		want          bool
	}{
		{"*.google.com", "aspmx.l.google.com", true},
		{"*.Google.com.", "ASPMX.L.google.com.", true},
		{"*.google.com", "google.com", false},
		{"*.google.com", "notgoogle.com", false},
		{"*.google.com", "x.google.com.evil.example", false},
		{"*.google.com", ".google.com", false},
		{"mx.example.net", "mx.example.net", true},
		{"mx.example.net", "a.mx.example.net", false},
		{"*", "anything.example", true},
		{"*", "", false},
		{"*google.com", "mx.google.com", false}, // a star is a whole label or more
	} {
		if got := MatchHost(tt.pattern, tt.host); got != tt.want {
			t.Errorf("MatchHost(%q, %q) = %v", tt.pattern, tt.host, got)
		}
	}
	google := []string{"*.google.com", "*.googlemail.com"}
	if !MatchSite(google, hostsOf("mx.example.net", "aspmx3.googlemail.com")) {
		t.Error("a set that lies at Google in part does not match")
	}
	if MatchSite(google, hostsOf("mx.example.net")) || MatchSite(google, nil) || MatchSite(nil, hostsOf("a.google.com")) {
		t.Error("matches without a host there")
	}
}
