package deliverer

import (
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp"
)

// Route sends the mail of the domains its pattern names to one host instead of
// their MX. The operator named the host, so it may be on loopback or in a private
// network, where an MX record may not lead. By its name a reply or a plugin may have
// a single delivery sent that way.
type Route struct {
	Name  string         // empty: replies and plugins do not use it
	To    string         // "example.net", "*.example.net", "*"; empty: only those use it
	Via   string         // "host:port", or with LMTP (RFC 2033) "lmtp:host:port" and "lmtp:unix:/path"
	TLS   string         // opportunistic, required, implicit or off; empty: as usual, with Login required
	Roots *x509.CertPool // of its certificate where TLS must prove it; nil: the system's
	Login *smtp.Login    // nil: it takes our mail as we are
}

// Routes is a set of routes; the most specific one wins. Safe for concurrent use.
// The nil Routes is empty.
type Routes struct {
	by    shaping.Patterns[*route]
	named map[string]*route
}

type route struct{ target target }

// NewRoutes checks the routes. The error names the route and the mend.
func NewRoutes(routes []Route) (*Routes, error) {
	rs := &Routes{named: map[string]*route{}}
	for i, r := range routes {
		t, err := parseVia(r.Via)
		if err == nil {
			t.manner, err = r.manner()
		}
		if err == nil && (r.To != "" || r.Name == "") {
			err = rs.by.Add(r.To, &route{target: t})
		}
		if _, twice := rs.named[r.Name]; err == nil && r.Name != "" {
			if rs.named[r.Name] = (&route{target: t}); twice {
				err = fmt.Errorf("there are two routes %q", r.Name)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("route %d (to %q): %w", i+1, r.To, err)
		}
	}
	return rs, nil
}

// For returns the route of a domain.
func (rs *Routes) For(d mail.Domain) (*route, bool) {
	if rs == nil {
		return nil, false
	}
	return rs.by.For(d)
}

// known is name, or empty where no route is called that any more: the mail goes the
// usual way then.
func (rs *Routes) known(name string) string {
	if rs == nil || rs.named[name] == nil {
		return ""
	}
	return name
}

// manner is how its host is talked to; nil: the usual way.
func (r *Route) manner() (*manner, error) {
	policy, err := tlsPolicy(r.TLS, r.Login)
	if err != nil || policy == nil && r.Roots == nil && r.Login == nil {
		return nil, err
	}
	return &manner{tls: policy, roots: r.Roots, login: r.Login}, nil
}

func parseVia(via string) (target, error) {
	addr, lmtp := strings.CutPrefix(via, "lmtp:")
	if path, unix := strings.CutPrefix(addr, "unix:"); unix && lmtp && strings.HasPrefix(path, "/") {
		return target{addr: path, label: path, lmtp: true, unix: true}, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		var n int
		if n, err = strconv.Atoi(port); err == nil && (n < 1 || n > 65535) {
			err = fmt.Errorf("port %d", n)
		}
	}
	if err != nil || host == "" {
		return target{}, fmt.Errorf("via %q is no next hop; write host:port, lmtp:host:port or lmtp:unix:/path, such as 127.0.0.1:2600", via)
	}
	return target{name: host, addr: addr, label: addr, lmtp: lmtp}, nil
}
