package dns_test

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/dns/dnstest"
)

func TestK3_mailHostsWithoutAddress(t *testing.T) {
	two := "d.test MX 1 a.test\nd.test MX 2 b.test\n"
	fail := func(names ...string) map[string]dnstest.Fault {
		m := map[string]dnstest.Fault{}
		for _, n := range names {
			m[n] = dnstest.Fault{Rcode: dnstest.ServFail}
		}
		return m
	}
	run(t, []route{
		{name: "one NXDOMAIN is skipped", zone: two + "b.test A 127.0.0.3", want: "b.test=127.0.0.3"},
		{name: "all NXDOMAIN", zone: two, want: "550 5.4.4"},
		{name: "one NXDOMAIN, one without address", zone: two + "a.test TXT x", want: "550 5.4.4"},
		{name: "one NXDOMAIN, one SERVFAIL", zone: two, fault: fail("b.test"), want: "451 4.4.3"},
		{name: "one SERVFAIL, one good", zone: two + "b.test A 127.0.0.3", fault: fail("a.test"), want: "b.test=127.0.0.3"},
		{name: "one SERVFAIL, one forbidden", zone: two + "b.test A 10.0.0.1", fault: fail("a.test"), want: "451 4.4.3"},
		{name: "the addresses of the domain do not stand in", zone: two + "d.test A 127.0.0.9", want: "550 5.4.4"},
		{name: "the domain is an alias", zone: "d.test CNAME e.test\ne.test MX 1 a.test\na.test A 127.0.0.3", want: "a.test=127.0.0.3"},
		{name: "the domain is an alias without MX", zone: "d.test CNAME e.test\ne.test A 127.0.0.3", want: "d.test=127.0.0.3"},
		{name: "the domain is a dangling alias", zone: "d.test CNAME e.test", want: "550 5.1.2"},
		{name: "the mail host is an alias", zone: "d.test MX 1 a.test\na.test CNAME b.test\nb.test A 127.0.0.3", want: "a.test=127.0.0.3"},
		{name: "the server leaves targets of aliases out", zone: "d.test CNAME e.test\ne.test MX 1 a.test\na.test A 127.0.0.3",
			fault: map[string]dnstest.Fault{"d.test": {BareCut: true}}, want: "a.test=127.0.0.3"},
		{name: "eight aliases", zone: aliases(8) + "n8.test A 127.0.0.3", domain: "n0.test", want: "n0.test=127.0.0.3"},
		{name: "nine aliases", zone: aliases(9) + "n9.test A 127.0.0.3", domain: "n0.test", want: "451 4.4.3"},
		{name: "a host listed twice counts at its best", zone: "d.test MX 30 a.test\nd.test MX 20 b.test\nd.test MX 10 a.test\nd.test MX 40 a.test\na.test A 127.0.0.3\nb.test A 127.0.0.4", want: "a.test=127.0.0.3 b.test=127.0.0.4"},
		{name: "an alias of the root", zone: "d.test CNAME .", want: "550 5.4.4"},
		{name: "an alias of the root, cut", zone: "d.test CNAME .", fault: map[string]dnstest.Fault{"": {BareCut: true}}, want: "550 5.4.4"},
		{name: "aliases in a loop", zone: "d.test CNAME e.test\ne.test CNAME d.test", want: "451 4.4.3"},
		{name: "aliases in a loop, one at a time", zone: "d.test CNAME e.test\ne.test CNAME d.test",
			fault: map[string]dnstest.Fault{"": {BareCut: true}}, want: "451 4.4.3"},
		{name: "one family is enough", zone: "d.test MX 1 a.test\na.test A 127.0.0.3", fault: fail("a.test AAAA"), want: "a.test=127.0.0.3"},
		{name: "one family has nothing, the other fails", zone: "d.test MX 1 a.test\na.test A 127.0.0.3", fault: fail("a.test A"), want: "451 4.4.3"},
		{name: "the same the other way round", zone: "d.test MX 1 a.test\na.test TXT x", fault: fail("a.test AAAA"), want: "451 4.4.3"},
		{name: "the same the other way round", zone: "d.test MX 1 a.test\na.test TXT x", fault: fail("a.test AAAA"), want: "451 4.4.3"},
		{name: "odd names are skipped", zone: "d.test MX 1 a\\ b.test\nd.test MX 1 a\\124b.test\nd.test MX 2 b.test\nb.test A 127.0.0.3", want: "b.test=127.0.0.3"},
		{name: "only odd names", zone: "d.test MX 1 a\\ b.test", want: "550 5.4.4"},
	})
}

// aliases makes n0.test lead to n<n>.test.
func aliases(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("n" + string(rune('0'+i)) + ".test CNAME n" + string(rune('1'+i)) + ".test\n")
	}
	return b.String()
}

