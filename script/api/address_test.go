package api

import (
	"strings"
	"testing"
)

// The addresses of the documentation of address-rfc2821 and RFC 5321, and those that
// Wikipedia has of internationalised ones.
var addressRows = []struct{ in, user, host, original string }{
	{"<>", "", "", ""},
	{"", "", "", ""},
	{"<postmaster>", "postmaster", "", ""},
	{"Postmaster", "postmaster", "", ""},
	{"<foo@example.com>", "foo", "example.com", "example.com"},
	{"foo@example.com", "foo", "example.com", "example.com"},
	{"<foo+bar@example.com>", "foo+bar", "example.com", "example.com"},
	{"<$foo@example.com>", "$foo", "example.com", "example.com"},
	{"<matt@exAMple.com>", "matt", "example.com", "exAMple.com"},
	{`<"musa_ibrah@caramail.comandrea.luger"@wifo.ac.at>`, `"musa_ibrah@caramail.comandrea.luger"`, "wifo.ac.at", "wifo.ac.at"},
	{`<"a b"@example.com>`, `"a b"`, "example.com", "example.com"},
	{"<foo@foo.x.example.com>", "foo", "foo.x.example.com", "foo.x.example.com"},
	{"<@a.example,@b.example:joe@c.example>", "joe", "c.example", "c.example"},
	{"<@[IPv6:::1]:joe@c.example>", "joe", "c.example", "c.example"},
	{"<joe@[192.0.2.1]>", "joe", "[192.0.2.1]", "[192.0.2.1]"},
	{"<joe@[IPv6:2001:db8::1]>", "joe", "[ipv6:2001:db8::1]", "[IPv6:2001:db8::1]"},
	{"<андрис@уайлддак.орг>", "андрис", "xn--80aalaxjd5d.xn--c1avg", "уайлддак.орг"},
	{"<Pelé@example.com>", "Pelé", "example.com", "example.com"},
	{"<δοκιμή@παράδειγμα.δοκιμή>", "δοκιμή", "xn--hxajbheg2az3al.xn--jxalpdlp", "παράδειγμα.δοκιμή"},
	{"<我買@屋企.香港>", "我買", "xn--hoqu73a.xn--j6w193g", "屋企.香港"},
	{"<медведь@с-балалайкой.рф>", "медведь", "xn----8sbaac5cahfb0b0a.xn--p1ai", "с-балалайкой.рф"},
	{"<संपर्क@डाटामेल.भारत>", "संपर्क", "xn--c2bd4bq1db8d.xn--h2brj9c", "डाटामेल.भारत"},
}

var badAddresses = []string{
	"foo@example.com+bob@attacker.com", "<user@example.com#>", "<user@example.com.>", "<user@example.com>.",
	"<foo bar@example.com>", "<foo@example.com", "foo@example.com>", "<foo>", "<@>", "<@example.com>", "foo@", "<a..b@example.com>",
	"<@a.example:>", "<@a.example joe@c.example>", "<a@b\r\nRCPT TO:<c@d>", "<joe@[999.1.1.1]>", strings.Repeat("a", 2000) + "@example.com",
}

func TestAddress(t *testing.T) {
	w := newWorld(t, nil).withRequire()
	w.eval(`const { Address } = require('address-rfc2821')`)
	for _, x := range addressRows {
		w.inside(func() { w.vm.Set("text", x.in) })
		got := w.eval(script(`const a = new Address(text); return [a.user, a.host, a.original_host || ''].join('|')`))
		if want := x.user + "|" + x.host + "|" + x.original; got != want {
			t.Errorf("%s: %s, want %s", x.in, got, want)
		}
	}
	for _, x := range badAddresses {
		w.inside(func() { w.vm.Set("text", x) })
		if got := w.eval(`new Address(text)`); !strings.HasPrefix(got, "error: Error: Invalid address") {
			t.Errorf("%s: %s", x, got)
		}
	}
	w.table([][2]string{
		{`new Address('<Matt@exAMple.com>').format()`, "<Matt@exAMple.com>"},
		{`new Address('<>').format() + new Address('<>').isNull() + new Address('<a@b.c>').isNull()`, "<>truefalse"},
		{`String(new Address('user', 'Example.com'))`, "<user@Example.com>"},
		{`new Address('user', 'Example.com').host`, "example.com"},
		{`new Address('user', 'mañana.com').format(true)`, "<user@xn--maana-pta.com>"},
		{`new Address('<a@mañana.com>').is_utf8 + ' ' + new Address('<a@b.c>').is_utf8`, "true undefined"},
		{`const j = JSON.stringify(new Address('<Matt@exAMple.com>')); j`, `{"original":"<Matt@exAMple.com>","user":"Matt","host":"example.com","original_host":"exAMple.com"}`},
		{`new Address(JSON.parse(j)).format()`, "<Matt@exAMple.com>"},
		{`const r = new Address('<booya-20271231@myserver.com>'); r.user = 'booya'; String(r)`, "<booya@myserver.com>"},
		{`new Address('<postmaster>').format()`, "<postmaster>"},
	})
}

