package mail

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCanonicalDomain(t *testing.T) {
	for in, want := range map[string]Domain{
		"Example.COM": "example.com", "example.com.": "example.com", "bücher.example": "xn--bcher-kva.example",
		"BÜCHER.Example": "xn--bcher-kva.example", "a_b.Example": "a_b.example", "[192.0.2.1]": "[192.0.2.1]",
		"[IPv6:2001:DB8::1]": "[ipv6:2001:db8::1]", "": "",
	} {
		if got := CanonicalDomain(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, c := range []struct{ raw, local, domain string }{
		{`u@Example.NET`, `u`, `example.net`},
		{`"a@b"@example.net`, `"a@b"`, `example.net`},
		{`postmaster`, `postmaster`, ``},
		{``, ``, ``},
	} {
		a := NewAddress(c.raw)
		if a.Local() != c.local || string(a.Domain) != c.domain || a.String() != c.raw {
			t.Errorf("%q: %q at %q", c.raw, a.Local(), a.Domain)
		}
	}
	if !NewAddress("u@A.test").Same(NewAddress("u@a.test")) || NewAddress("U@a.test").Same(NewAddress("u@a.test")) {
		t.Error("domains are compared without letter case, local parts with it")
	}
	if !NewAddress("").IsNull() || NewAddress("postmaster").IsNull() {
		t.Error("only the empty path is null")
	}
}

func TestReply(t *testing.T) {
	r := R(451, "4.7.1", "one\ntwo")
	if got := r.String(); got != "451 4.7.1 one / two" {
		t.Error(got)
	}
	if !r.Transient() || r.Permanent() || r.Positive() || r.IsZero() {
		t.Error("class")
	}
	for in, ok := range map[string]bool{
		"2.0.0": true, "4.7.650": true, "5.1.1": true, "3.0.0": false, "5.1": false, "5.1.1.1": false,
		"5.1.1000": false, "5.+1.1": false, "": false, "a.b.c": false,
	} {
		if _, got := ParseEnhancedCode(in); got != ok {
			t.Errorf("%q: %v", in, got)
		}
	}
	if s := (Reply{Code: 550}).Status().String(); s != "5.0.0" {
		t.Error(s)
	}
}

func TestIDsSortByAge(t *testing.T) {
	at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	var ids []string
	for i := range 100 {
		ids = append(ids, NewID(at.Add(time.Duration(i)*time.Hour)))
	}
	if !slices.IsSorted(ids) || len(ids[0]) != 20 {
		t.Error(ids)
	}
}

func TestDeliveryID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id, n := NewID(time.Now()), rapid.IntRange(0, 5000).Draw(t, "index")
		if m, i := SplitDeliveryID(DeliveryID(id, n)); m != id || i != n {
			t.Fatal(m, i)
		}
		if m, i := SplitDeliveryID(id); m != id || i != -1 {
			t.Fatal(m, i)
		}
	})
	for _, tail := range []string{"", "x", "-1", "+1", "01", "1.0", "99999999999999999999"} {
		id := "01K9ABCDEFGH12345678." + tail
		if m, i := SplitDeliveryID(id); m != id || i != -1 {
			t.Errorf("%s means %s, %d", id, m, i)
		}
	}
}
