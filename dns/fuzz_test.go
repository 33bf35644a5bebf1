package dns

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// FuzzRead feeds octets of a stranger through what an answer goes through, up
// to the hosts and their site.
func FuzzRead(f *testing.F) {
	for _, zone := range []string{
		"d.test. 60 IN MX 10 mx.test.",
		"d.test. 60 IN MX 0 .",
		"d.test. 60 IN CNAME e.test.",
		"d.test. 60 IN CNAME d.test.",
		`d.test. 60 IN MX 5 a\.b\032\255.test.`,
		`d.test. 4294967295 IN TXT "a\"b" "\200"`,
		"d.test. 60 IN A 192.0.2.1",
		"d.test. 60 IN AAAA ::ffff:127.0.0.1",
		"d.test. 60 IN TLSA 3 1 1 abcd",
	} {
		rr, err := dns.NewRR(zone)
		if err != nil {
			f.Fatal(err)
		}
		m := new(dns.Msg).SetReply(question(key{"d.test", TypeMX}, true))
		m.Answer = []dns.RR{rr}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(rr.Header().Rrtype))
		f.Add(b[:len(b)-3], uint16(TypeMX))
	}
	// A name that points at itself.
	f.Add([]byte("\x00\x01\x84\x00\x00\x01\x00\x01\x00\x00\x00\x00\x01d\x04test\x00\x00\x0f\x00\x01\xc0\x18\x00\x0f\x00\x01\x00\x00\x00\x3c\x00\x04\x00\x0a\xc0\x18"), uint16(TypeMX))
	f.Fuzz(func(t *testing.T, b []byte, typ uint16) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		_ = answers(m, question(key{"d.test", Type(typ)}, true))
		a, next, hops, err := read(m, "d.test", Type(typ), 0)
		if err != nil {
			return
		}
		if hops > maxCNAME || a.ttl < 0 || a.Name != "d.test" || a.bytes() <= 0 {
			t.Fatalf("%+v after %d aliases", a, hops)
		}
		if (a.Status == Found && next == "") != (a.count() > 0) {
			t.Fatalf("status %s, %d records, next %q", a.Status, a.count(), next)
		}
		if a.Type != TypeMX || next != "" {
			return
		}
		hosts, failure := mailHosts("d.test", a)
		if (failure == nil) == (len(hosts) == 0) {
			t.Fatalf("%v and %v", hosts, failure)
		}
		if failure != nil && !failure.Reply.Permanent() {
			t.Fatalf("an answer that is definite gives %v", failure)
		}
		for _, h := range hosts {
			if !isHost(h.Host) || strings.ToLower(h.Host) != h.Host {
				t.Fatalf("host %q", h.Host)
			}
		}
		if s := Site(hosts); len(hosts) > 1 && len(s) > maxSite || strings.ContainsAny(s, " \r\n\\") {
			t.Fatalf("site %q", s)
		}
	})
}

func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nnameserver 2001:db8::1\noptions timeout:1 attempts:3 trust-ad\n")
	f.Add("nameserver\noptions timeout:-5 attempts:99999999999999999999\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := readResolvConf(strings.NewReader(s))
		for _, a := range got.servers {
			if _, _, err := net.SplitHostPort(a); err != nil {
				t.Fatalf("server %q: %v", a, err)
			}
		}
		if got.timeout < 0 || got.timeout > 30*time.Second || got.attempts < 0 || got.attempts > 5 {
			t.Fatalf("%+v", got)
		}
	})
}

func TestResolvConf(t *testing.T) {
	got := readResolvConf(strings.NewReader(`
# a comment
; and another
search example.net
nameserver 192.0.2.1
nameserver 2001:db8::1   # the second
nameserver not-an-address
nameserver fe80::1%eth0
options ndots:2 timeout:7 attempts:3 trust-ad
`))
	want := []string{"192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%eth0]:53"}
	if !slices.Equal(got.servers, want) || got.timeout != 7*time.Second || got.attempts != 3 || !got.trustAD {
		t.Errorf("got %+v", got)
	}
	if got := systemServers("/nonexistent/resolv.conf").servers; !slices.Equal(got, []string{"127.0.0.1:53"}) {
		t.Errorf("without a file: %v", got)
	}
	r := New(Config{Servers: []string{"192.0.2.1", "::1", "[::1]", "ns.test:5353"}})
	if got := r.Servers(); !slices.Equal(got, []string{"192.0.2.1:53", "[::1]:53", "[::1]:53", "ns.test:5353"}) {
		t.Errorf("ports: %v", got)
	}
	if len(New(Config{}).Servers()) == 0 {
		t.Error("the zero Config asks nobody")
	}
}