func TestK3_aliasIsLoggedAndKeptForDANE(t *testing.T) {
	var log bytes.Buffer
	r, _ := start(t, "d.test MX 1 a.test\na.test CNAME b.test\nb.test A 127.0.0.3", func(c *dns.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	cs, err := r.Candidates(t.Context(), "d.test", dns.SelfInfo{})
	if err != nil || cs[0].Host != "a.test" || cs[0].Canonical != "b.test" {
		t.Fatalf("got %+v, %v", cs, err)
	}
	if !strings.Contains(log.String(), "host=a.test canonical=b.test") {
		t.Errorf("not logged: %q", log.String())
	}
}

func TestK4_addressesInPlaceOfNames(t *testing.T) {
	literals := func(c *dns.Config) { c.Literals = true }
	run(t, []route{
		{name: "MX target that looks like an address", zone: "d.test MX 1 127.0.0.2.", want: "550 5.4.4"},
		{name: "such a target beside a good one", zone: "d.test MX 1 127.0.0.2.\nd.test MX 2 b.test\nb.test A 127.0.0.3", want: "b.test=127.0.0.3"},
		{name: "a name made of digits may exist", zone: "d.test MX 1 127.0.0.2.\n127.0.0.2. A 127.0.0.9", want: "127.0.0.2=127.0.0.9"},
		{name: "domain that looks like an address", zone: "d.test TXT x", domain: "127.0.0.2", want: "550 5.1.2"},
		{name: "literal", zone: "d.test TXT x", domain: "[127.0.0.2]", want: "550 5.1.2"},
		{name: "literal, enabled", zone: "d.test TXT x", domain: "[127.0.0.2]", change: literals, want: "[127.0.0.2]=127.0.0.2"},
		{name: "IPv6 literal, enabled", zone: "d.test TXT x", domain: "[ipv6:2001:db8::1]", change: literals, want: "[ipv6:2001:db8::1]=2001:db8::1"},
		{name: "IPv6 without its tag", zone: "d.test TXT x", domain: "[2001:db8::1]", change: literals, want: "550 5.1.2"},
		{name: "half a literal", zone: "d.test TXT x", domain: "[127.0.0.2", change: literals, want: "550 5.1.2"},
		{name: "forbidden literal", zone: "d.test TXT x", domain: "[169.254.169.254]", change: literals, want: "550 5.4.4"},
		{name: "mapped literal", zone: "d.test TXT x", domain: "[ipv6:::ffff:127.0.0.1]", change: literals, want: "550 5.4.4"},
		{name: "literal of our own", zone: "d.test TXT x", domain: "[192.0.2.1]", change: literals,
			self: dns.SelfInfo{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, want: "550 5.4.6"},
	})
}

func TestK5_forbiddenAddresses(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	allow := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("127.0.0.5/32")}
	for _, tt := range []struct {
		ip              string
		strict, relaxed bool // may be dialled: with nothing allowed; with allow
	}{
		{"0.0.0.0", false, false}, {"0.1.2.3", false, false},
		{"127.0.0.1", false, false}, {"127.255.255.255", false, false}, {"127.0.0.5", false, true},
		{"10.0.0.1", false, true}, {"172.16.0.1", false, false}, {"172.31.255.255", false, false}, {"192.168.1.1", false, false},
		{"172.15.0.1", true, true}, {"172.32.0.1", true, true}, {"11.0.0.1", true, true},
		{"169.254.169.254", false, false}, {"100.64.0.1", false, false}, {"100.127.255.255", false, false}, {"100.128.0.1", true, true},
		{"192.0.0.170", false, false}, {"198.18.0.1", false, false},
		{"224.0.0.1", false, false}, {"239.255.255.255", false, false}, {"240.0.0.1", false, false}, {"255.255.255.255", false, false},
		{"::", false, false}, {"::1", false, false}, {"::127.0.0.1", false, false},
		{"::ffff:127.0.0.1", false, false}, {"::ffff:10.0.0.1", false, false}, {"::ffff:8.8.8.8", false, false},
		{"64:ff9b::127.0.0.1", false, false}, {"64:ff9b::8.8.8.8", true, true}, {"64:ff9b:1::1", false, false},
		{"2002:7f00:1::1", false, false}, {"2002:0808:0808::1", true, true},
		{"fe80::1", false, false}, {"fe80::1%eth0", false, false}, {"febf::1", false, false}, {"fec0::1", false, false},
		{"fc00::1", false, false}, {"fdff::1", false, false}, {"fe00::1", true, true},
		{"ff02::1", false, false}, {"100::1", false, false},
		{"192.0.2.1", true, true}, {"198.51.100.1", true, true}, {"203.0.113.1", true, true}, {"2001:db8::1", true, true},
		{"192.0.2.7", false, false}, {"2001:db8::7", false, false}, // ours, and a whole network allowed does not change that
		{"8.8.8.8", true, true}, {"2a00:1450::1", true, true},
	} {
		ip := netip.MustParseAddr(tt.ip)
		if got := !dns.Forbidden(ip, own); got != tt.strict {
			t.Errorf("%s: may be dialled: %v, want %v", tt.ip, got, tt.strict)
		}
		p := dns.Policy{Own: own, Allow: allow}
		if err := p.Check(ip); (err == nil) != tt.relaxed {
			t.Errorf("%s with an allow list: %v, want allowed %v", tt.ip, err, tt.relaxed)
		}
	}
	if (dns.Policy{}).Check(netip.Addr{}) == nil {
		t.Error("no address at all may be dialled")
	}
	listed := dns.Policy{Own: own, Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}}
	if err := listed.Check(own[0]); err != nil {
		t.Errorf("our own address, listed by itself: %v", err)
	}
}

// However an IPv4 address is dressed up as IPv6, a forbidden one stays forbidden.
func TestK5_noWayAround(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		four := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "four"))
		if !dns.Forbidden(netip.AddrFrom4(four), nil) {
			t.Skip()
		}
		var nat64, sixto4, mapped, compat [16]byte
		copy(nat64[:], []byte{0, 0x64, 0xff, 0x9b})
		copy(nat64[12:], four[:])
		copy(sixto4[:], []byte{0x20, 0x02})
		copy(sixto4[2:], four[:])
		copy(mapped[10:], []byte{0xff, 0xff})
		copy(mapped[12:], four[:])
		copy(compat[12:], four[:])
		for _, b := range [][16]byte{nat64, sixto4, mapped, compat} {
			if ip := netip.AddrFrom16(b); !dns.Forbidden(ip, nil) {
				t.Fatalf("%s gets around %v", ip, four)
			}
		}
	})
}

