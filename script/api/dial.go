package api

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// target is where a script's socket goes.
type target struct {
	host  string
	port  int
	unix  string
	local netip.Addr
}

// dial tries a host's addresses one after the other.
func (r *Runtime) dial(ctx context.Context, t target, found func(netip.Addr)) (net.Conn, error) {
	var d net.Dialer
	if t.unix != "" {
		return d.DialContext(ctx, "unix", t.unix)
	}
	if t.local.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: t.local.AsSlice()}
	}
	var addrs []netip.Addr
	if ip, err := netip.ParseAddr(t.host); err == nil {
		addrs = append(addrs, ip)
	} else {
		a, err := r.addresses(ctx, t.host)
		if err != nil {
			return nil, &lookupFault{t.host, err}
		}
		addrs = append(a.V4, a.V6...)
		found(addrs[0])
	}
	var last error
	for i, ip := range addrs {
		// Each of those left has its part of the time.
		each, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok {
			each, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(len(addrs)-i))
		}
		conn, err := d.DialContext(each, "tcp", netip.AddrPortFrom(ip, uint16(t.port)).String())
		cancel()
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

type lookupFault struct {
	host string
	err  error
}

func (e *lookupFault) Error() string { return "getaddrinfo " + dnsCode(e.err) + " " + e.host }
