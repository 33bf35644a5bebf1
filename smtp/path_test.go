package smtp

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
)

// F1: what is refused by its syntax, and what reaches Rcpt and how. Whether to
// relay is for the Session to say; % and ! are plain characters, never routes.
func TestF1_paths(t *testing.T) {
	for _, c := range []struct {
		path string // in angle brackets
		want string // raw|domain, or the code
	}{
		{`u@other.test`, `u@other.test|other.test`},
		{`u%other.test@local.test`, `u%other.test@local.test|local.test`},
		{`other.test!u@local.test`, `other.test!u@local.test|local.test`},
		{`@local.test:u@other.test`, `553`},
		{`@local.test,@x.test:u@other.test`, `553`},
		{`"u@other.test"@local.test`, `"u@other.test"@local.test|local.test`},
		{`"u@other.test"`, `553`},
		{`u@other.test@local.test`, `553`},
		{`u@local.test@other.test`, `553`},
		{`u@[127.0.0.1]`, `u@[127.0.0.1]|[127.0.0.1]`},
		{`u@[IPv6:::1]`, `u@[IPv6:::1]|[ipv6:::1]`},
		{`u@[IPv6:127.0.0.1]`, `553`},
		{`u@[::1]`, `553`},
		{`u@[fe80::1%eth0]`, `553`},
		{`u@[IPv6:fe80::1%eth0]`, `553`},
		{`u@[127.0.0.1`, `553`},
		{`u@[x-tag:y]`, `553`},
		{`u@localhost`, `u@localhost|localhost`},
		{`u@LOCAL.test`, `u@LOCAL.test|local.test`},
		{`u@LOCAL.`, `553`},
		{`u`, `553`},
		{`""@d.test`, `""@d.test|d.test`},
		{`a b@d.test`, `553`},
		{`a,b@d.test`, `553`},
		{`a<b@d.test`, `553`},
		{`a"b@d.test`, `501`}, // the quote hides the bracket
		{`a\b@d.test`, `553`},
		{`"a"b@d.test`, `553`},
		{`"a`, `501`},
		{`"a\`, `501`},
		{`a@d_e.test`, `a@d_e.test|d_e.test`},
		{`a@d/e.test`, `553`},
		{"a\tb@d.test", `553`},
		{"\"a\tb\"@d.test", `553`},
		{"\"a\x7fb\"@d.test", `553`},
		{"\"a\\\x7fb\"@d.test", `553`},
	} {
		a, rest, err := ParsePath("<"+c.path+"> SIZE=1", false)
		got := a.Raw + "|" + string(a.Domain)
		if err != nil {
			got = map[int]string{501: "501", 553: "553"}[err.(*PathError).Code]
		}
		if got != c.want || err == nil && rest != " SIZE=1" {
			t.Errorf("<%s>: got %s (%v), want %s; rest %q", c.path, got, err, c.want, rest)
		}
	}
}

func TestF3_quotedPaths(t *testing.T) {
	for _, raw := range []string{`"x> NOTIFY=NEVER ORCPT"@y.test`, `"a b"@d.test`, `"a\"b"@d.test`, `"a\\"@d.test`, `"a@b"@d.test`, `"a>"@d.test`} {
		t.Run(raw, func(t *testing.T) {
			h := &recorder{}
			dialogue{handler: h}.run(t, `
				S: 220
				C: EHLO x
				S: 250
				C: MAIL FROM:<`+strings.ReplaceAll(raw, `\`, `\\`)+`>
				S: 250
				C: RCPT TO:<`+strings.ReplaceAll(raw, `\`, `\\`)+`>
				S: 250
			`)
			if h.count("MAIL "+raw+"|") != 1 || h.count("RCPT "+raw+"|") != 1 {
				t.Errorf("%q", h.events)
			}
		})
	}
}

func genLocal() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching("[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,10}(\\.[a-z0-9]{1,10}){0,3}"),
		rapid.Custom(func(t *rapid.T) string {
			var b strings.Builder
			b.WriteByte('"')
			for _, c := range []byte(rapid.StringMatching(`[ -~]{0,25}`).Draw(t, "quoted")) {
				if c == '"' || c == '\\' || rapid.IntRange(0, 9).Draw(t, "escape") == 0 {
					b.WriteByte('\\')
				}
				b.WriteByte(c)
			}
			return b.String() + `"`
		}),
	)
}

