package smtp

import (
	"net"
	"net/netip"
)

// Port says what an address we listen on is for, and whom we believe there.
type Port struct {
	TLS bool // from the first octet (RFC 8314 §3.3: 465)
	// Submission tells the Session that it is for the users of this host (RFC 6409: 587,
	// 465). The engine makes no difference.
	Submission bool
	// Proxies are the peers that begin every connection with a PROXY header, version 1
	// or 2: the client it names is the client. Without a header they are hung up on; and
	// so are all others with one.
	Proxies []netip.Prefix
	// XClients are the clients that may say whose mail they bring (XCLIENT).
	XClients []netip.Prefix
}

var (
	plainPort = &Port{}
	tlsPort   = &Port{TLS: true}
)

// contains tells whether the IP address of a is in one of the networks.
func contains(networks []netip.Prefix, a net.Addr) bool {
	if len(networks) == 0 {
		return false
	}
	ip := addrPort(a).Addr()
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// addrPort returns the IP address of a, IPv4 as such; not valid when it has none.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
	}
	return netip.AddrPort{}
}

// unknownAddr is the address of a client that nobody can name.
type unknownAddr struct{}

func (unknownAddr) Network() string { return "unknown" }
func (unknownAddr) String() string  { return "unknown" }

// netAddr is p as connections have it.
func netAddr(p netip.AddrPort) net.Addr {
	if !p.Addr().IsValid() {
		return unknownAddr{}
	}
	return net.TCPAddrFromAddrPort(p)
}
