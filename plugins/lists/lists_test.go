package lists_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugins/lists"
)

func TestParse(t *testing.T) {
	var got []string
	err := lists.Parse("hosts", []byte("\ufeff# of ours\r\n\n one.test \r\n; two\rthree.test\nfour.test"), func(l string) error {
		got = append(got, l)
		return nil
	})
	if err != nil || strings.Join(got, " ") != "one.test three.test four.test" {
		t.Errorf("%q, %v", got, err)
	}
	err = lists.Parse("hosts", []byte("a\n\nb\nc\n"), func(l string) error {
		if l == "a" {
			return nil
		}
		return errors.New("is bad; mend it")
	})
	if want := "hosts:3: \"b\" is bad; mend it\nhosts:4: \"c\" is bad; mend it"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	err = lists.Parse("hosts", []byte(strings.Repeat("x\n", 5000)), func(string) error { return errors.New("is bad") })
	if n := strings.Count(err.Error(), "\n"); n != 10 || !strings.Contains(err.Error(), "further lines") {
		t.Errorf("%d lines about a wrong file: %v", n+1, err)
	}
	if err := lists.Parse("hosts", []byte("PK\x00\x01"), func(string) error { return nil }); err == nil || !strings.Contains(err.Error(), "NUL") {
		t.Errorf("octets that are no text: %v", err)
	}
}

func TestRead_missing(t *testing.T) {
	there, err := lists.Read(func(string) ([]byte, error) { return nil, fs.ErrNotExist }, "hosts", nil)
	if there || err != nil {
		t.Errorf("%v, %v", there, err)
	}
	_, err = lists.Read(func(string) ([]byte, error) { return nil, fs.ErrPermission }, "hosts", nil)
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a list that cannot be read is none: %v", err)
	}
}

func TestNetworks(t *testing.T) {
	var n lists.Networks
	for _, s := range []string{"192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "2001:db9::1", "::ffff:203.0.113.9", "10.0.0.0/8", "10.0.0.0/8"} {
		if err := n.Add(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	if n.Len() != 6 {
		t.Errorf("%d networks", n.Len())
	}
	for ip, want := range map[string]bool{
		"192.0.2.255": true, "192.0.3.0": false, "198.51.100.7": true, "198.51.100.8": false, "2001:db8:1::": true,
		"2001:db9::1": true, "2001:db9::2": false, "::ffff:192.0.2.1": true, "203.0.113.9": true, "fe80::1%eth0": false, "10.255.0.1": true,
	} {
		if got := n.Has(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
	if n.Has(netip.Addr{}) {
		t.Error("no address is in a network")
	}
	for bad, mend := range map[string]string{
		"192.0.2.7/24": "192.0.2.0/24, or 192.0.2.7", "192.0.2": "no IP address", "192.0.2.0/33": "no network", "fe80::1%eth0": "no IP address",
		"::ffff:192.0.2.0/120": "IPv6 form", "example.net": "no IP address", "192.0.2.0/24/8": "no network",
	} {
		if err := n.Add(bad); err == nil || !strings.Contains(err.Error(), mend) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestDomains(t *testing.T) {
	var d lists.Domains
	for _, s := range []string{"Example.NET", "*.example.org", "bücher.test", "trailing.test."} {
		if err := d.Add(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for name, want := range map[string]bool{
		"example.net": true, "EXAMPLE.net.": true, "a.example.net": false, "example.org": false, "a.example.org": true, "b.a.Example.Org": true,
		"aexample.org": false, "xn--bcher-kva.test": true, "BÜCHER.test": true, "trailing.test": true, "": false, "net": false,
	} {
		if got := d.Has(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, bad := range []string{"ann@example.net", "*", "a.*.test", "a b", "/etc/passwd", "a..b", ".example.net", "*.", ".*example", strings.Repeat("a.", 200)} {
		if err := d.Add(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestMailboxes(t *testing.T) {
	var m lists.Mailboxes
	for _, s := range []string{"Ann@Example.net", "@all.test", "@*.sub.test", `"a b"@example.net`} {
		if err := m.Add(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for a, want := range map[string]bool{
		"ann@example.net": true, `"ANN"@EXAMPLE.net`: true, `"a\nn"@example.net`: true, "bob@example.net": false, "x@all.test": true,
		"x@a.all.test": false, "x@sub.test": false, "x@a.sub.test": true, `"a b"@example.net`: true, "ann": false, "": false,
	} {
		if got := m.Has(mail.NewAddress(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	for bad, mend := range map[string]string{
		"example.net": "@example.net", "<ann@example.net>": "brackets", "*@example.net": "write @example.net", "ann@": "good domain",
		"ann@example.net bob@example.net": "one address a line",
	} {
		if err := m.Add(bad); err == nil || !strings.Contains(err.Error(), mend) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPatterns(t *testing.T) {
	var p lists.Patterns
	for _, s := range []string{`.*\.dyn\.example\.net`, `a|b`} {
		if err := p.Add(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for text, want := range map[string]bool{
		"1.DYN.example.net": true, "1.dyn.example.net.evil": false, "a": true, "ab": false, "xb": false, "b\nx": false,
	} {
		if got := p.Has(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	for bad, mend := range map[string]string{`*.example.net`: "write .*", `(a`: "no regular expression", `a)|(b`: "no regular expression", `(?!x)y`: "RE2", `(a)\1`: "no regular expression"} {
		if err := p.Add(bad); err == nil || !strings.Contains(err.Error(), mend) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("192.0.2.0/24\nann@example.net\r\n# x\n*.a.test\r\"a\\\"b\"@c"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var n lists.Networks
		var d lists.Domains
		var m lists.Mailboxes
		_ = lists.Parse("fuzz", text, func(line string) error {
			if n.Add(line) == nil && !n.Has(netip.MustParsePrefix(prefix(line)).Addr()) {
				t.Errorf("network %q is not in its own list", line)
			}
			if name, below := strings.CutPrefix(line, "*."); d.Add(line) == nil && !below && !d.Has(name) {
				t.Errorf("domain %q is not in its own list", line)
			}
			if line[0] != '@' && m.Add(line) == nil && !m.Has(mail.NewAddress(line)) {
				t.Errorf("address %q is not in its own list", line)
			}
			if p := lists.Plain(line); !strings.HasPrefix(line, p) {
				t.Errorf("%q without its remark is %q", line, p)
			}
			return nil
		})
	})
}

func prefix(s string) string {
	if strings.Contains(s, "/") {
		return s
	}
	a := netip.MustParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen()).String()
}

func TestUnread(t *testing.T) {
	for text, warns := range map[string]bool{"[main]\n; nothing\n": false, "[relay]\nall=true\n": true} {
		var log strings.Builder
		lists.Unread(func(string) ([]byte, error) { return []byte(text), nil }, slog.New(slog.NewTextHandler(&log, nil)), "relay.ini")
		if got := strings.Contains(log.String(), "config/relay.ini"); got != warns {
			t.Errorf("%q: %q", text, log.String())
		}
	}
}
