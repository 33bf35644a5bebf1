package smtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// A proxyHeader is what a proxy says of the connection it brings, in the first octets of
// the one to us: the PROXY protocol of HAProxy, versions 1 and 2.
type proxyHeader struct {
	client, server netip.AddrPort // not valid: the proxy does not know, or it is no IP connection
	own            bool           // LOCAL: the proxy speaks for itself (health checks)
	more           int            // octets behind those that were read: TLVs and the like, to be skipped
}

const (
	maxProxyV1  = 107 // octets of a version 1 header with its CRLF
	proxyV2Head = 16  // octets of a version 2 header before the addresses
	proxySig    = "\r\n\r\n\x00\r\nQUIT\n"
)

var (
	errProxyShort = errors.New("more octets are needed")
	errNoProxy    = errors.New("no PROXY header")
	errProxyV1    = errors.New("malformed PROXY header, version 1")
	errProxyV2    = errors.New("malformed PROXY header, version 2")
)

// parseProxy reads a header at the start of b, which is n octets long without
// those in more. errProxyShort asks to be called again with more octets; no header needs
// more than 232 of them.
func parseProxy(b []byte) (h proxyHeader, n int, err error) {
	switch {
	case len(b) < len(proxySig) && strings.HasPrefix(proxySig, string(b)), len(b) < 6 && strings.HasPrefix("PROXY ", string(b)):
		return h, 0, errProxyShort
	case bytes.HasPrefix(b, []byte(proxySig)):
		return parseProxyV2(b)
	case bytes.HasPrefix(b, []byte("PROXY ")):
		return parseProxyV1(b)
	}
	return h, 0, errNoProxy
}

func parseProxyV1(b []byte) (h proxyHeader, n int, err error) {
	line, _, whole := bytes.Cut(b[:min(len(b), maxProxyV1)], []byte("\r\n"))
	if !whole {
		if len(b) >= maxProxyV1 {
			return h, 0, errProxyV1
		}
		return h, 0, errProxyShort
	}
	n = len(line) + 2
	words := strings.Split(string(line), " ")
	if words[1] == "UNKNOWN" { // whatever follows means nothing
		return h, n, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return h, n, errProxyV1
	}
	v6 := words[1] == "TCP6"
	var ok1, ok2 bool
	h.client, ok1 = proxyAddr(words[2], words[4], v6)
	h.server, ok2 = proxyAddr(words[3], words[5], v6)
	if !ok1 || !ok2 {
		return proxyHeader{}, n, errProxyV1
	}
	return h, n, nil
}

func proxyAddr(ip, port string, v6 bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(ip)
	p, perr := strconv.ParseUint(port, 10, 16)
	ok := err == nil && perr == nil && a.Is6() == v6 && a.Zone() == "" && port == strconv.FormatUint(p, 10)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), ok
}

func parseProxyV2(b []byte) (h proxyHeader, n int, err error) {
	if len(b) < proxyV2Head {
		return h, 0, errProxyShort
	}
	version, command := b[12]>>4, b[12]&15
	family, transport := b[13]>>4, b[13]&15
	length := int(binary.BigEndian.Uint16(b[14:]))
	if version != 2 || command > 1 || family > 3 || transport > 2 {
		return h, 0, errProxyV2
	}
	addresses := [...]int{0, 2 * (4 + 2), 2 * (16 + 2), 2 * 108}[family]
	switch {
	case command == 0: // LOCAL: the rest means nothing
		return proxyHeader{own: true, more: length}, proxyV2Head, nil
	case family == 0 || transport == 0: // AF_UNSPEC, UNSPEC
		return proxyHeader{more: length}, proxyV2Head, nil
	case transport != 1, length < addresses: // a datagram is no SMTP
		return h, 0, errProxyV2
	case family == 3: // AF_UNIX: nobody we could name
		return proxyHeader{more: length}, proxyV2Head, nil
	case len(b) < proxyV2Head+addresses:
		return h, 0, errProxyShort
	}
	n = proxyV2Head + addresses
	at, size := b[proxyV2Head:n], (addresses-4)/2
	client, _ := netip.AddrFromSlice(at[:size])
	server, _ := netip.AddrFromSlice(at[size : 2*size])
	ports := at[2*size:]
	h.client = netip.AddrPortFrom(client.Unmap(), binary.BigEndian.Uint16(ports))
	h.server = netip.AddrPortFrom(server.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	h.more = length - addresses
	return h, n, nil
}