func TestK5_targets(t *testing.T) {
	self := dns.SelfInfo{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}
	nothing := func(c *dns.Config) { c.Allow = nil }
	run(t, []route{
		{name: "all forbidden", zone: "d.test MX 1 a.test\na.test A 10.0.0.1\na.test AAAA ::1", change: nothing, want: "550 5.4.4"},
		{name: "loopback is not allowed by itself", zone: "d.test A 127.0.0.1", change: nothing, want: "550 5.4.4"},
		{name: "one forbidden", zone: "d.test MX 1 a.test\na.test A 10.0.0.1\na.test A 192.0.2.2", want: "a.test=192.0.2.2"},
		{name: "mapped", zone: "d.test MX 1 a.test\na.test AAAA ::ffff:127.0.0.1", want: "550 5.4.4"},
		{name: "the second host is fine", zone: "d.test MX 1 localhost\nlocalhost A 127.0.0.1\nd.test MX 2 b.test\nb.test A 192.0.2.2", change: nothing, want: "b.test=192.0.2.2"},
		{name: "our own", zone: "d.test A 192.0.2.7", self: self, want: "550 5.4.6"},
	})
}

func TestK5_theDialledAddressIsChecked(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		allow []netip.Prefix
		ok    bool
	}{{nil, false}, {local, true}} {
		r := dns.New(dns.Config{Servers: []string{"127.0.0.1:9"}, Allow: tt.allow})
		d := net.Dialer{Control: r.Policy(dns.SelfInfo{}).Control}
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if (err == nil) != tt.ok {
			t.Errorf("allow %v: %v", tt.allow, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
	if (dns.Policy{}).Control("unix", "/run/x", nil) == nil {
		t.Error("what is no address may be dialled")
	}
}

func TestH3_K6_weAreAMailHost(t *testing.T) {
	zone := `
		d.test MX 10 a.test
		d.test MX 20 b.test
		d.test MX 20 us.test
		d.test MX 30 c.test
		a.test  A 192.0.2.1
		b.test  A 192.0.2.2
		us.test A 192.0.2.7
		c.test  A 192.0.2.3
	`
	name := dns.SelfInfo{Names: []string{"US.test."}}
	addr := dns.SelfInfo{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}
	fail := map[string]dnstest.Fault{"a.test": {Rcode: dnstest.ServFail}}
	run(t, []route{
		{name: "by name", zone: zone, self: name, want: "a.test=192.0.2.1"},
		{name: "by address", zone: zone, self: addr, want: "a.test=192.0.2.1"},
		{name: "somebody else", zone: zone, want: "a.test=192.0.2.1 b.test=192.0.2.2 us.test=192.0.2.7 c.test=192.0.2.3"},
		{name: "the better one has no address", zone: strings.Replace(zone, "a.test  A", "x.test A", 1), self: addr, want: "550 5.4.6"},
		{name: "the better one cannot be looked up", zone: zone, fault: fail, self: addr, want: "451 4.4.3"},
		{name: "the better one cannot be looked up, by name", zone: zone, fault: fail, self: name, want: "451 4.4.3"},
		{name: "we are the best", zone: "d.test MX 10 us.test\nd.test MX 20 c.test\nus.test A 192.0.2.7\nc.test A 192.0.2.3", self: name, want: "550 5.4.6"},
		{name: "we are the best, by address", zone: "d.test MX 10 us.test\nd.test MX 20 c.test\nus.test A 192.0.2.7\nc.test A 192.0.2.3", self: addr, want: "550 5.4.6"},
		{name: "we are the implicit MX", zone: "us.test A 192.0.2.7", domain: "us.test", self: addr, want: "550 5.4.6"},
		{name: "an allowed network does not allow a loop", zone: zone, self: addr, want: "a.test=192.0.2.1",
			change: func(c *dns.Config) { c.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }},
	})
}

// An equal host that comes first and fills the attempt must not hide that we are equal too.
func TestK6_equalToUsBehindAFullAttempt(t *testing.T) {
	run(t, []route{{
		name: "full", want: "550 5.4.6",
		zone: "d.test MX 10 a.test\nd.test MX 10 us.test\na.test A 192.0.2.1\na.test A 192.0.2.2\nus.test A 192.0.2.7",
		self: dns.SelfInfo{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}, change: func(c *dns.Config) { c.MaxAddrs = 2 },
	}})
}

func TestK6_addressesOfOneAttempt(t *testing.T) {
	zone := `
		d.test MX 10 a.test
		d.test MX 20 b.test
		a.test A 192.0.2.1
		a.test A 192.0.2.2
		a.test A 192.0.2.3
		a.test AAAA 2001:db8::1
		b.test A 192.0.2.4
		b.test AAAA 2001:db8::4
	`
	set := func(f dns.Family, most int) func(*dns.Config) {
		return func(c *dns.Config) { c.Family, c.MaxAddrs = f, most }
	}
	run(t, []route{
		{name: "five by default", zone: zone, want: "a.test=192.0.2.1,2001:db8::1,192.0.2.2,192.0.2.3 b.test=192.0.2.4"},
		{name: "IPv6 first", zone: zone, change: set(dns.PreferIPv6, 2), want: "a.test=2001:db8::1,192.0.2.1"},
		{name: "IPv4 only", zone: zone, change: set(dns.IPv4Only, 0), want: "a.test=192.0.2.1,192.0.2.2,192.0.2.3 b.test=192.0.2.4"},
		{name: "IPv6 only", zone: zone, change: set(dns.IPv6Only, 0), want: "a.test=2001:db8::1 b.test=2001:db8::4"},
		{name: "no limit", zone: zone, change: set(dns.PreferIPv4, -1), want: "a.test=192.0.2.1,2001:db8::1,192.0.2.2,192.0.2.3 b.test=192.0.2.4,2001:db8::4"},
	})
}

// Whatever the chance, preferences are kept; and equal hosts do not always come in one order.
func TestK6_equalPreferencesAreShuffled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := dnstest.New(t, "d.test MX 20 d1.test\nd.test MX 10 c1.test\nd.test MX 10 c2.test\nd.test MX 10 c3.test\nd.test MX 5 b1.test")
		chance := rand.New(rand.NewPCG(1, 2))
		r := dns.New(dns.Config{Servers: []string{srv.Addr()}, Dial: srv.Dial, Shuffle: chance.Shuffle})
		orders := map[string]int{}
		for range 600 {
			hosts, err := r.MailHosts(t.Context(), "d.test")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for i, h := range hosts {
				if i > 0 && hosts[i-1].Preference > h.Preference {
					t.Fatalf("out of order: %+v", hosts)
				}
				names = append(names, h.Host)
			}
			orders[strings.Join(names, " ")]++
		}
		if len(orders) != 6 {
			t.Errorf("%d orders of three equal hosts, want 6: %v", len(orders), orders)
		}
		for o, n := range orders {
			if n < 50 { // 100 are expected; the chance is fixed, so this never flickers
				t.Errorf("%s only %d times", o, n)
			}
		}
		if n := srv.Count("", ""); n != 1 {
			t.Errorf("%d questions, want 1", n)
		}
	})
}

func TestAddresses(t *testing.T) {
	r, _ := start(t, "relay.test A 127.0.0.2\nrelay.test A 10.0.0.1\nnone.test TXT x")
	ips, err := r.Addresses(t.Context(), "Relay.test.", dns.SelfInfo{})
	if err != nil || len(ips) != 1 || ips[0].String() != "127.0.0.2" {
		t.Fatalf("got %v, %v", ips, err)
	}
	_, err = r.Addresses(t.Context(), "none.test", dns.SelfInfo{})
	want(t, err, "550 5.4.4")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Addresses(ctx, "other.test", dns.SelfInfo{})
	want(t, err, "451 4.4.3")
}
