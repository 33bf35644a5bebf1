package dns

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func records(t *testing.T, lines ...string) (rrs []dns.RR) {
	t.Helper()
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	return rrs
}

// Records that do not belong to the question count for nothing.
func TestRead_strangeRecords(t *testing.T) {
	m := new(dns.Msg).SetReply(question(key{"d.test", TypeMX}, true))
	m.RecursionAvailable = true
	m.Answer = records(t, "d.test. 60 CH MX 1 chaos.test.", "e.test. 60 IN MX 1 other.test.", "d.test. 60 IN A 192.0.2.1", "D.tEst. 60 IN MX 1 Right.Test.")
	a, next, _, err := read(m, "d.test", TypeMX, 0)
	if err != nil || next != "" || len(a.MX) != 1 || a.MX[0].Host != "right.test" || len(a.Addrs) != 0 {
		t.Errorf("got %+v, %q, %v", a, next, err)
	}
	m.Rcode = dns.RcodeNameError
	if _, _, _, err := read(m, "d.test", TypeMX, 0); !errors.Is(err, errBoth) {
		t.Errorf("NXDOMAIN with records: %v", err)
	}
}

func TestAnswers(t *testing.T) {
	q := question(key{"d.test", TypeMX}, true)
	for name, tt := range map[string]struct {
		change func(*dns.Msg)
		want   bool
	}{
		"the answer":               {func(m *dns.Msg) {}, true},
		"other case":               {func(m *dns.Msg) { m.Question[0].Name = "D.Test." }, true},
		"a query":                  {func(m *dns.Msg) { m.Response = false }, false},
		"another opcode":           {func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, false},
		"another name":             {func(m *dns.Msg) { m.Question[0].Name = "e.test." }, false},
		"another type":             {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }, false},
		"another class":            {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, false},
		"two questions":            {func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, false},
		"no question":              {func(m *dns.Msg) { m.Question = nil }, false},
		"no question, but REFUSED": {func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeRefused }, true},
		"no question, NXDOMAIN":    {func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeNameError }, false},
	} {
		m := new(dns.Msg).SetReply(q)
		tt.change(m)
		if got := answers(m, q); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, tt := range []struct {
		s          string
		name, host bool
	}{
		{"d.test", true, true}, {"D.Test", true, true}, {"_25._tcp.mx.test", true, true}, {"localhost", true, true},
		{"", false, false}, {".", false, false}, {".d.test", false, false}, {"d..test", false, false}, {"d.test.", false, false},
		{long + ".test", true, true}, {long + "a.test", false, false},
		{strings.Repeat(long+".", 3) + long[:61], true, true}, {strings.Repeat(long+".", 3) + long[:62], false, false},
		{"a b.test", false, false}, {"a\\.b.test", false, false}, {"bücher.test", false, false}, {"a\r\nb.test", false, false}, {"a\x00.test", false, false},
		{"a|b.test", true, false}, {"a+b.test", true, false}, {"[192.0.2.1]", true, false},
	} {
		if got := isName(tt.s); got != tt.name {
			t.Errorf("isName(%q) = %v", tt.s, got)
		}
		if got := isHost(tt.s); got != tt.host {
			t.Errorf("isHost(%q) = %v", tt.s, got)
		}
	}
}

// A name that was never checked may end in a Failure: what people read of it is printable.
func TestFailureIsPrintable(t *testing.T) {
	if got := failNoDomain("b\r\n250 ü.test").Reply.Text; strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.Errorf("%q", got)
	}
}
