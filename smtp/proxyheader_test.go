package smtp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// v2 makes a version 2 header: command and family octets, addresses, and what the length
// field says beyond them.
func v2(command, family byte, addresses string, more int) string {
	b := append([]byte(proxySig), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(addresses)+more))
	return string(b) + addresses
}

const (
	v4Pair = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x10\x00\x00\x19"
	v6Pair = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x10\x00\x00\x19"
)

func TestParseProxy(t *testing.T) {
	for _, x := range []struct {
		in             string
		client, server string // "": not known
		own            bool
		more           int
		n              int // octets of in that are the header's
		err            error
	}{
		{in: "PROXY TCP4 192.0.2.1 198.51.100.2 4096 25\r\n", client: "192.0.2.1:4096", server: "198.51.100.2:25", n: -1},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.2 4096 25\r\nEHLO x\r\n", client: "192.0.2.1:4096", server: "198.51.100.2:25", n: 43},
		{in: "PROXY TCP6 2001:db8::1 2001:db8::2 4096 25\r\n", client: "[2001:db8::1]:4096", server: "[2001:db8::2]:25", n: -1},
		{in: "PROXY TCP6 ::ffff:192.0.2.1 ::1 4096 25\r\n", client: "192.0.2.1:4096", server: "[::1]:25", n: -1},
		{in: "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", client: "0.0.0.0:0", server: "255.255.255.255:65535", n: -1},
		{in: "PROXY UNKNOWN\r\n", n: -1},
		{in: "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", n: -1},
		{in: "PROXY UNKNOWN " + strings.Repeat("x", 91) + "\r\n", n: -1},
		{in: "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", err: errProxyV1},
		{in: "PROXY TCP4 " + strings.Repeat("1", 200), err: errProxyV1},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.2 4096\r\n", err: errProxyV1},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.2 4096 25 26\r\n", err: errProxyV1},
		{in: "PROXY TCP4  192.0.2.1 198.51.100.2 4096 25\r\n", err: errProxyV1},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n", err: errProxyV1},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.2 -1 25\r\n", err: errProxyV1},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.2 025 25\r\n", err: errProxyV1},
		{in: "PROXY TCP4 192.0.2.01 198.51.100.2 25 25\r\n", err: errProxyV1},
		{in: "PROXY TCP4 2001:db8::1 198.51.100.2 25 25\r\n", err: errProxyV1},
		{in: "PROXY TCP6 192.0.2.1 ::1 25 25\r\n", err: errProxyV1},
		{in: "PROXY TCP6 fe80::1%eth0 ::1 25 25\r\n", err: errProxyV1},
		{in: "PROXY UDP4 192.0.2.1 198.51.100.2 25 25\r\n", err: errProxyV1},
		{in: "PROXY tcp4 192.0.2.1 198.51.100.2 25 25\r\n", err: errProxyV1},
		{in: "PROXY TCP4 192.0.2.1 198.51.100.2 25 25\nEHLO x\r\n", err: errProxyV1},
		{in: "PROXY \r\n", err: errProxyV1},
		{in: "PROXY\r\n", err: errNoProxy},
		{in: "proxy TCP4 192.0.2.1 198.51.100.2 25 25\r\n", err: errNoProxy},
		{in: "EHLO x\r\n", err: errNoProxy},
		{in: "\x16\x03\x01", err: errNoProxy},
		{in: "\r\n\r\n\r\n", err: errNoProxy},
		{in: "", err: errProxyShort},
		{in: "PROX", err: errProxyShort},
		{in: proxySig[:11], err: errProxyShort},

		{in: v2(0x21, 0x11, v4Pair, 0), client: "192.0.2.1:4096", server: "198.51.100.2:25", n: -1},
		{in: v2(0x21, 0x11, v4Pair, 500), client: "192.0.2.1:4096", server: "198.51.100.2:25", more: 500, n: -1},
		{in: v2(0x21, 0x21, v6Pair, 0) + "EHLO x\r\n", client: "[2001:db8::1]:4096", server: "[2001:db8::2]:25", n: 52},
		{in: v2(0x21, 0x21, v6Pair, 65000), client: "[2001:db8::1]:4096", server: "[2001:db8::2]:25", more: 65000, n: -1},
		{in: v2(0x20, 0x00, "", 0), own: true, n: -1},
		{in: v2(0x20, 0x11, v4Pair, 0), own: true, more: 12, n: 16},
		{in: v2(0x21, 0x00, "", 0), n: -1},
		{in: v2(0x21, 0x00, "", 9), more: 9, n: -1},
		{in: v2(0x21, 0x31, strings.Repeat("/", 216), 0), more: 216, n: 16},
		{in: v2(0x21, 0x10, v4Pair, 0), more: 12, n: 16},
		{in: v2(0x21, 0x31, strings.Repeat("/", 215), 0), err: errProxyV2},
		{in: v2(0x21, 0x12, v4Pair, 0), err: errProxyV2}, // UDP
		{in: v2(0x21, 0x11, v4Pair[:11], 0), err: errProxyV2},
		{in: v2(0x21, 0x21, v4Pair, 0), err: errProxyV2},
		{in: v2(0x21, 0x41, v4Pair, 0), err: errProxyV2},
		{in: v2(0x21, 0x13, v4Pair, 0), err: errProxyV2},
		{in: v2(0x22, 0x11, v4Pair, 0), err: errProxyV2},
		{in: v2(0x11, 0x11, v4Pair, 0), err: errProxyV2},
		{in: v2(0x31, 0x11, v4Pair, 0), err: errProxyV2},
		{in: v2(0x21, 0x11, v4Pair, 0)[:20], err: errProxyShort},
		{in: v2(0x21, 0x11, v4Pair, 0)[:15], err: errProxyShort},
	} {
		h, n, err := parseProxy([]byte(x.in))
		if err != x.err {
			t.Errorf("%q: %v, want %v", x.in, err, x.err)
			continue
		}
		if err != nil {
			continue
		}
		if x.n < 0 {
			x.n = len(x.in)
		}
		if n != x.n || h.own != x.own || h.more != x.more || !same(h.client, x.client) || !same(h.server, x.server) {
			t.Errorf("%q: %d octets, %+v", x.in, n, h)
		}
	}
}

