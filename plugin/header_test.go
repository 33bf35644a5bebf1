package plugin_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/plugin"
)

func TestHeader(t *testing.T) {
	const block = "Received: by a\r\n\tfor b\r\nSubject : odd\r\nno field\r\nX-A: 1\r\nx-a:2\r\n"
	h := plugin.ParseHeader([]byte(block + "\r\nX-A: of the body\r\n"))
	if got := string(h.Bytes()); got != block {
		t.Errorf("it came back as %q", got)
	}
	if got := strings.Join(h.All("X-a"), ","); got != "1,2" {
		t.Errorf("X-A: %q", got)
	}
	if got := h.Get("received"); got != "by a\tfor b" {
		t.Errorf("Received: %q", got)
	}
	if got := h.Get("subject"); got != "odd" {
		t.Errorf("Subject: %q", got)
	}
	if n := h.Remove("x-A"); n != 2 {
		t.Errorf("%d removed", n)
	}
	for _, err := range []error{h.Add("X-Spam", "yes\n because"), h.AddLeading("X-Top", "1")} {
		if err != nil {
			t.Error(err)
		}
	}
	want := "X-Top: 1\r\nReceived: by a\r\n\tfor b\r\nSubject : odd\r\nno field\r\nX-Spam: yes\r\n because\r\n"
	if got := string(h.Bytes()); got != want {
		t.Errorf("changed: %q", got)
	}
}

func TestHeader_refused(t *testing.T) {
	h := plugin.ParseHeader(nil)
	for _, f := range [][2]string{{"", "x"}, {"A B", "x"}, {"A:", "x"}, {"Ä", "x"}, {"A", "x\r\nB: y"}, {"A", "x\n\n y"}, {"A", "x\n \t\n y"}, {"A", "x\ry"}, {"A", "\x00"}} {
		if err := h.Add(f[0], f[1]); err == nil {
			t.Errorf("%q: %q was taken", f[0], f[1])
		}
	}
	if len(h.Bytes()) > 0 {
		t.Errorf("and stands there: %q", h.Bytes())
	}
}

// No line that a plugin adds is longer than RFC 5322 §2.1.1 allows.
func TestHeader_folds(t *testing.T) {
	x := strings.Repeat("x", 75)
	long, word := strings.Repeat(x+" ", 13)+x, "=?UTF-8?q?"+strings.Repeat("y", 60)+"?="
	for value, want := range map[string]string{
		x + " " + x:                           "A: " + x + " " + x + "\r\n", // is not too long
		long:                                  "A: " + x + strings.Repeat("\r\n "+x, 13) + "\r\n",
		"short\n " + long:                     "A: short" + strings.Repeat("\r\n "+x, 14) + "\r\n",
		word + " " + word:                     "A: " + word + "\r\n " + word + "\r\n",
		word + "\r\n " + word:                 "A: " + word + "\r\n " + word + "\r\n",
		"a " + word:                           "A: a " + word + "\r\n",
		long + "  a\tb":                       "A: " + x + strings.Repeat("\r\n "+x, 13) + "\r\n  a\tb\r\n",
		strings.Repeat("z", 997):              "A: \r\n " + strings.Repeat("z", 997) + "\r\n",
		strings.Repeat("z", 998):              "",
		strings.Repeat(" ", 1000):             "",
		"a" + strings.Repeat(" ", 1000) + "b": "",
		"a " + strings.Repeat("z", 998):       "",
	} {
		h := plugin.ParseHeader(nil)
		err := h.Add("A", value)
		if got := string(h.Bytes()); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %v, got\n%q, want\n%q", value, err, got, want)
		}
		if want != "" && h.Get("A") != strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "").Replace(value)) {
			t.Errorf("%q is read as %q", value, h.Get("A"))
		}
	}
	if err := plugin.ParseHeader(nil).Add("X-Token", strings.Repeat("z", 2000)); err == nil || !strings.Contains(err.Error(), "field X-Token: 2000 octets without a blank") {
		t.Error(err)
	}
	if err := plugin.ParseHeader(nil).Add(strings.Repeat("N", 998), "x"); err == nil {
		t.Error("a name that is longer than a line was taken")
	}
}

// Whatever a stranger sends comes back as it was, and what is added stays one field.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("A: 1\r\n b\r\n\r\nbody"), "X", "y")
	f.Add([]byte(" folded first\n\n"), "X", "a\r\n b")
	f.Fuzz(func(t *testing.T, block []byte, name, value string) {
		h := plugin.ParseHeader(block)
		got := h.Bytes()
		if !bytes.HasPrefix(block, got) {
			t.Fatalf("%q came back as %q", block, got)
		}
		n := len(h.Names())
		if h.Add(name, value) != nil {
			return
		}
		for line := range bytes.SplitSeq(h.Bytes()[len(got):], []byte("\r\n")) {
			if len(line) > 998 {
				t.Fatalf("%q: %q made a line of %d octets", name, value, len(line))
			}
		}
		again := plugin.ParseHeader(append(bytes.TrimSuffix(bytes.Clone(got), []byte("\n")), append([]byte("\r\n"), h.Bytes()[len(got):]...)...))
		if m := len(again.Names()); m > n+1 {
			t.Fatalf("%q: %q made %d fields of %d", name, value, m, n)
		}
	})
}
