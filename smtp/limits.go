package smtp

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what one client, or all of them, can take from the server. A zero
// field means the default named beside it; a negative one means no limit (only
// where the comment says so).
type Limits struct {
	Connections int   // open at once, all clients together; 30,000; negative: no limit
	PerIP       int   // open at once from one IPv4 address or IPv6 /64; 1,000; negative: no limit
	CommandLine int   // octets of a command line with its CRLF; 2,048 (RFC 5321 §4.5.3.1.4 asks for 512 and more for extensions)
	BodyLine    int   // octets of a body line with its CRLF; 1 MiB + 2 (RFC 5321 §4.5.3.1.6 asks for 1,000); negative: no limit
	MessageSize int64 // octets of a message, dot-stuffing not counted (RFC 1870 §3); 50 MiB
	Discard     int64 // octets of a refused message read in search of its end before the connection is closed; 16 MiB
	Recipients  int   // accepted in one transaction; 1,000 (RFC 5321 §4.5.3.1.8 asks for 100)
	Errors      int   // mistakes since the last accepted message; 20; negative: no limit
	Junk        int   // commands that bring no mail forward (NOOP, RSET, EHLO, VRFY, …) since the last accepted message; 100; negative: no limit
	Refusals    int   // recipients refused with 5yz in one connection (dictionary attacks); 200; negative: no limit
}

// Timeouts bound how long the server waits. A zero field means the default named
// beside it.
type Timeouts struct {
	Command   time.Duration // from our reply to the last octet of the next command; 5 min (RFC 5321 §4.5.3.2.7)
	Block     time.Duration // between two reads of a message; 5 min (RFC 5321 §4.5.3.2.7)
	Message   time.Duration // for the whole of one message; 2 h
	Session   time.Duration // for the whole connection; an open transaction may finish; 24 h
	Handshake time.Duration // for the TLS handshake; 30 s
	Write     time.Duration // for one write of replies; 2 min
	Proxy     time.Duration // for the PROXY header, from those who begin with one; 3 s
	Greeting  time.Duration // pause before the banner in which a client that talks is turned away; 0: no pause

	// A message that brings fewer than MinRate octets a second, averaged over
	// RateWindow, is cut off with 421.
	MinRate    int           // octets per second; 64; negative: no minimum
	RateWindow time.Duration // 3 min
}

// or returns v, or def when v is zero.
func or[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (l Limits) withDefaults() Limits {
	l.Connections = or(l.Connections, 30000)
	l.PerIP = or(l.PerIP, 1000)
	l.CommandLine = or(l.CommandLine, 2048)
	l.BodyLine = or(l.BodyLine, 1<<20+2)
	l.MessageSize = or(l.MessageSize, 50<<20)
	l.Discard = or(l.Discard, 16<<20)
	l.Recipients = or(l.Recipients, 1000)
	l.Errors = or(l.Errors, 20)
	l.Junk = or(l.Junk, 100)
	l.Refusals = or(l.Refusals, 200)
	return l
}

func (t Timeouts) withDefaults() Timeouts {
	t.Command = or(t.Command, 5*time.Minute)
	t.Block = or(t.Block, 5*time.Minute)
	t.Message = or(t.Message, 2*time.Hour)
	t.Session = or(t.Session, 24*time.Hour)
	t.Handshake = or(t.Handshake, 30*time.Second)
	t.Write = or(t.Write, 2*time.Minute)
	t.Proxy = or(t.Proxy, 3*time.Second)
	t.MinRate = or(t.MinRate, 64)
	t.RateWindow = or(t.RateWindow, 3*time.Minute)
	return t
}

// exceeds tells whether n is over limit; a negative limit is none.
func exceeds(n, limit int) bool { return limit >= 0 && n > limit }

// doorman counts open connections, in all and per client. Safe for concurrent use.
type doorman struct {
	mu    sync.Mutex
	all   int
	perIP map[netip.Prefix]int
}

// admit counts a connection in; full says which limit refuses it, or "".
func (d *doorman) admit(ip netip.Prefix, l Limits) (full string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if exceeds(d.all+1, l.Connections) {
		return "all"
	}
	if ip.IsValid() && exceeds(d.perIP[ip]+1, l.PerIP) {
		return "ip"
	}
	d.all++
	d.countIP(ip)
	return ""
}

// recount has a connection that counts against one client count against another, of whom
// it turns out to be; full says that it cannot, and it stays with the first.
func (d *doorman) recount(from, to netip.Prefix, l Limits) (full string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if from == to {
		return ""
	}
	if to.IsValid() && exceeds(d.perIP[to]+1, l.PerIP) {
		return "ip"
	}
	d.countIP(to)
	d.forgetIP(from)
	return ""
}

func (d *doorman) countIP(ip netip.Prefix) {
	if !ip.IsValid() {
		return
	}
	if d.perIP == nil {
		d.perIP = make(map[netip.Prefix]int)
	}
	d.perIP[ip]++
}

// leave counts a connection out.
func (d *doorman) leave(ip netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all--
	d.forgetIP(ip)
}

func (d *doorman) forgetIP(ip netip.Prefix) {
	if !ip.IsValid() {
		return
	}
	if d.perIP[ip]--; d.perIP[ip] <= 0 {
		delete(d.perIP, ip)
	}
}

// peerPrefix returns what one client is taken to be: an IPv4 address, or the
// /64 of an IPv6 address, since a single host is commonly given all of one.
// It is not valid for a connection that is no IP connection (a pipe).
func peerPrefix(a net.Addr) netip.Prefix {
	ip := addrPort(a).Addr()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