func same(got netip.AddrPort, want string) bool {
	if want == "" {
		return !got.Addr().IsValid()
	}
	return got == netip.MustParseAddrPort(want)
}

// FuzzProxy: whatever comes, and in whatever pieces, the answer is the same; a header is
// never longer than 232 octets, and what lies behind it changes nothing.
func FuzzProxy(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 4096 25\r\nEHLO x\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n", "EHLO x\r\n", proxySig,
		v2(0x21, 0x11, v4Pair, 7), v2(0x21, 0x21, v6Pair, 0), v2(0x20, 0x00, "", 0), v2(0x21, 0x31, strings.Repeat("/", 216), 3),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, n, err := parseProxy(in)
		if n < 0 || n > len(in) || n > 232 || h.more < 0 || h.more > 65535 {
			t.Fatalf("%d of %d octets, %d more", n, len(in), h.more)
		}
		if errors.Is(err, errProxyShort) && len(in) >= 232 {
			t.Fatalf("%d octets are not enough", len(in))
		}
		if h.own && (h.client.IsValid() || h.server.IsValid()) || err != nil && (h != proxyHeader{}) {
			t.Fatalf("%+v, %v", h, err)
		}
		for i := range in { // a prefix says the same as the whole, or asks for more
			ph, pn, perr := parseProxy(in[:i])
			if perr != errProxyShort && (ph != h || perr != err || perr == nil && pn != n) {
				t.Fatalf("%d octets: %+v %d %v; all: %+v %d %v", i, ph, pn, perr, h, n, err)
			}
			if perr == nil {
				break
			}
		}
	})
}
