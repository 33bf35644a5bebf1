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
		err    error
	}{
		{"", "", nil},
		{"X-Tenant: acme\r\n", "acme", nil},
		{"X-Tenant:acme\r\n", "acme", nil},
		{"x-TENANT \t:  Acme-1._@+x \t\r\n", "Acme-1._@+x", nil},
		{"X-Tenant:\r\n acme\r\n", "acme", nil},
		{"X-Tenant:\r\n\tacme\n \r\n", "acme", nil},
		{"X-Tenant: acme", "acme", nil},
		{"X-Tenant:\r\n", "", nil},
		{"X-Tenant: \r\nX-Tenant: acme\r\n", "acme", nil},
		{"X-Tenant: acme\r\nX-Tenant: acme\r\n", "acme", nil},
		{"X-Tenant: acme\r\nX-Tenant: globex\r\n", "", twoTenants},
		{"X-Tenant: acme\r\nX-Tenant: Acme\r\n", "", twoTenants},
		{"X-Tenant: acme globex\r\n", "", badTenant},
		{"X-Tenant: acme\r\n globex\r\n", "", badTenant},
		{"X-Tenant: a:b\r\n", "", badTenant},
		{"X-Tenant: \"acme\"\r\n", "", badTenant},
		{"X-Tenant: \xc3\xbc\r\n", "", badTenant},
		{"X-Tenant: a\x00b\r\n", "", badTenant},
		{"X-Tenant: " + strings.Repeat("x", 64) + "\r\n", strings.Repeat("x", 64), nil},
		{"X-Tenant: " + strings.Repeat("x", 65) + "\r\n", "", badTenant},
	} {
		got, err := tenantOf([]byte(x.fields))
		if got != x.want || err != x.err {
			t.Errorf("%q: %q, %v; want %q, %v", x.fields, got, err, x.want, x.err)
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
