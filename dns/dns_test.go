package dns_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/dns/dnstest"
	"github.com/tarishi/tarishi/mail"
)

// local allows the loopback network, where the mail hosts of these tests live.
var local = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// start makes a resolver that asks a server with this zone, over real sockets.
func start(t *testing.T, zone string, change ...func(*dns.Config)) (*dns.Resolver, *dnstest.Server) {
	t.Helper()
	srv := dnstest.Start(t, zone)
	cfg := dns.Config{Servers: []string{srv.Addr()}, Allow: local, Timeout: 2 * time.Second, Shuffle: unshuffled}
	for _, f := range change {
		f(&cfg)
	}
	return dns.New(cfg), srv
}

func mustIP(s string) netip.Addr { return netip.MustParseAddr(s) }

// unshuffled leaves things in order, so that tests can name it.
func unshuffled(int, func(i, j int)) {}

// want checks that an error is a Failure with this reply: "550 5.1.2".
func want(t *testing.T, err error, reply string) {
	t.Helper()
	var f *dns.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a Failure %s", err, reply)
	}
	if got := f.Reply.String(); !strings.HasPrefix(got, reply+" ") {
		t.Fatalf("got %q, want %s", got, reply)
	}
	if f.Temporary() != (reply[0] == '4') {
		t.Fatalf("%s: Temporary() = %v", reply, f.Temporary())
	}
}

// show writes candidates as "host=addr,addr host=addr".
func show(cs []dns.Candidate) string {
	var out []string
	for _, c := range cs {
		var addrs []string
		for _, a := range c.Addrs {
			addrs = append(addrs, a.String())
		}
		out = append(out, c.Host+"="+strings.Join(addrs, ","))
	}
	return strings.Join(out, " ")
}

// route is one line of a table: what comes out for a domain in a zone.
type route struct {
	name   string
	zone   string
	fault  map[string]dnstest.Fault
	domain mail.Domain
	self   dns.SelfInfo
	change func(*dns.Config)
	want   string // candidates as show writes them, or a reply
}

func run(t *testing.T, tests []route) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changes := []func(*dns.Config){}
			if tt.change != nil {
				changes = append(changes, tt.change)
			}
			r, srv := start(t, tt.zone, changes...)
			for name, f := range tt.fault {
				srv.Fault(name, f)
			}
			d := tt.domain
			if d == "" {
				d = "d.test"
			}
			cs, err := r.Candidates(t.Context(), d, tt.self)
			if tt.want[0] == '4' || tt.want[0] == '5' {
				want(t, err, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := show(cs); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestK1_nullMX(t *testing.T) {
	run(t, []route{
		{name: "alone", zone: "d.test MX 0 .\nd.test A 127.0.0.2", want: "556 5.1.10"},
		{name: "alone with another preference", zone: "d.test MX 10 .", want: "556 5.1.10"},
		{name: "with another MX it is ignored", zone: "d.test MX 0 .\nd.test MX 10 mx.test\nmx.test A 127.0.0.2", want: "mx.test=127.0.0.2"},
		{name: "through an alias", zone: "d.test CNAME e.test\ne.test MX 0 .", want: "556 5.1.10"},
	})
}

func TestK2_noDomainNoAnswerNoMX(t *testing.T) {
	with := "d.test A 127.0.0.2\nmx.test A 127.0.0.3\nd.test MX 1 mx.test"
	run(t, []route{
		{name: "NXDOMAIN", zone: "e.test A 127.0.0.1", want: "550 5.1.2"},
		{name: "SERVFAIL", zone: with, fault: map[string]dnstest.Fault{"d.test": {Rcode: dnstest.ServFail}}, want: "451 4.4.3"},
		{name: "REFUSED", zone: with, fault: map[string]dnstest.Fault{"d.test": {Rcode: dnstest.Refused}}, want: "451 4.4.3"},
		{name: "silence", zone: with, fault: map[string]dnstest.Fault{"d.test": {Drop: true}}, want: "451 4.4.3",
			change: func(c *dns.Config) { c.Timeout = 50 * time.Millisecond }},
		{name: "malformed", zone: with, fault: map[string]dnstest.Fault{"d.test": {Raw: []byte{1, 2}}}, want: "451 4.4.3"},
		{name: "a referral is no NODATA", zone: "d.test A 127.0.0.2", fault: map[string]dnstest.Fault{"d.test": {NoRA: true}}, want: "451 4.4.3"},
		{name: "MX servfails once, A would work", zone: with, fault: map[string]dnstest.Fault{"d.test": {Rcode: dnstest.ServFail, Times: 1}}, want: "451 4.4.3"},
		{name: "implicit MX", zone: "d.test A 127.0.0.2", want: "d.test=127.0.0.2"},
		{name: "implicit MX, AAAA only", zone: "d.test AAAA 2001:db8::1", want: "d.test=2001:db8::1"},
		{name: "implicit MX, negative answer without SOA", zone: "d.test A 127.0.0.2", fault: map[string]dnstest.Fault{"d.test": {NoSOA: true}}, want: "d.test=127.0.0.2"},
		{name: "neither MX nor address", zone: "d.test TXT hello", want: "550 5.4.4"},
		{name: "no domain name at all", zone: "d.test TXT hello", domain: "d..test", want: "550 5.1.2"},
		{name: "octets that no host has", zone: "d|e.test A 127.0.0.2", domain: "d|e.test", want: "550 5.1.2"},
	})
}

func TestLookupAddrs_order(t *testing.T) {
	r, _ := start(t, "mx.test A 127.0.0.2\nmx.test AAAA 2001:db8::1")
	a, err := r.LookupAddrs(t.Context(), "MX.test.")
	if err != nil || !slices.Equal(a.V4, []netip.Addr{netip.MustParseAddr("127.0.0.2")}) || len(a.V6) != 1 || a.Canonical != "mx.test" {
		t.Fatalf("got %+v, %v", a, err)
	}
}
