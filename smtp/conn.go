package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Conn is one client's connection, as its Session sees it. The methods are for
// the connection's own goroutine: call them from Handler and Session methods only.
type Conn struct {
	srv    *Server
	ctx    context.Context
	cancel context.CancelFunc
	id     string
	port   *Port
	remote net.Addr
	local  net.Addr
	proxy  net.Addr // nil: none
	began  time.Time
	wire   wire

	counted  netip.Prefix // what the connection counts against
	xclient  bool         // the client may say XCLIENT
	said     *clientOf    // what it has said so; nil: nothing
	session  Session
	greeting string // instead of the usual one
	hello    string
	esmtp    bool
	tlsState *tls.ConnectionState
	identity string
	trusted  bool

	tx      envelope
	body    *Body  // not nil while Message runs
	pending []byte // a command read by Body and left for the loop

	closing   bool // close after the queued replies are written
	mute      bool // and say nothing more
	ahead     bool // octets of the client came with the PROXY header, before its turn
	early     bool // the client has spoken when it was not its turn
	lost      bool // in a Challenge: the last reply has been given
	lingering bool // the client may still be sending: let it read the last reply
	errors    int
	junk      int
	refusals  int

	mu       sync.Mutex // guards what Shutdown reads and does from outside:
	draining bool
	idle     bool     // waiting for a command outside a transaction
	nc       net.Conn // the transport without TLS
}

// envelope is the transaction as far as the engine cares.
type envelope struct {
	open bool // MAIL was accepted
	rcpt int  // accepted recipients
	utf8 bool // SMTPUTF8 was asked for
}

func newConn(s *Server, a *arrival) *Conn {
	now := time.Now()
	c := &Conn{
		srv: s, id: mail.NewID(now), began: now, nc: a.nc,
		port: a.port, remote: a.remote, local: a.local, proxy: a.proxy, counted: a.counted,
		xclient: contains(a.port.XClients, a.remote),
	}
	c.ctx, c.cancel = context.WithCancel(s.baseCtx)
	c.wire.nc = a.nc
	c.wire.writeTimeout = s.timeouts.Write
	c.wire.arm = c.arm
	c.wire.shrink()
	c.wire.w = copy(c.wire.buf, a.ahead)
	c.ahead = len(a.ahead) > 0 && !a.port.TLS
	return c
}

// ID names the connection in logs; unique in the cluster.
func (c *Conn) ID() string { return c.id }

// RemoteAddr is the client's address, as a proxy or XCLIENT says where one is believed; not
// a *net.TCPAddr when it is not known.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is the address the client reached us at; behind a proxy, the proxy's.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// ProxyAddr is the address of the proxy that brought the client; nil: none did.
func (c *Conn) ProxyAddr() net.Addr { return c.proxy }

// Port is what the client connected to.
func (c *Conn) Port() *Port { return c.port }

// Hello is the name the client gave in HELO or EHLO, as sent; "" before.
func (c *Conn) Hello() string { return c.hello }

// ESMTP tells whether the client said EHLO.
func (c *Conn) ESMTP() bool { return c.esmtp }

// TLS is the state of the TLS connection; nil in plaintext.
func (c *Conn) TLS() *tls.ConnectionState { return c.tlsState }

// Server is the server that serves c.
func (c *Conn) Server() *Server { return c.srv }

// SetIdentity says who the client has proved to be ("" for nobody). STARTTLS
// forgets it (RFC 3207 §4.2).
func (c *Conn) SetIdentity(who string) { c.identity = who }

// Identity is what SetIdentity was given last.
func (c *Conn) Identity() string { return c.identity }

// InTransaction tells whether MAIL was accepted and the transaction is not over.
func (c *Conn) InTransaction() bool { return c.tx.open }

// SetTrusted allows the client to send message octets behind DATA before it has
// seen the 354. From strangers that is refused: it is how a smuggled command
// stream looks.
func (c *Conn) SetTrusted(yes bool) { c.trusted = yes }

// CloseAfterReply closes the connection once the reply to the current command
// has been written.
func (c *Conn) CloseAfterReply() { c.closing, c.lingering = true, true }

// maxChallenge is the longest answer to a 334 with its CRLF (RFC 4954 §4.5).
const maxChallenge = 12288

// Challenge sends 334 and returns the line the client answers with, without
// CRLF. It is for Session.Command only, for dialogues such as AUTH (RFC 4954 §4).
// On an error the Session returns any refusal; whether the connection goes on is
// the engine's affair.
func (c *Conn) Challenge(text string) (string, error) {
	c.sayPlain(mail.Reply{Code: 334, Text: text})
	line, err := c.readLine(maxChallenge)
	if err != nil && err != errLineTooLong && err != errLineOctets {
		c.lineFault(err)
		c.closing, c.lost = true, true
	}
	return string(line), err
}