// Every address that RFC 5321 can write is taken, and comes out as it went in.
func TestPathRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		local := genLocal().Draw(t, "local")
		domain := rapid.StringMatching(`[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?(\.[a-z0-9]{1,8}){0,4}`).Draw(t, "domain")
		rest := rapid.SampledFrom([]string{"", " SIZE=1", " "}).Draw(t, "rest")
		raw := local + "@" + domain
		a, after, err := ParsePath("<"+raw+">"+rest, false)
		if err != nil || a.Raw != raw || after != rest || a.Domain != mail.CanonicalDomain(domain) || a.Local() != local {
			t.Fatalf("%q, %q, %v", a, after, err)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{`<a@b.test>`, `<"a b"@[127.0.0.1]> SIZE=1`, `<>`, `<postmaster>`, ` <a@b>`, `a@b SIZE=1`, `<"\">@x"@y>`, "<\xff@x>"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, lax bool) {
		a, rest, err := ParsePath(s, lax)
		if err != nil {
			if _, ok := err.(*PathError); !ok {
				t.Fatalf("%T", err)
			}
			return
		}
		if !strings.HasSuffix(s, rest) || !strings.Contains(s, a.Raw) || len(a.Raw) > 254 {
			t.Fatalf("%q gives %q and %q", s, a.Raw, rest)
		}
		if a.IsNull() {
			return
		}
		// What we took, we must be able to write on the next wire: one path, nothing behind it.
		again, rest, err := ParsePath("<"+a.Raw+">", false)
		if err != nil || again != a || rest != "" {
			t.Fatalf("%q: again %q, %q, %v", s, again, rest, err)
		}
		if strings.ContainsAny(a.Raw, "\r\n\x00") {
			t.Fatalf("%q", a.Raw)
		}
	})
}

func FuzzCommand(f *testing.F) {
	for _, s := range []string{"MAIL FROM:<a@b.test> SIZE=1 BODY=8BITMIME", "RCPT TO:<c@d.test>", "EHLO x", "BDAT 5 LAST", "STARTTLS ", " ", "MAIL FROM:<>  SMTPUTF8 X"} {
		f.Add(s)
	}
	f.Add("XCLIENT NAME=a+2Eb.test ADDR=IPV6:2001:db8::1 PORT=25 HELO=x+0D+0A LOGIN=[UNAVAILABLE]")
	f.Add("XCLIENT NAME=[TEMPUNAVAIL] PROTO=esmtp DESTADDR=192.0.2.1 DESTPORT=65536 LOGIN=a+00b")
	f.Add("MAIL FROM:<a@b.test> HOLDFOR=3600")
	f.Add("MAIL FROM:<a@b.test> HOLDUNTIL=2026-12-24T18:00:00Z")
	f.Fuzz(func(t *testing.T, line string) {
		verb, args := splitVerb([]byte(line))
		if strings.ContainsRune(string(verb), ' ') || !strings.HasPrefix(line, string(verb)) {
			t.Fatalf("verb %q", verb)
		}
		from, o, bad := parseMail(string(args), true, true, 1000, time.Hour)
		switch {
		case bad == nil && (o == nil || o.Size < 0 || o.Size > 1000 || !o.UTF8 && !from.IsASCII()):
			t.Fatalf("%q: %+v", args, o)
		case bad != nil && !bad.Permanent():
			t.Fatalf("%q: %v", args, bad)
		}
		if to, _, bad := parseRcpt(string(args), true, true, false); bad == nil && (to.IsNull() || !to.IsASCII()) {
			t.Fatalf("%q: %q", args, to)
		}
		if n, _, sized, ok := parseBdat(string(args)); n < 0 || ok && !sized {
			t.Fatalf("%q: %d", args, n)
		}
		var said clientOf
		isControl := func(r rune) bool { return r < ' ' || r == 0x7f }
		if said.read(string(args)) == "" && strings.ContainsFunc(said.name+said.helo+said.login, isControl) {
			t.Fatalf("%q: %+v", args, said)
		}
		isHelloName(string(args))
	})
}
