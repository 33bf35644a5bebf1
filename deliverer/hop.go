package deliverer

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

// target is one address to dial.
type target struct {
	name   string  // of the host: SNI
	addr   string  // host:port, or the path of a Unix socket
	label  string  // "mx.example.net[192.0.2.1]:25", for logs, DSNs and the queue listing
	lmtp   bool    // RFC 2033
	unix   bool    // addr is a path
	manner *manner // nil: the usual one
}

func (t *target) network() string {
	if t.unix {
		return "unix"
	}
	return "tcp"
}

// manner is how a host is talked to where a route or a plugin says so.
type manner struct {
	source netip.Addr // we send from; not valid: Config.Source
	hello  string     // our name; empty: Config.Hostname
	tls    *smtp.TLSPolicy
	roots  *x509.CertPool // of the host's certificate; nil: the system's
	login  *smtp.Login    // nil: we prove nothing
}

// apply changes o to the manner.
func (m *manner) apply(o *smtp.ClientOptions) {
	if m == nil {
		return
	}
	if m.hello != "" {
		o.Hello = m.hello
	}
	if m.tls != nil {
		o.TLS = *m.tls
	}
	if m.roots != nil && (o.TLS == smtp.TLSRequired || o.TLS == smtp.TLSImplicit) {
		o.TLSConfig = &tls.Config{RootCAs: m.roots}
	}
	o.Login = m.login
}

// sourceOf is the address to send from, not valid: the kernel's choice.
func (d *Deliverer) sourceOf(m *manner) netip.Addr {
	if m != nil && m.source.IsValid() {
		return m.source
	}
	return d.c.Source
}

// tlsPolicy reads a choice of TLS, nil: the usual one. Where we prove who we are, and
// nobody has allowed it to be done otherwise, that is with a host that proves itself.
func tlsPolicy(choice string, l *smtp.Login) (*smtp.TLSPolicy, error) {
	p := smtp.TLSRequired
	switch choice {
	case "":
		if l == nil || l.Insecure {
			return nil, nil
		}
	case "required":
	case "opportunistic":
		p = smtp.TLSOpportunistic
	case "implicit":
		p = smtp.TLSImplicit
	case "off":
		p = smtp.TLSNever
	default:
		return nil, fmt.Errorf("tls %q; write %s", choice, strings.Join(plugin.TLSChoices, ", "))
	}
	if l != nil && !l.Insecure && (p == smtp.TLSOpportunistic || p == smtp.TLSNever) {
		return nil, fmt.Errorf("tls %s would send the password where others can read it; write required or implicit, or allow it", choice)
	}
	return &p, nil
}

// hopManner is how a plugin has a host talked to; nil: the usual way.
func hopManner(h *plugin.NextHop) (*manner, error) {
	m := &manner{source: h.Bind, hello: h.Hello}
	if h.User != "" {
		m.login = smtp.LoginWith(h.User, h.Password)
		m.login.Mechanism, m.login.Insecure = h.Mechanism, h.Insecure
	}
	var err error
	if m.tls, err = tlsPolicy(h.TLS, m.login); err != nil {
		return nil, err
	}
	if *m == (manner{}) {
		return nil, nil
	}
	return m, nil
}

// hopTarget is the host that a plugin names.
func (d *Deliverer) hopTarget(h *plugin.NextHop) (target, error) {
	if h.Route != "" {
		r := d.c.Routes.known(h.Route)
		if r == "" {
			return target{}, fmt.Errorf("there is no route %q", h.Route)
		}
		return d.c.Routes.named[r].target, nil
	}
	m, err := hopManner(h)
	if err != nil {
		return target{}, err
	}
	if h.Path != "" {
		return target{addr: h.Path, label: h.Path, lmtp: h.LMTP, unix: true, manner: m}, nil
	}
	addr := net.JoinHostPort(h.Host, d.hopPort(h))
	return target{name: h.Host, addr: addr, label: addr, lmtp: h.LMTP, manner: m}, nil
}

// hopPort is the port of a host that a plugin names.
func (d *Deliverer) hopPort(h *plugin.NextHop) string {
	switch {
	case h.Port != 0:
		return strconv.Itoa(h.Port)
	case h.TLS == "implicit":
		return "465"
	case h.LMTP:
		return "24"
	}
	return d.c.Port
}
