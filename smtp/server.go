package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("smtp: server closed")

// Handler decides who may talk to us.
type Handler interface {
	// Connect is called once per client, before the banner (with implicit TLS: after
	// the handshake): once per connection, and again for each client that XCLIENT names. A non-nil reply is sent in place of the banner
	// and the connection is closed: 421, 554, or 521 for a host that takes no
	// mail (RFC 7504). A positive reply (220) with a Session replaces the banner.
	Connect(ctx context.Context, c *Conn) (Session, *mail.Reply)
}

// Session decides what is welcome on one connection. Its methods are called one
// at a time, from the connection's goroutine. ctx ends with the connection, and
// when Shutdown runs out of patience.
//
// A nil reply is the engine's usual positive one. Any other is sent as it is, and
// its class decides the state: after a 4yz or 5yz the command has not happened. A
// 421 closes the connection, as RFC 5321 §3.8 tells the client to expect.
type Session interface {
	// Hello is called for a well-formed HELO or EHLO. The text of a positive
	// reply stands in the first line of the answer; the keywords follow.
	Hello(ctx context.Context, name string, esmtp bool) *mail.Reply
	// Keywords are listed in the answer to EHLO behind the engine's own.
	Keywords() []string
	// Mail begins a transaction. from keeps the octets of the client.
	Mail(ctx context.Context, from mail.Address, o *MailOptions) *mail.Reply
	// Rcpt adds a recipient. to has no Domain when it is the bare postmaster
	// (RFC 5321 §4.1.1.3).
	Rcpt(ctx context.Context, to mail.Address, o *RcptOptions) *mail.Reply
	// Data is called before the 354, and before the first BDAT is taken.
	Data(ctx context.Context) *mail.Reply
	// Message reads the message from r and answers for it. Only io.EOF from r
	// (a nil error of WriteTo) says that the message is whole: after any other
	// error nothing may be queued, and the reply is the engine's. A reply given
	// before the end is sent after it.
	Message(ctx context.Context, r *Body) mail.Reply
	// Command is called for a verb (in upper case) the engine does not run. nil
	// is 500, or 502 for verbs that SMTP knows.
	Command(ctx context.Context, verb, args string) *mail.Reply
	// Reset says that the transaction, if any, is gone: RSET, HELO and EHLO,
	// STARTTLS, and after Message.
	Reset(ctx context.Context)
	// Close is called exactly once, when the connection ends or is another client's.
	Close(ctx context.Context)
}

// Server receives mail on any number of listeners. Set the fields before the
// first connection and leave them alone afterwards. All methods are safe for
// concurrent use.
type Server struct {
	Hostname string      // our name in banner and EHLO, a FQDN
	Handler  Handler     // decides; must not be nil
	TLS      *tls.Config // nil: no STARTTLS, no ServeTLS. MinVersion 0 means TLS 1.2; session tickets and ALPN are always off
	Log      *slog.Logger
	Limits   Limits
	Timeouts Timeouts

	// LaxPaths accepts what many clients wrongly send: a space before the path
	// (MAIL FROM: <a@b>) and a path without angle brackets (MAIL FROM:a@b).
	LaxPaths bool
	// Exempt tells whose connections Limits.PerIP does not bound, such as our
	// own networks. nil: nobody's.
	Exempt func(netip.Addr) bool

	once     sync.Once
	limits   Limits
	timeouts Timeouts
	tls      *tls.Config
	log      *slog.Logger
	baseCtx  context.Context
	cancel   context.CancelFunc
	door     doorman
	stats    serverStats

	mu        sync.Mutex
	draining  bool
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
	empty     chan struct{} // closed when draining and no connection is left
}

func (s *Server) init() {
	s.once.Do(func() {
		s.limits = s.Limits.withDefaults()
		s.timeouts = s.Timeouts.withDefaults()
		s.log = s.Log
		if s.log == nil {
			s.log = slog.New(slog.DiscardHandler)
		}
		if s.TLS != nil {
			s.tls = serverTLS(s.TLS)
		}
		s.baseCtx, s.cancel = context.WithCancel(context.Background())
		s.listeners = make(map[net.Listener]struct{})
		s.conns = make(map[*Conn]struct{})
		s.empty = make(chan struct{})
	})
}

