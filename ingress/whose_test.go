package ingress

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

func classOf(c mail.Class) *mail.Class { return &c }

func TestWhoseMailItIs(t *testing.T) {
	h := New(Policy{
		Hostname:  "mx.test",
		RelayFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Clients: []Client{
			{From: netip.MustParsePrefix("10.0.0.0/8"), Tenant: "house", Class: classOf(mail.High)},
			{From: netip.MustParsePrefix("10.1.0.0/16"), Tenant: "acme"},
			{From: netip.MustParsePrefix("10.1.2.3/32"), Class: classOf(mail.Bulk)},
			{From: netip.MustParsePrefix("198.51.100.0/24"), Tenant: "nobody believes it", Class: classOf(mail.High)},
		},
		TenantClass: map[string]mail.Class{"acme": mail.Bulk, "news": mail.Bulk, "house": mail.Normal},
	}, (&memory{}).store())
	for _, x := range []struct {
		what, ip string
		header   word
		tenant   string
		class    mail.Class
	}{
		{"the client's network", "10.9.9.9", word{}, "house", mail.High},
		{"the smaller network, the tenant's class", "10.1.9.9", word{}, "acme", mail.Bulk},
		{"the smallest alone, with what it leaves open left open", "10.1.2.3", word{}, "", mail.Bulk},
		{"the message names the tenant, the client the class", "10.9.9.9", word{tenant: "news"}, "news", mail.High},
		{"the message names the tenant, and that has a class", "10.1.9.9", word{tenant: "news"}, "news", mail.Bulk},
		{"a tenant nobody knows", "10.1.9.9", word{tenant: "new"}, "new", mail.Normal},
		{"the message names the class", "10.1.9.9", word{class: classOf(mail.High)}, "acme", mail.High},
		{"also normal is a word", "10.9.9.9", word{class: classOf(mail.Normal)}, "house", mail.Normal},
		{"both", "10.9.9.9", word{"news", classOf(mail.High)}, "news", mail.High},
		{"a stranger, whatever an entry says", "198.51.100.1", word{"news", classOf(mail.High)}, "", mail.Normal},
	} {
		ip := netip.MustParseAddr(x.ip)
		s := &session{h: h, ip: ip, trusted: h.relay.trusts(ip), client: h.p.clientWord(ip)}
		if tenant, class := s.whose(x.header); tenant != x.tenant || class != x.class {
			t.Errorf("%s: %q, %v; want %q, %v", x.what, tenant, class, x.tenant, x.class)
		}
	}
}

// What the client's network says reaches the record.
func TestWhoseMailOnTheWire(t *testing.T) {
	q, p := &memory{}, defaults()
	p.RelayFrom = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	p.Clients = []Client{{From: netip.MustParsePrefix("192.0.2.0/24"), Tenant: "acme", Class: classOf(mail.High)}}
	p.Headers.Class = "X-Tarishi-Class"
	const message = `
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<u@elsewhere.test>
		S: 250
		C: DATA
		S: 354
		C: %s
		C:
		C: .
		S: %s`
	visit := "\t\tC: EHLO x\n\t\tS: 250" + fmt.Sprintf(message, "Subject: x", "250") +
		fmt.Sprintf(message, "x-tarishi-class: Bulk", "250") + fmt.Sprintf(message, "X-Tarishi-Class: urgent", "554 5.6.0 Header field X-Tarishi-Class")
	dialogue{queue: q, policy: p, client: "192.0.2.7"}.run(t, visit)
	for i, class := range []mail.Class{mail.High, mail.Bulk} {
		m := q.messages()[i]
		if l := m.deliveries[0].Line(); l != (mail.Line{Destination: "elsewhere.test", Tenant: "acme", Class: class}) {
			t.Errorf("%+v", l)
		}
		if strings.Contains(strings.ToLower(m.text), "x-tarishi-class") {
			t.Errorf("the field is still there:\n%s", m.text)
		}
	}
}
