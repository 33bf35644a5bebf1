package lists

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Networks is a set of networks and single addresses. The zero Networks is empty;
// once it is built any number of goroutines may ask.
type Networks struct {
	of map[netip.Prefix]struct{}
	// Lengths in use, by family: a look-up tries each once, so it takes as long for a
	// million networks as for ten.
	v4, v6 []uint8
}

// Add puts in an address or a network in CIDR notation.
func (n *Networks) Add(text string) error {
	p, err := ParseNetwork(text)
	if err != nil {
		return err
	}
	if n.of == nil {
		n.of = map[netip.Prefix]struct{}{}
	}
	if _, twice := n.of[p]; twice {
		return nil
	}
	n.of[p] = struct{}{}
	lengths := &n.v6
	if p.Addr().Is4() {
		lengths = &n.v4
	}
	for _, l := range *lengths {
		if int(l) == p.Bits() {
			return nil
		}
	}
	*lengths = append(*lengths, uint8(p.Bits()))
	return nil
}

// Has tells whether an address is in one of the networks.
func (n *Networks) Has(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	lengths := n.v6
	if ip.Is4() {
		lengths = n.v4
	}
	for _, l := range lengths {
		p, err := ip.Prefix(int(l))
		if err != nil {
			return false
		}
		if _, in := n.of[p]; in {
			return true
		}
	}
	return false
}

// Len is how many there are.
func (n *Networks) Len() int { return len(n.of) }

// ParseNetwork reads an address, or a network in CIDR notation. Bits behind the
// network's length are refused: who writes 192.0.2.7/24 may mean one host or 256.
func ParseNetwork(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, errors.New("is no IP address; write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, errors.New("is no network; write 192.0.2.0/24 or 2001:db8::/32")
	}
	if p.Addr().Is4In6() {
		return p, errors.New("is an IPv4 network in IPv6 form; write 192.0.2.0/24")
	}
	if p != p.Masked() {
		return p, fmt.Errorf("has bits set behind its length; write %s, or %s for the one host", p.Masked(), p.Addr())
	}
	return p, nil
}
