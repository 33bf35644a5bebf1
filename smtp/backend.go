package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/tarishi/tarishi/mail"
)

// ErrorReply makes a reply of what a go-smtp session returned: nil of nil, the
// reply of a *gosmtp.SMTPError, otherwise a temporary failure that does not show
// the client our insides.
func ErrorReply(err error) *mail.Reply {
	if err == nil {
		return nil
	}
	var be *BodyError
	if errors.As(err, &be) && be.Reply.Code != 0 {
		return &be.Reply
	}
	var se *gosmtp.SMTPError
	if !errors.As(err, &se) {
		r := mail.R(451, "4.0.0", "Local error, try again later")
		return &r
	}
	r := mail.Reply{Code: se.Code, Text: se.Message}
	for i, n := range se.EnhancedCode {
		if n > 0 { // gosmtp.NoEnhancedCode is all -1
			r.Enhanced[i] = uint16(n)
		}
	}
	return &r
}

// BackendHandler mounts a go-smtp Backend. Its NewSession is called at the first
// HELO or EHLO and again after STARTTLS, its Logout when that session is over;
// a panic or a slow call concerns its own connection only. AUTH and LMTP are not passed on.
func BackendHandler(b gosmtp.Backend) Handler { return backendHandler{b} }

type backendHandler struct{ backend gosmtp.Backend }

func (h backendHandler) Connect(_ context.Context, c *Conn) (Session, *mail.Reply) {
	return &backendSession{backend: h.backend, conn: c}, nil
}

type backendSession struct {
	backend gosmtp.Backend
	conn    *Conn
	session gosmtp.Session
	tls     bool // the state session was made in
}

func (s *backendSession) Hello(_ context.Context, name string, esmtp bool) *mail.Reply {
	if s.session != nil && s.tls == (s.conn.TLS() != nil) {
		return nil
	}
	s.logout() // RFC 3207 §4.2: nothing known before TLS survives it
	session, err := newBackendSession(s.backend, s.conn, name)
	if err != nil {
		return ErrorReply(err)
	}
	s.session, s.tls = session, s.conn.TLS() != nil
	return nil
}

func (s *backendSession) Keywords() []string { return nil }

func (s *backendSession) Mail(_ context.Context, from mail.Address, o *MailOptions) *mail.Reply {
	return ErrorReply(s.session.Mail(from.Raw, &o.MailOptions))
}

func (s *backendSession) Rcpt(_ context.Context, to mail.Address, o *RcptOptions) *mail.Reply {
	return ErrorReply(s.session.Rcpt(to.Raw, &o.RcptOptions))
}

func (s *backendSession) Data(context.Context) *mail.Reply { return nil }

func (s *backendSession) Message(_ context.Context, r *Body) mail.Reply {
	if bad := ErrorReply(s.session.Data(r)); bad != nil {
		return *bad
	}
	return mail.R(250, "2.0.0", "OK: queued")
}

func (s *backendSession) Command(context.Context, string, string) *mail.Reply { return nil }

func (s *backendSession) Reset(context.Context) {
	if s.session != nil {
		s.session.Reset()
	}
}

func (s *backendSession) Close(context.Context) { s.logout() }

func (s *backendSession) logout() {
	if s.session != nil {
		_ = s.session.Logout() // it has nobody to tell
		s.session = nil
	}
}

// newBackendSession calls b.NewSession with a *gosmtp.Conn that knows the client's
// address and name. Such a value only comes out of a go-smtp server, so one is run
// on a connection whose client says EHLO and hangs up; what it says in between
// is discarded.
func newBackendSession(b gosmtp.Backend, c *Conn, name string) (session gosmtp.Session, err error) {
	srv := gosmtp.NewServer(gosmtp.BackendFunc(func(gc *gosmtp.Conn) (gosmtp.Session, error) {
		session, err = b.NewSession(gc)
		return nobody{}, nil
	}))
	srv.Domain = c.srv.Hostname
	hello := &helloConn{Conn: c.wire.nc, conn: c, in: strings.NewReader("EHLO " + name + "\r\n"), gone: make(chan struct{})}
	_ = srv.Serve(&helloListener{conn: hello}) // until hello is closed
	hello.mu.Lock()
	hello.handed = true
	hello.mu.Unlock()
	return session, err
}

// helloConn is what gosmtp.Conn.Conn returns to a mounted backend: the client's
// connection, without its octets.
type helloConn struct {
	net.Conn
	conn *Conn
	in   io.Reader
	once sync.Once
	gone chan struct{}

	mu     sync.Mutex
	handed bool // the backend has it
}

func (h *helloConn) Read(p []byte) (int, error)  { return h.in.Read(p) }
func (h *helloConn) Write(p []byte) (int, error) { return len(p), nil }

// TLS is the state of the client's connection: gosmtp.Conn.TLSConnectionState knows nothing of ours.
func (h *helloConn) TLS() *tls.ConnectionState { return h.conn.TLS() }

func (h *helloConn) Close() error {
	h.once.Do(func() { close(h.gone) })
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.handed {
		return h.Conn.Close()
	}
	return nil
}

// helloListener hands out one connection and ends when that is closed.
type helloListener struct {
	conn *helloConn
	done bool
}

func (l *helloListener) Accept() (net.Conn, error) {
	if !l.done {
		l.done = true
		return l.conn, nil
	}
	<-l.conn.gone
	return nil, net.ErrClosed
}

func (l *helloListener) Close() error   { return nil }
func (l *helloListener) Addr() net.Addr { return l.conn.LocalAddr() }

// nobody is the session the go-smtp server is left with.
type nobody struct{}

func (nobody) Reset()                                 {}
func (nobody) Logout() error                          { return nil }
func (nobody) Mail(string, *gosmtp.MailOptions) error { return errors.New("nobody") }
func (nobody) Rcpt(string, *gosmtp.RcptOptions) error { return errors.New("nobody") }
func (nobody) Data(io.Reader) error                   { return errors.New("nobody") }
