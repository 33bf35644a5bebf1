package smtp

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"
)

// An arrival is a connection before anything of ours belongs to it: who it is from.
type arrival struct {
	nc            net.Conn
	port          *Port
	remote, local net.Addr
	proxy         net.Addr     // who brought it; nil: nobody
	ahead         []byte       // octets of the client that came with the proxy's header
	counted       netip.Prefix // what it counts against; not valid: nothing
}

func (s *Server) arrived(nc net.Conn, p *Port) arrival {
	a := arrival{nc: nc, port: p, remote: nc.RemoteAddr(), local: nc.LocalAddr()}
	if !contains(p.Proxies, a.remote) {
		a.counted = s.countedAs(a.remote)
	}
	return a
}

// proxied tells whether the connection begins with a PROXY header. Until that is read it
// counts against nobody but the whole.
func (a *arrival) proxied() bool { return contains(a.port.Proxies, a.remote) }

// introduce reads the header and counts the connection against the client it names. When
// it returns false the connection is closed and no longer counted.
func (s *Server) introduce(a *arrival) bool {
	h, ahead, err := readProxy(a.nc, s.timeouts.Proxy)
	if err != nil {
		// Whatever this is, it is no client of ours, and there is nobody to tell.
		s.log.Warn("smtp: PROXY header refused", "proxy", a.remote, "error", err)
		_ = a.nc.Close()
		s.door.leave(a.counted)
		return false
	}
	a.ahead = ahead
	if h.own {
		return true
	}
	a.proxy = a.remote
	a.remote, a.local = netAddr(h.client), netAddr(h.server)
	if !h.server.IsValid() {
		a.local = a.nc.LocalAddr()
	}
	counted := s.countedAs(a.remote)
	if full := s.door.recount(a.counted, counted, s.limits); full != "" {
		s.turnAway(a, full)
		s.door.leave(a.counted)
		return false
	}
	a.counted = counted
	return true
}

// readProxy reads a header, and returns what came behind it in the same reads. It takes no
// longer than patience altogether, and the same memory whatever is sent.
func readProxy(nc net.Conn, patience time.Duration) (h proxyHeader, ahead []byte, err error) {
	_ = nc.SetReadDeadline(time.Now().Add(patience)) // if it fails, so does the read
	var buf [256]byte
	for have, n := 0, 0; ; {
		m, rerr := nc.Read(buf[have:])
		have += m
		h, n, err = parseProxy(buf[:have])
		if err == nil {
			rest := buf[n:have]
			skip := min(h.more, len(rest))
			ahead, h.more = slices.Clone(rest[skip:]), h.more-skip
			break
		}
		if err != errProxyShort {
			return h, nil, err
		}
		if rerr == io.EOF {
			rerr = io.ErrUnexpectedEOF
		}
		if rerr != nil {
			return h, nil, errors.Join(errNoProxy, rerr)
		}
	}
	for h.more > 0 {
		m, err := nc.Read(buf[:min(h.more, len(buf))])
		if h.more -= m; h.more > 0 && err != nil {
			return h, nil, errors.Join(errProxyV2, err)
		}
	}
	return h, ahead, nc.SetReadDeadline(time.Time{})
}

// aheadConn is a connection of which some octets have been read already.
type aheadConn struct {
	net.Conn
	ahead []byte
}

func (c *aheadConn) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead = c.ahead[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
