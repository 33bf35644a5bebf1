package ingress

import (
	"net"
	"net/netip"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// relay decides who may send where. It reads nothing but the client's address and
// the recipient's: the sender, HELO and reverse DNS are the client's own words
// and give no rights.
type relay struct {
	from       []netip.Prefix
	local      map[mail.Domain]struct{}
	postmaster mail.Address
	// everybody tells whether strangers reach postmaster too: only when an
	// operator has said who that is, or there is a local domain. Otherwise we
	// would accept what we cannot deliver and bounce it at whoever was named as
	// the sender.
	everybody bool
}

func newRelay(p Policy) relay {
	r := relay{local: make(map[mail.Domain]struct{}, len(p.LocalDomains))}
	for _, n := range p.RelayFrom {
		r.from = append(r.from, n.Masked())
	}
	for _, d := range p.LocalDomains {
		r.local[mail.CanonicalDomain(d)] = struct{}{}
	}
	switch {
	case p.Postmaster != "":
		r.postmaster, r.everybody = mail.NewAddress(p.Postmaster), true
	case len(p.LocalDomains) > 0:
		r.postmaster, r.everybody = mail.NewAddress("postmaster@"+p.LocalDomains[0]), true
	default:
		r.postmaster = mail.NewAddress("postmaster@" + p.Hostname)
	}
	return r
}

var (
	relayDenied  = mail.R(550, "5.7.1", "Relaying denied: this host does not take mail for that domain from you")
	noPostmaster = mail.R(550, "5.1.1", "No postmaster is set up here; ask the operator of your own network")
	noDomain     = mail.R(550, "5.1.3", "The address has no domain")
	noLiterals   = mail.R(550, "5.1.2", "Mail to address literals is not accepted")
)

// trusts tells whether a client at ip may send to any domain.
func (r *relay) trusts(ip netip.Addr) bool {
	for _, n := range r.from {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// admit decides about one recipient. It returns the address to deliver to, which
// differs from to only for the bare postmaster, or the refusal.
func (r *relay) admit(to mail.Address, trusted bool) (mail.Address, *mail.Reply) {
	// RFC 5321 §4.5.1: <postmaster> without a domain, in any case, is always somebody here.
	if strings.EqualFold(to.Raw, "postmaster") {
		if !trusted && !r.everybody {
			return to, &noPostmaster
		}
		return r.postmaster, nil
	}
	local := to.Local()
	_, ours := r.local[to.Domain]
	switch {
	case strings.HasPrefix(to.Raw, "@"), strings.HasSuffix(to.Raw, "."):
		// The engine refuses source routes and trailing dots; were one to come
		// through, it must not be routed by (RFC 5321 §3.3, App. F.2).
		return to, &relayDenied
	case !trusted && (!ours || routes(local)):
		return to, &relayDenied
	case to.Domain == "":
		return to, &noDomain
	case to.Domain[0] == '[':
		// A literal is an order to connect to an address of the client's choice.
		return to, &noLiterals
	}
	return to, nil
}

// routes tells whether some mail system, perhaps the one behind us, would read a
// route out of a local part: user%other, other!user, "user@other" (RFC 5321
// App. F.2 calls them obsolete). We never do; but a stranger's mail must not get
// through us to a host that does.
func routes(local string) bool { return strings.ContainsAny(local, "%!@") }

// clientIP returns the client's address; not valid for a connection without one.
func clientIP(a net.Addr) netip.Addr {
	switch t := a.(type) {
	case *net.TCPAddr:
		// ::ffff:192.0.2.1 is 192.0.2.1: one client, one rule.
		return t.AddrPort().Addr().Unmap().WithZone("")
	default:
		return netip.Addr{}
	}
}
