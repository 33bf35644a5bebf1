package ingress

import (
	"net/netip"

	"github.com/tarishi/tarishi/mail"
)

// Client says whose mail the clients of a network bring, and in which class.
type Client struct {
	From   netip.Prefix // within Policy.RelayFrom
	Tenant string       // empty: nobody's in particular
	Class  *mail.Class  // nil: the tenant's
}

// word is what somebody who is believed says of a message: whose it is, and in
// which class. Empty and nil say nothing.
type word struct {
	tenant string
	class  *mail.Class
}

// whose decides whose mail a message of the session is, and in which class. It is
// the only place that does. Tenant and class are looked for apart, and the first
// word stands:
//
//  1. plugins' word, whoever the client is: they are the operator's own;
//  2. for the tenant: the user the client has proved to be, if he has one; he brings
//     nobody else's mail, whatever a header field says;
//  3. the message's own header fields, which have come from a trusted client;
//  4. the entry of Policy.Clients with the smallest network around the client;
//  5. for the class: what Policy.TenantClass says of the tenant that was found.
//
// Mail of strangers is nobody's and normal, unless a plugin says otherwise.
func (s *session) whose(header word) (tenant string, class mail.Class) {
	if s.login.Tenant != "" {
		header.tenant = s.login.Tenant
	}
	all := [...]word{s.pluginsWord(), header, s.client}
	words := all[:]
	if !s.trusted {
		words = all[:1]
	}
	for _, w := range words {
		if tenant = w.tenant; tenant != "" {
			break
		}
	}
	for _, w := range words {
		if w.class != nil {
			return tenant, *w.class
		}
	}
	return tenant, s.h.p.TenantClass[tenant]
}

// pluginsWord is what plugins have said of the message.
func (s *session) pluginsWord() (w word) {
	if tx := s.asked.tx; tx != nil {
		w.tenant = tx.Tenant()
		if c, said := tx.Class(); said {
			w.class = &c
		}
	}
	return w
}

// clientWord is what the entry of the smallest network around ip says.
func (p *Policy) clientWord(ip netip.Addr) (w word) {
	bits := -1
	for i := range p.Clients {
		if c := &p.Clients[i]; c.From.Contains(ip) && c.From.Bits() > bits {
			bits, w = c.From.Bits(), word{c.Tenant, c.Class}
		}
	}
	return w
}
