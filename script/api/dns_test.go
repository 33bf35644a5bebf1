package api

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/mail"
)

// zone is a Resolver of a few names.
type zone struct{}

func (z zone) Query(ctx context.Context, name string, t dns.Type) (dns.Answer, error) {
	a := dns.Answer{Name: name, Type: t, Status: dns.Found, Expires: time.Now().Add(time.Hour)}
	switch name + " " + t.String() {
	case "example.com A":
		a.Addrs = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	case "example.com AAAA":
		a.Addrs = []netip.Addr{netip.MustParseAddr("2001:db8::1")}
	case "example.com MX":
		a.MX = []dns.MX{{Host: "mx.example.com", Preference: 10}}
	case "null.example MX":
		a.MX = []dns.MX{{Host: "."}}
	case "example.com TXT":
		a.Texts = []string{"v=spf1 -all", "other"}
	case "example.com NS", "www.example.com CNAME", "1.2.0.192.in-addr.arpa PTR":
		a.Names = []string{"name.example.com"}
	case "example.com CNAME":
		a.Status = dns.NoData
	case "broken.example A":
		return a, &dns.QueryError{Name: name, Type: t, Err: errors.New("SERVFAIL")}
	case "silent.example A":
		<-ctx.Done()
		return a, &dns.QueryError{Name: name, Type: t, Err: ctx.Err()}
	default:
		a.Status = dns.NXDomain
	}
	return a, nil
}

func (z zone) LookupPTR(ctx context.Context, ip netip.Addr) (dns.Answer, error) {
	if ip.String() == "192.0.2.1" {
		return z.Query(ctx, "1.2.0.192.in-addr.arpa", dns.TypePTR)
	}
	return dns.Answer{Status: dns.NXDomain, Type: dns.TypePTR}, nil
}

func (z zone) LookupAddrs(ctx context.Context, host string) (dns.Addrs, error) {
	a4, err := z.Query(ctx, host, dns.TypeA)
	if err != nil {
		return dns.Addrs{}, err
	}
	a6, _ := z.Query(ctx, host, dns.TypeAAAA)
	return dns.Addrs{V4: a4.Addrs, V6: a6.Addrs, Status: a4.Status}, nil
}

func (z zone) LookupMX(ctx context.Context, d mail.Domain) (dns.Answer, error) {
	return z.Query(ctx, string(d), dns.TypeMX)
}

func withZone(o *Options) { o.Resolver = zone{} }

func TestDNS(t *testing.T) {
	w := newWorld(t, nil, withZone).withRequire()
	w.eval(`const dns = require('dns'), p = dns.promises;
		const cb = (f, ...args) => new Promise((r) => f(...args, (err, ...v) => r(err ? 'fault ' + err.code + ' ' + err.message : JSON.stringify(v))))`)
	w.table([][2]string{
		{`cb(dns.resolve4, 'example.com')`, `[["192.0.2.1"]]`},
		{`cb(dns.resolve6, 'example.com')`, `[["2001:db8::1"]]`},
		{`cb(dns.resolveMx, 'example.com')`, `[[{"exchange":"mx.example.com","priority":10}]]`},
		{`cb(dns.resolveMx, 'null.example')`, `[[{"exchange":"","priority":0}]]`},
		{`cb(dns.resolveTxt, 'example.com')`, `[[["v=spf1 -all"],["other"]]]`},
		{`cb(dns.resolveNs, 'example.com')`, `[["name.example.com"]]`},
		{`cb(dns.resolve, 'example.com')`, `[["192.0.2.1"]]`},
		{`cb(dns.resolve, 'example.com', 'MX')`, `[[{"exchange":"mx.example.com","priority":10}]]`},
		{`cb(dns.reverse, '192.0.2.1')`, `[["name.example.com"]]`},
		{`cb(dns.reverse, '192.0.2.2')`, "fault ENOTFOUND getHostByAddr ENOTFOUND 192.0.2.2"},
		{`cb(dns.resolveMx, 'none.example')`, "fault ENOTFOUND queryMx ENOTFOUND none.example"},
		{`cb(dns.resolveCname, 'example.com')`, "fault ENODATA queryCname ENODATA example.com"},
		{`cb(dns.resolve4, 'broken.example')`, "fault ESERVFAIL queryA ESERVFAIL broken.example"},
		{`cb(dns.lookup, 'example.com')`, `["192.0.2.1",4]`},
		{`cb(dns.lookup, 'example.com', 6)`, `["2001:db8::1",6]`},
		{`cb(dns.lookup, 'example.com', { all: true })`, `[[{"address":"192.0.2.1","family":4},{"address":"2001:db8::1","family":6}]]`},
		{`cb(dns.lookup, '::1')`, `["::1",6]`},
		{`cb(dns.lookup, 'localhost')`, `["127.0.0.1",4]`},
		{`cb(dns.lookup, 'none.example')`, "fault ENOTFOUND getaddrinfo ENOTFOUND none.example"},
		{`cb(dns.lookup, 'broken.example')`, "fault EAI_AGAIN getaddrinfo EAI_AGAIN broken.example"},
		{`p.resolve4('example.com').then(String)`, "192.0.2.1"},
		{`p.resolve4('example.com', { ttl: true }).then((a) => a[0].address + (a[0].ttl > 3000))`, "192.0.2.1true"},
		{`p.resolveMx('none.example').catch((e) => e.code + dns.NOTFOUND)`, "ENOTFOUNDENOTFOUND"},
		{`p.lookup('example.com').then(JSON.stringify)`, `{"address":"192.0.2.1","family":4}`},
		{`new dns.promises.Resolver({ timeout: 1 }).resolve4('silent.example').catch((e) => e.code)`, "ETIMEOUT"},
		{script(`const r = new dns.Resolver(); const f = cb(r.resolve4, 'silent.example'); r.cancel(); return f`), "fault ECANCELLED queryA ECANCELLED silent.example"},
		{`require('node:dns/promises') === p`, "true"},
		{`dns.resolve('example.com', 'SOA', () => {})`, "error: TypeError: dns: scripts cannot ask for records of type SOA; they have A, AAAA, CNAME, MX, NS, PTR, TXT (docs/scripts.md)"},
		{`dns.resolveSrv`, "error: Error: dns.resolveSrv: scripts do not have it (docs/scripts.md)"},
		{`dns.resolve4(7, () => {})`, `error: TypeError: The "name" argument must be of type string. Received number`},
		{`dns.resolve4('x')`, `error: TypeError: The "callback" argument must be of type function`},
		{`dns.reverse('x', () => {})`, "error: Error: getHostByAddr EINVAL x"},
	})
	if got := newWorld(t, nil).withRequire().eval(`require('dns').promises.resolve4('example.com').catch((e) => e.code)`); got != "ESERVFAIL" {
		t.Error(got)
	}
}

// Questions under way are bounded.
func TestQuestionsAreBounded(t *testing.T) {
	w := newWorld(t, nil, withZone).withRequire()
	got := w.eval(script(`const { resolve4 } = require('dns').promises;
		const all = Array.from({ length: 1001 }, () => resolve4('silent.example'));
		all.forEach((p) => p.catch(() => {}));
		return all[1000].catch((e) => e.code)`))
	if got != "EAGAIN" {
		t.Error(got)
	}
}