// Serve takes connections from l, with STARTTLS when s.TLS is set, until l fails
// or the server is shut down (ErrServerClosed). It closes l.
func (s *Server) Serve(l net.Listener) error { return s.ServePort(l, plainPort) }

// ServeTLS is Serve for a port with implicit TLS (RFC 8314 §3.3: 465).
func (s *Server) ServeTLS(l net.Listener) error { return s.ServePort(l, tlsPort) }

// ServePort is Serve for a port that is for something in particular.
func (s *Server) ServePort(l net.Listener, p *Port) error {
	s.init()
	defer l.Close()
	if p.TLS && s.TLS == nil {
		return errors.New("smtp: a port with TLS, and no TLS configuration")
	}
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()

	var pause time.Duration
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			if a := s.arrived(nc, p); !s.refused(&a) {
				go s.serveAdmitted(a)
			}
			continue
		}
		if s.isDraining() {
			return ErrServerClosed
		}
		// Out of descriptors or memory passes; anything else means the listener is gone.
		if ne, ok := err.(interface{ Temporary() bool }); !ok || !ne.Temporary() {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.log.Warn("smtp: cannot accept connections", "listener", l.Addr(), "error", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-s.baseCtx.Done():
			return ErrServerClosed
		}
	}
}

// ServeConn serves one connection and returns when it is closed. nc may be
// anything with deadlines, a net.Pipe included.
func (s *Server) ServeConn(nc net.Conn, implicitTLS bool) {
	p := plainPort
	if implicitTLS {
		p = tlsPort
	}
	s.ServePortConn(nc, p)
}

// ServePortConn is ServeConn for a connection to such a port.
func (s *Server) ServePortConn(nc net.Conn, p *Port) {
	s.init()
	if a := s.arrived(nc, p); !s.refused(&a) {
		s.serveAdmitted(a)
	}
}

// countedAs returns the prefix a client counts against; not valid when it counts against none.
func (s *Server) countedAs(remote net.Addr) netip.Prefix {
	ip := peerPrefix(remote)
	if ip.IsValid() && s.Exempt != nil && s.Exempt(addrPort(remote).Addr()) {
		return netip.Prefix{}
	}
	return ip
}

// refused turns the connection away when a limit is reached, before anything is allocated for it.
func (s *Server) refused(a *arrival) bool {
	full := s.door.admit(a.counted, s.limits)
	if full == "" {
		return false
	}
	s.turnAway(a, full)
	return true
}

func (s *Server) turnAway(a *arrival, full string) {
	s.stats.refused.Add(1)
	s.log.Info("smtp: connection refused", "client", a.remote, "limit", full)
	s.sayAndClose(a, "421 4.7.0 Too many connections, try again later\r\n")
}

func (s *Server) sayAndClose(a *arrival, line string) {
	if !a.port.TLS { // nobody would understand it inside TLS
		_ = a.nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(a.nc, line)
	}
	_ = a.nc.Close()
}

func (s *Server) serveAdmitted(a arrival) {
	if a.proxied() && !s.introduce(&a) {
		return
	}
	c := newConn(s, &a)
	defer func() { s.door.leave(c.counted) }()
	if !s.add(c) {
		s.sayAndClose(&a, "421 4.3.2 Shutting down\r\n")
		return
	}
	defer s.remove(c)
	c.run()
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

func (s *Server) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.draining && len(s.conns) == 0 {
		close(s.empty) // no connection is added once draining, so this happens once
	}
}

// Shutdown stops listening, tells idle clients 421 4.3.2, and lets open
// transactions finish until ctx ends; then it cuts what is left and returns
// ctx's error. nil means that every connection ended in its own way.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.mu.Lock()
	first := !s.draining
	s.draining = true
	for l := range s.listeners {
		_ = l.Close()
	}
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	if first && len(conns) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()

	for _, c := range conns {
		c.drain()
	}
	defer s.cancel()
	select {
	case <-s.empty:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	for c := range s.conns {
		c.cut()
	}
	s.mu.Unlock()
	return ctx.Err()
}
