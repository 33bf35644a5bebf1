// Package dnstest answers: what would DNS say if I wrote it? It is a small
// nameserver for tests, with a zone written as text and faults on request:
//
//	srv := dnstest.Start(t, `
//		example.net.      MX 10 mx.example.net.
//		mx.example.net.   A  127.0.0.1
//		alias.example.    CNAME example.net.
//	`)
//	srv.Fault("example.net", dnstest.Fault{Rcode: dnstest.ServFail, Times: 1})
//	r := dns.New(dns.Config{Servers: []string{srv.Addr()}})
//
// Start listens on UDP and TCP; New does without sockets, for synctest bubbles,
// where dns.Config.Dial is the server's Dial.
//
// It never asks anybody else: what is not in the zone does not exist.
package dnstest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Response codes for Fault.Rcode.
const (
	FormErr  = dns.RcodeFormatError
	ServFail = dns.RcodeServerFailure
	NotImp   = dns.RcodeNotImplemented
	Refused  = dns.RcodeRefused
)

// Server is a nameserver. Use it from any number of goroutines.
type Server struct {
	tb testing.TB

	mu      sync.Mutex
	records map[string][]dns.RR // by owner, lower case with trailing dot
	secure  map[string]bool
	faults  map[string]*Fault
	queries []Query
	conns   map[io.Closer]bool
	closed  bool

	addr string
	stop chan struct{}
	wg   sync.WaitGroup
}

// Query is one packet the server was sent.
type Query struct {
	Network string // "udp" or "tcp"
	Name    string // lower case, no trailing dot
	Type    string // "MX"
	EDNS    uint16 // the UDP size offered, 0 without EDNS
	AD, CD  bool
}

// New returns a server without sockets: reach it through Dial. It ends with the test.
func New(tb testing.TB, zone string) *Server {
	tb.Helper()
	s := &Server{tb: tb, addr: "dnstest:53", stop: make(chan struct{}),
		secure: map[string]bool{}, faults: map[string]*Fault{}, conns: map[io.Closer]bool{}}
	s.SetZone(zone)
	tb.Cleanup(s.Close)
	return s
}

// Start returns a server on one port of 127.0.0.1, UDP and TCP. It ends with the test.
func Start(tb testing.TB, zone string) *Server {
	tb.Helper()
	s := New(tb, zone)
	// The UDP port that the system picks may be taken on TCP by somebody else.
	for try := 0; ; try++ {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatalf("dnstest: %v", err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			s.addr = tcp.Addr().String()
			s.serve(tcp, func() { s.accept(tcp) })
			s.serve(udp, func() { s.receive(udp) })
			return s
		}
		_ = tcp.Close()
		if try == 20 {
			tb.Fatalf("dnstest: no port that is free on TCP and UDP: %v", err)
		}
	}
}

// Addr is "127.0.0.1:port", or a name of no consequence for a server without sockets.
func (s *Server) Addr() string { return s.addr }

// SetZone replaces all records. Each line is "owner [ttl] type data" as in a
// master file (RFC 1035 §5); names are absolute with or without their last dot,
// the TTL is 300 s when left out.
func (s *Server) SetZone(zone string) {
	s.tb.Helper()
	var lines []string
	for l := range strings.Lines(zone) {
		lines = append(lines, strings.TrimSpace(l)) // a line that starts blank would take the owner before it
	}
	records := make(map[string][]dns.RR)
	p := dns.NewZoneParser(strings.NewReader(strings.Join(lines, "\n")), ".", "")
	p.SetDefaultTTL(300)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		owner := strings.ToLower(rr.Header().Name)
		records[owner] = append(records[owner], rr)
	}
	if err := p.Err(); err != nil {
		s.tb.Fatalf("dnstest: zone: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = records
}

// Secure makes answers about these names carry the AD bit.
func (s *Server) Secure(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range names {
		s.secure[fqdn(n)] = true
	}
}

// Queries returns what the server was sent, in order.
func (s *Server) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Query(nil), s.queries...)
}

// Count returns how many packets asked for a name and type ("MX"); "" is any.
func (s *Server) Count(name, typ string) int {
	n := 0
	for _, q := range s.Queries() {
		if (name == "" || q.Name == strings.TrimSuffix(fqdn(name), ".")) && (typ == "" || q.Type == typ) {
			n++
		}
	}
	return n
}

// Dial connects to the server without a socket, framed as on TCP; network says
// what the server takes it for. It fits dns.Config.Dial.
func (s *Server) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	if !s.serve(there, func() { s.stream(there, network) }) {
		return nil, errors.New("dnstest: the server is closed")
	}
	return here, nil
}

// Close stops the server and waits for its goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// serve runs a goroutine that ends when c is closed, as Close does; false: that
// has happened already.
func (s *Server) serve(c io.Closer, run func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.conns[c] = true
	s.wg.Go(run) // under the lock, so that Close never waits before it has begun
	return true
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil || !s.serve(c, func() { s.stream(c, "tcp") }) {
			return
		}
	}
}

// stream serves one connection framed as on TCP.
func (s *Server) stream(c net.Conn, network string) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		for _, out := range s.reply(b, network) {
			if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
				return
			}
		}
	}
}

func (s *Server) receive(c net.PacketConn) {
	for {
		b := make([]byte, 4096)
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		s.wg.Go(func() {
			for _, out := range s.reply(b[:n], "udp") {
				_, _ = c.WriteTo(out, from) // the test sees a lost answer as a timeout
			}
		})
	}
}

// wait is a delay that ends with the server; false: it has ended.
func (s *Server) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stop:
		return false
	}
}

func fqdn(name string) string { return strings.ToLower(dns.Fqdn(name)) }

// MXSet returns a zone text with n mail hosts for a domain, mx0 to mx(n-1),
// preference 10, each with an address in 127.1.0.0/16.
func MXSet(domain string, n int) string {
	var b strings.Builder
	for i := range n {
		host := "mx" + strconv.Itoa(i) + "." + fqdn(domain)
		b.WriteString(fqdn(domain) + " MX 10 " + host + "\n")
		b.WriteString(host + " A 127.1." + strconv.Itoa(i/256) + "." + strconv.Itoa(i%256) + "\n")
	}
	return b.String()
}
