package shaping

import (
	"strings"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

// Shares come with the file, and stand as long as it does.
func TestSharesComeWithTheFile(t *testing.T) {
	c := file("node1", Rule{To: "a.net", Messages: windows("10/1s")})
	c.Shares = Shares{High: 20, Tenants: map[string]int{"acme": 4}}
	if h := FileHash(c.Destinations, c.Rules, c.Shares); h == c.Hash {
		t.Error("a file with other shares has the same hash")
	} else {
		c.Hash = h
	}
	b, err := (&Book{}).Apply(c)
	if err != nil {
		t.Fatal(err)
	}
	tab, err := b.Table()
	if err != nil {
		t.Fatal(err)
	}
	s := tab.Shares()
	if s.Weight("acme") != 4 || s.Weight("other") != 1 || s.Weight("") != 1 {
		t.Errorf("weights of %+v", s)
	}
	c.Shares.Tenants["acme"] = 1 // whoever brought them may go on changing his
	if s.Weight("acme") != 4 {
		t.Error("the book's shares are the caller's")
	}
	if what := b.History[0].What; !strings.Contains(what, "other shares") {
		t.Errorf("the history says %q", what)
	}
	for _, x := range []struct {
		class     mail.Class
		max, want int
	}{{mail.High, 10, 10}, {mail.Normal, 10, 8}, {mail.Bulk, 10, 8}, {mail.Normal, 4, 4}, {mail.Normal, 5, 4}, {mail.Normal, 1, 1}} {
		if got := s.For(x.class, x.max); got != x.want {
			t.Errorf("%v may use %d of %d, want %d", x.class, got, x.max, x.want)
		}
	}
}

func TestImpossibleShares(t *testing.T) {
	for _, x := range []struct {
		s    Shares
		want string
	}{
		{Shares{High: 91}, "classes.high.share: 91%"},
		{Shares{High: -1}, "classes.high.share: -1%"},
		{Shares{Tenants: map[string]int{"acme": 0}}, "tenants.acme.weight: 0 is no weight"},
		{Shares{Tenants: map[string]int{"acme": 101}}, "tenants.acme.weight: 101 is no weight"},
		{Shares{Tenants: map[string]int{"": 2}}, "without a tenant"},
		{Shares{Tenants: map[string]int{"a\nb": 2}}, "not one line"},
	} {
		c := file("node1")
		c.Shares = x.s
		if _, err := (&Book{}).Apply(c); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v, want %q", x.s, err, x.want)
		}
	}
}
