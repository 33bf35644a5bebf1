package ingress

import (
	"net/netip"
	"strings"
	"testing"
)

func TestTenantOf(t *testing.T) {
	for _, x := range []struct {
		fields string
		want   string
		err    string // part of it; "-" for that of a bad name
	}{
		{"", "", ""},
		{"X-Tenant: acme\r\n", "acme", ""},
		{"X-Tenant:acme\r\n", "acme", ""},
		{"x-TENANT \t:  Acme-1._@+x \t\r\n", "Acme-1._@+x", ""},
		{"X-Tenant:\r\n acme\r\n", "acme", ""},
		{"X-Tenant:\r\n\tacme\n \r\n", "acme", ""},
		{"X-Tenant: acme", "acme", ""},
		{"X-Tenant:\r\n", "", ""},
		{"X-Tenant: \r\nX-Tenant: acme\r\n", "acme", ""},
		{"X-Tenant: acme\r\nX-Tenant: acme\r\n", "acme", ""},
		{"X-Tenant: acme\r\nX-Tenant: globex\r\n", "", "X-Tenant says two things"},
		{"X-Tenant: acme\r\nX-Tenant: Acme\r\n", "", "X-Tenant says two things"},
		{"X-Tenant: acme globex\r\n", "", "-"},
		{"X-Tenant: acme\r\n globex\r\n", "", "-"},
		{"X-Tenant: a:b\r\n", "", "-"},
		{"X-Tenant: \"acme\"\r\n", "", "-"},
		{"X-Tenant: \xc3\xbc\r\n", "", "-"},
		{"X-Tenant: a\x00b\r\n", "", "-"},
		{"X-Tenant: " + strings.Repeat("x", 64) + "\r\n", strings.Repeat("x", 64), ""},
		{"X-Tenant: " + strings.Repeat("x", 65) + "\r\n", "", "-"},
	} {
		h := New(Policy{TenantHeader: "X-Tenant"}, Store{})
		f := headerFilter{trusted: true, kept: [][]byte{[]byte(x.fields), nil}}
		got, err := h.ordersOf(&f)
		ok := err == nil
		if x.err != "" {
			ok = err != nil && strings.Contains(err.Error(), strings.Trim(x.err, "-")) && (x.err != "-" || err == badTenant)
		}
		if !ok || err == nil && got.tenant != x.want {
			t.Errorf("%q: %q, %v; want %q, %q", x.fields, got.tenant, err, x.want, x.err)
		}
	}
}

// The field is taken out of everybody's mail and believed of those who may relay.
func TestTenantOnTheWire(t *testing.T) {
	const visit = `
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: Subject: x
		C: x-tenant: acme
		C: To: u
		C:
		C: X-Tenant: stays
		C: .
		S: `
	for _, x := range []struct {
		name, header, from, want string
		dropped                  bool
	}{
		{"trusted", "X-Tenant", "0.0.0.0/0", "acme", true},
		{"a stranger", "X-Tenant", "198.51.100.0/24", "", true},
		{"not configured", "", "0.0.0.0/0", "", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			q, p := &memory{}, defaults()
			p.TenantHeader, p.RelayFrom = x.header, []netip.Prefix{netip.MustParsePrefix(x.from)}
			dialogue{queue: q, policy: p}.run(t, visit+"250")
			m := q.messages()[0]
			if m.message.Tenant != x.want || strings.Contains(m.text, "x-tenant: acme") == x.dropped || !strings.Contains(m.text, "\r\n\r\nX-Tenant: stays") {
				t.Errorf("tenant %q of\n%s", m.message.Tenant, m.text)
			}
		})
	}
	for name, c := range map[string]string{
		"no name of a tenant": strings.Replace(visit, "acme", "acme & sons", 1),
		"endless":             strings.Replace(visit, "C: x-tenant: acme", strings.Repeat("C: x-tenant: acme\n", 300), 1),
	} {
		t.Run(name, func(t *testing.T) {
			q, p := &memory{}, defaults()
			p.TenantHeader, p.RelayFrom = "X-Tenant", []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
			h := dialogue{queue: q, policy: p}.run(t, c+"554 5.6.0")
			if len(q.messages()) != 0 || h.Stats().BadHeader != 1 {
				t.Errorf("stored %d, %+v", len(q.messages()), h.Stats())
			}
		})
	}
}