// Protocol is the WITH keyword for the Received field: SMTP, ESMTP, ESMTPS,
// ESMTPA, ESMTPSA (RFC 3848), or their UTF8SMTP forms in a transaction with
// SMTPUTF8 (RFC 6531 §4.3).
func (c *Conn) Protocol() string {
	if !c.esmtp {
		return "SMTP"
	}
	p := "ESMTP"
	if c.tx.utf8 {
		p = "UTF8SMTP"
	}
	if c.tlsState != nil {
		p += "S"
	}
	if c.identity != "" {
		p += "A"
	}
	return p
}

// run serves the connection from banner to close.
func (c *Conn) run() {
	defer c.finish()
	defer func() {
		if p := recover(); p != nil {
			// One connection's fault must not take the others' mail down.
			c.srv.log.Error("smtp: panic in a session", "conn", c.id, "client", c.remote, "panic", p, "stack", string(debug.Stack()))
			c.say(mail.R(421, "4.3.0", "Internal error, closing connection"))
		}
	}()
	if c.port.TLS && !c.handshake() {
		return
	}
	if !c.connect() || !c.waitGreeting() {
		return
	}
	c.banner()
	for !c.closing {
		line := c.pending
		c.pending = nil
		if line == nil {
			var err error
			if line, err = c.readCommand(); err != nil {
				if !c.lineFault(err) {
					return
				}
				continue
			}
		}
		c.dispatch(line)
	}
}

// connect asks the Handler; false when there is no welcome.
func (c *Conn) connect() bool {
	c.early = c.early || len(c.wire.buffered()) > 0 // a proxy has brought octets of its client
	session, r := c.srv.Handler.Connect(c.ctx, c)
	c.session = session
	if r != nil && !r.Positive() || session == nil {
		if r == nil {
			r = &mail.Reply{Code: 421, Text: "Service not available"}
		}
		// RFC 2034 §4 exempts the greeting; a code the Handler chose is sent all the same.
		if r.Enhanced == (mail.EnhancedCode{}) {
			c.sayPlain(*r)
		} else {
			c.say(*r)
		}
		c.lingering = true
		return false
	}
	c.greeting = ""
	if r != nil {
		c.greeting = r.Text
	}
	return true
}

// banner greets the client.
func (c *Conn) banner() {
	text := c.greeting
	if text == "" {
		text = c.srv.Hostname + " ESMTP"
	}
	c.sayPlain(mail.Reply{Code: 220, Text: text})
}

// waitGreeting pauses before the banner. A client that talks before it is told
// to is a robot (RFC 5321 §4.3.1: it MUST wait); what it said is never run.
func (c *Conn) waitGreeting() bool {
	pause := c.srv.timeouts.Greeting
	if pause <= 0 {
		return true
	}
	var err error
	if len(c.wire.buffered()) == 0 { // else a proxy has brought octets of its client already
		_ = c.wire.nc.SetReadDeadline(time.Now().Add(pause))
		err = c.wire.fill()
	}
	if err == nil {
		c.early = true
		c.say(mail.R(554, "5.5.1", "Protocol error: you spoke before the greeting"))
		c.lingering = true
		return false
	}
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// finish ends the connection: queued replies go out, the Session is closed.
func (c *Conn) finish() {
	_ = c.wire.flush()
	if c.lingering && c.wire.werr == nil {
		c.linger()
	}
	if c.session != nil {
		c.session.Close(c.ctx)
	}
	c.cancel()
	_ = c.wire.nc.Close() // with TLS: close_notify first
	c.wire.shrink()
}

// linger reads a little of what the client is still sending. Closing a TCP
// socket with unread octets sends RST, which may overtake our last reply.
func (c *Conn) linger() {
	half, ok := c.wire.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
	buf := c.wire.tiny[:]
	for range 256 { // at most 256 KiB
		if _, err := c.nc.Read(buf); err != nil {
			return
		}
	}
}

// drain is called by Shutdown, from outside.
func (c *Conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.idle {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	}
}

// cut is called by Shutdown, from outside.
func (c *Conn) cut() { _ = c.nc.Close() }

var errDraining = errors.New("server is shutting down")

// await prepares for reading a command: it sets the one deadline that holds for
// waiting and reading together, so that one octet a minute brings nothing.
func (c *Conn) await() (deadline time.Time, err error) {
	now := time.Now()
	deadline = now.Add(c.srv.timeouts.Command)
	if end := c.began.Add(c.srv.timeouts.Session); !c.tx.open && end.Before(deadline) {
		deadline = end
	}
	return deadline, c.arm(deadline)
}

// arm sets the read deadline for a command. Under the lock, so that Shutdown
// either finds the client idle and wakes it, or is seen here.
func (c *Conn) arm(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle = !c.tx.open; c.idle && c.draining {
		return errDraining
	}
	_ = c.wire.nc.SetReadDeadline(deadline) // if it fails, so does the read
	return nil
}

// busy ends what arm began: Shutdown leaves the connection alone.
func (c *Conn) busy() {
	c.mu.Lock()
	c.idle = false
	c.mu.Unlock()
}
