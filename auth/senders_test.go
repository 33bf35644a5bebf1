package auth

import (
	"strings"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

func TestSenders(t *testing.T) {
	s, err := ParseSenders("senders", []byte(`
# what users may send as
ann: ann@example.net, Ann.B@Example.net @bücher.example
ann: news@other.test
app: *
`))
	if err != nil || s.Len() != 2 {
		t.Fatal(err, s)
	}
	for _, x := range []struct {
		user, from string
		owns       bool
	}{
		{"ann", "ann@example.net", true},
		{"ann", "ANN@EXAMPLE.NET", true},
		{"ann", "ann.b@example.net", true},
		{"ann", "news@other.test", true},
		{"ann", "x@xn--bcher-kva.example", true},
		{"ann", "x@BÜCHER.example", true},
		{"ann", "x@sub.bücher.example", false},
		{"ann", "bob@example.net", false},
		{"ann", "", true},
		{"app", "anybody@anywhere.test", true},
		{"bob", "bob@example.net", false},
		{"bob@example.net", "bob@example.net", true},
		{"bob@example.net", "Bob@example.net", true},
		{"bob@example.net", "ann@example.net", false},
		{"", "ann@example.net", false},
	} {
		if got := s.Owns(x.user, mail.NewAddress(x.from)); got != x.owns {
			t.Errorf("%q as %q: %v", x.user, x.from, got)
		}
	}
	for text, want := range map[string]string{
		"ann":              "senders:1: write name:",
		"ann:":             "senders:1: write name:",
		":ann@example.net": "senders:1: write name:",
		"\nann: example":   `senders:2: "example" is no address`,
		"ann: ann@":        `senders:1: "ann@" is no address`,
	} {
		if _, err := ParseSenders("senders", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
