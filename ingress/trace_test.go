package ingress

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var traceTime = time.Date(2026, 3, 7, 9, 5, 1, 0, time.FixedZone("", 3600))

func base() trace {
	return trace{Helo: "client.test", Name: "rdns.test", IP: netip.MustParseAddr("192.0.2.1"), By: "mx.test", Protocol: "ESMTPS", ID: "0ABC", For: "u@d.test", Time: traceTime}
}

func TestH1_received(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, x := range []struct {
		name string
		mod  func(*trace)
		want string
	}{
		{"plain", func(*trace) {}, "Received: from client.test (rdns.test [192.0.2.1]) by mx.test with ESMTPS id\n0ABC for <u@d.test>; Sat, 7 Mar 2026 09:05:01 +0100"},
		{"several recipients", func(t *trace) { t.For = "" }, "with ESMTPS id 0ABC; Sat, 7 Mar"},
		{"no reverse name", func(t *trace) { t.Name = "" }, "from client.test (unknown [192.0.2.1]) by"},
		{"no address", func(t *trace) { t.Name, t.IP = "", netip.Addr{} }, "from client.test (unknown) by"},
		{"IPv6", func(t *trace) { t.IP = netip.MustParseAddr("2001:db8::1") }, "(rdns.test [IPv6:2001:db8::1])"},
		{"no HELO", func(t *trace) { t.Helo = "" }, "from unknown (rdns.test"},
		{"HELO literal", func(t *trace) { t.Helo = "[IPv6:::1]" }, "from [IPv6:::1] (rdns.test"},
		{"HELO x(y", func(t *trace) { t.Helo = "x(y" }, "from x+28y (rdns.test"},
		{"HELO with tab", func(t *trace) { t.Helo = "x\ty" }, "from x+09y (rdns.test"},
		{"HELO with a header", func(t *trace) { t.Helo = "x\r\nBcc: y" }, "from x+0D+0ABcc:+20y (rdns.test"},
		{"HELO x by evil", func(t *trace) { t.Helo = "x by evil;" }, "from x+20by+20evil+3B (rdns.test"},
		{"HELO with plus", func(t *trace) { t.Helo = "x+28" }, "from x+2B28 (rdns.test"},
		{"HELO 8-bit", func(t *trace) { t.Helo = "\xff" }, "from +FF (rdns.test"},
		{"HELO of 255", func(t *trace) { t.Helo = long }, "from " + long + " (rdns.test"},
		{"HELO of 999", func(t *trace) { t.Helo = strings.Repeat("x", 999) }, "from " + long + " (rdns.test"},
		{"hostile reverse name", func(t *trace) { t.Name = "a) by (b" }, "(a+29+20by+20+28b [192.0.2.1])"},
		{"quoted recipient", func(t *trace) { t.For = `"a b"@d.test` }, `for <"a b"@d.test>;`},
		{"UTF-8", func(t *trace) { t.For, t.Protocol = "ü@d.test", "UTF8SMTPS" }, "with UTF8SMTPS id 0ABC for <ü@d.test>;"},
	} {
		t.Run(x.name, func(t *testing.T) {
			tr := base()
			x.mod(&tr)
			got := string(tr.append(nil))
			oneHeader(t, got)
			if flat := unfold(got); !strings.Contains(flat, unfold(strings.ReplaceAll(x.want, "\n", "\r\n\t"))) {
				t.Errorf("got\n%swant\n%s", got, x.want)
			}
		})
	}
	tr := base()
	const golden = "Received: from client.test (rdns.test [192.0.2.1]) by mx.test\r\n\twith ESMTPS id 0ABC for <u@d.test>; Sat, 7 Mar 2026 09:05:01 +0100\r\n"
	if got := string(tr.append(nil)); got != golden {
		t.Errorf("got\n%swant\n%s", got, golden)
	}
}

func unfold(s string) string { return strings.ReplaceAll(strings.TrimSuffix(s, "\r\n"), "\r\n\t", " ") }

// oneHeader checks that s is exactly one header field, however folded.
func oneHeader(t interface {
	Helper()
	Errorf(string, ...any)
}, s string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(s, "\r\n"), "\r\n")
	for i, l := range lines {
		if i == 0 && !strings.HasPrefix(l, "Received: ") || i > 0 && l[0] != '\t' || strings.ContainsAny(l, "\r\n\x00") || len(l) > 998 {
			t.Errorf("line %d: %q", i, l)
		}
	}
	flat := unfold(s)
	if strings.Count(flat, " by ") != 1 || strings.Count(flat, "(") != 1 || strings.Count(flat, ")") != 1 || strings.Count(flat, " from ") != 1 {
		t.Errorf("clauses: %q", flat)
	}
}

// Whatever a stranger calls himself, the trace is one header with its own clauses.
func TestH1_hostileNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := base()
		tr.Helo = string(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "helo"))
		tr.Name = string(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "name"))
		oneHeader(t, string(tr.append(nil)))
	})
}

// H1 on the wire: the protocol, the id of the 250, and no "for" with two recipients.
func TestH1_dialogue(t *testing.T) {
	q, p := &memory{}, defaults()
	dialogue{queue: q, policy: p}.run(t, `
		C: HELO x(y
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
		C: EHLO [192.0.2.7]
		S: 250
		C: MAIL FROM:<> SMTPUTF8
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: RCPT TO:<v@local.test>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250`)
	for i, want := range []string{
		"Received: from x+28y (unknown [192.0.2.7]) by mx.test with SMTP id %s for <u@local.test>; ",
		"Received: from [192.0.2.7] (unknown [192.0.2.7]) by mx.test with UTF8SMTP id %s; ",
	} {
		m := q.messages()[i]
		if want := fmt.Sprintf(want, m.message.ID); !strings.HasPrefix(unfold(m.text), want) {
			t.Errorf("got\n%swant\n%s", m.text, want)
		}
	}
}