// address is a string for plugins of today and a method for those of yesterday.
func TestAddressInPlugins(t *testing.T) {
	w := newWorld(t, map[string]string{
		"both.js": `// ünïcödé before, so that octets and characters differ
const { Address } = require('address-rfc2821');
exports.property = () => new Address('<A@Example.com>').address.toLowerCase();
exports.method = () => new Address('<A@Example.com>').address().toLowerCase();
exports.optional = (a) => a?.address();
exports.absent = () => exports.optional(undefined);
exports.args = () => { const a = new Address('<A@Example.com>'); return a.address('<b@mañana.com>') + a.address(null, true) + a.original };
exports.others = () => ({ address() { return 'mine' + this.x }, x: 1 }).address();
exports.none = () => ({}).address();
exports.listed = () => { let n = ''; for (const k in {}) n += k; return n + Object.keys(new Address('<a@b.c>')) };
`})
	w.inside(func() {
		p, err := w.Plugin("both", "both.js")
		if err != nil {
			t.Fatal(err)
		}
		w.vm.Set("p", p)
	})
	w.table([][2]string{
		{`p.property()`, "a@example.com"},
		{`p.method()`, "a@example.com"},
		{`p.absent()`, "undefined"},
		{`p.args()`, "b@mañana.comb@xn--maana-pta.com<b@mañana.com>"},
		{`p.others()`, "mine1"},
		{`p.none()`, "error: TypeError: Object has no member 'address'"},
		{`p.listed()`, "original,user,host,original_host"},
	})
}

func TestAddressFromGo(t *testing.T) {
	w := newWorld(t, nil)
	w.inside(func() {
		for _, raw := range []string{"", "postmaster", "a@example.com", `"a b"@Example.com`, "a@mañana.com"} {
			a, err := w.Address(raw)
			if err != nil {
				t.Errorf("%s: %v", raw, err)
				continue
			}
			if got, ok := w.AddressText(a); !ok || got != raw {
				t.Errorf("%q: %q %v", raw, got, ok)
			}
			if got := a.String(); got != "<"+raw+">" {
				t.Errorf("%q: %s", raw, got)
			}
		}
		a, _ := w.Address("a@example.com")
		a.Set("user", "b c") // not without quotes
		if got, ok := w.AddressText(a); ok {
			t.Errorf("%q was taken", got)
		}
		a.Set("user", "x\r\nDATA")
		if got, ok := w.AddressText(a); ok {
			t.Errorf("%q was taken", got)
		}
		for text, want := range map[string]string{"<a@b.c>": "a@b.c", "a@b.c": "a@b.c", "<>": ""} {
			if got, ok := w.AddressText(w.vm.ToValue(text)); !ok || got != want {
				t.Errorf("%q: %q %v", text, got, ok)
			}
		}
	})
}

// Whatever is read as an address is written again as one that reads the same.
func FuzzAddress(f *testing.F) {
	for _, x := range addressRows {
		f.Add(x.in)
	}
	for _, x := range badAddresses {
		f.Add(x)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseAddress(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(m.user+m.originalHost, "\r\n\x00") {
			t.Fatalf("%q: controls in %+v", s, m)
		}
		if m.originalHost == "" {
			if m.user != "" && m.user != "postmaster" {
				t.Fatalf("%q: %+v", s, m)
			}
			return
		}
		again, err := parseAddress("<" + m.user + "@" + m.originalHost + ">")
		if err != nil || again != m {
			t.Fatalf("%q: %+v, then %+v %v", s, m, again, err)
		}
	})
}
