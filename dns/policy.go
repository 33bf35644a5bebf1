package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"github.com/tarishi/tarishi/mail"
)

// Policy says which addresses mail may be sent to when DNS, that is a stranger,
// names them. It is for destinations found through DNS; a route that an operator
// wrote down needs none.
//
// Forbidden are special-use networks (this host, private, link-local, shared,
// multicast, reserved) and the addresses in Own. A network in Allow lifts the
// first ban, and one that holds a single address ("192.0.2.1/32") both: who
// allows 10.0.0.0/8 wants to reach the neighbours, not to loop mail to itself.
// Documentation networks are not forbidden: nothing answers there.
type Policy struct {
	Own   []netip.Addr
	Allow []netip.Prefix
}

// special is what no stranger may have us connect to, and why (RFC 6890 and the
// IANA special-purpose registries).
var special = []struct {
	net netip.Prefix
	why string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this host"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared address space"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"}, // and the metadata services of clouds
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"}, // and broadcast
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::/96"), "unspecified or IPv4-compatible"}, // RFC 4291 §2.5.5.1
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local-use NAT64"},
	{netip.MustParsePrefix("100::/64"), "discard-only"},
	{netip.MustParsePrefix("fc00::/7"), "unique local"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fec0::/10"), "site-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// carriers are IPv6 networks whose addresses hold an IPv4 address that the
// packets end up at, from octet at on.
var carriers = []struct {
	net netip.Prefix
	at  int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4, RFC 3056
}

// AddrError says why an address may not be dialled.
type AddrError struct {
	Addr netip.Addr
	Why  string
	Own  bool // it is ours: mail would come back
}

func (e *AddrError) Error() string { return fmt.Sprintf("%s is not sent to: %s", e.Addr, e.Why) }

// Check returns nil, or an [*AddrError] saying why ip may not be dialled.
func (p Policy) Check(ip netip.Addr) error {
	if !ip.IsValid() {
		return &AddrError{Addr: ip, Why: "no address"}
	}
	ip = ip.WithZone("")
	allowed := false
	for _, a := range p.Allow {
		if a.Contains(ip) {
			if a.IsSingleIP() {
				return nil
			}
			allowed = true
		}
	}
	for _, own := range p.Own {
		if own.Unmap().WithZone("") == ip.Unmap() {
			return &AddrError{Addr: ip, Why: "it is our own", Own: true}
		}
	}
	if allowed {
		return nil
	}
	if why := specialUse(ip); why != "" {
		return &AddrError{Addr: ip, Why: why}
	}
	return nil
}

// specialUse returns what is special about an address, or "".
func specialUse(ip netip.Addr) string {
	if ip.Is4In6() {
		// In an AAAA record it is a way around checks like this one, and nothing else.
		return "IPv4-mapped"
	}
	for _, s := range special {
		if s.net.Contains(ip) {
			return s.why
		}
	}
	for _, c := range carriers {
		if c.net.Contains(ip) {
			b := ip.As16()
			return specialUse(netip.AddrFrom4([4]byte(b[c.at : c.at+4])))
		}
	}
	return ""
}

// Control is for net.Dialer.Control. It checks the address that is really
// dialled, whatever was checked, cached or looked up again before (DNS rebinding).
func (p Policy) Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dialled address %q: %w", address, err)
	}
	return p.Check(ap.Addr())
}

// Forbidden tells whether ip may not be dialled by a node whose addresses are
// own and that allows nothing special.
func Forbidden(ip netip.Addr, own []netip.Addr) bool {
	return Policy{Own: own}.Check(ip) != nil
}

// literal reads an address literal (RFC 5321 §4.1.3): "[192.0.2.1]" or "[ipv6:2001:db8::1]".
func literal(d mail.Domain) (netip.Addr, bool) {
	s, ok := strings.CutPrefix(string(d), "[")
	if !ok {
		return netip.Addr{}, false
	}
	if s, ok = strings.CutSuffix(s, "]"); !ok {
		return netip.Addr{}, false
	}
	six := false
	if len(s) >= 5 && strings.EqualFold(s[:5], "ipv6:") {
		s, six = s[5:], true
	}
	ip, err := netip.ParseAddr(s)
	return ip, err == nil && ip.Is6() == six && ip.Zone() == ""
}
