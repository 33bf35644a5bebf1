package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Stage is the place in a dialogue where something was said or went wrong.
type Stage int

const (
	StageNone     Stage = iota
	StageGreeting       // waiting for the banner
	StageHello          // EHLO, HELO or LHLO
	StageStartTLS       // STARTTLS and the handshake
	StageReset          // RSET, before MAIL
	StageMail
	StageRcpt
	StageTooMany // RCPT refused only because the transaction is full: next transaction, same attempt
	StageData    // DATA, and the body up to its last octets
	StageDot     // the octets that complete the message, and the reply to them
	StageLocal   // we said it, nothing was sent
	StageQuit
	StageAuth // AUTH, after TLS and before any MAIL
)

var stageNames = [...]string{"none", "greeting", "hello", "starttls", "rset", "mail", "rcpt", "too many", "data", "dot", "local", "quit", "auth"}

func (s Stage) String() string {
	if s < 0 || int(s) >= len(stageNames) {
		return fmt.Sprintf("stage %d", int(s))
	}
	return stageNames[s]
}

// ClientTimeouts are the patience with each step, RFC 5321 §4.5.3.2. Each is the
// time for the whole reply, or for the whole block, however it drips; zero means
// the standard's value. The attempt as a whole ends with the caller's context.
type ClientTimeouts struct {
	Greeting time.Duration // §4.5.3.2.1: 5 minutes
	Hello    time.Duration // the standard names none: 5 minutes
	TLS      time.Duration // STARTTLS's reply, then the handshake, each: 1 minute
	Auth     time.Duration // each reply of AUTH; the standard names none: 5 minutes
	Mail     time.Duration // §4.5.3.2.2: 5 minutes; RSET too
	Rcpt     time.Duration // §4.5.3.2.3: 5 minutes, for each recipient
	Data     time.Duration // §4.5.3.2.4: 2 minutes for the 354
	Block    time.Duration // §4.5.3.2.5: 3 minutes for each block written
	Dot      time.Duration // §4.5.3.2.6: 10 minutes for the reply to the final dot
	Quit     time.Duration // nobody waits for a 221: 2 seconds
}

func (t ClientTimeouts) withDefaults() ClientTimeouts {
	set := func(d *time.Duration, standard time.Duration) {
		if *d == 0 {
			*d = standard
		}
	}
	set(&t.Greeting, 5*time.Minute)
	set(&t.Hello, 5*time.Minute)
	set(&t.TLS, time.Minute)
	set(&t.Auth, 5*time.Minute)
	set(&t.Mail, 5*time.Minute)
	set(&t.Rcpt, 5*time.Minute)
	set(&t.Data, 2*time.Minute)
	set(&t.Block, 3*time.Minute)
	set(&t.Dot, 10*time.Minute)
	set(&t.Quit, 2*time.Second)
	return t
}

// ClientOptions say how a Client introduces itself and what it insists on.
type ClientOptions struct {
	Hello     string      // our FQDN, for EHLO (RFC 5321 §4.1.1.1); it should resolve to the address we send from
	Host      string      // the remote's name: SNI and certificate checks
	TLS       TLSPolicy   // zero: opportunistic, any certificate
	TLSConfig *tls.Config // nil: what suits TLS; see TLSPolicy
	Login     *Login      // nil: we prove nothing
	LMTP      bool        // RFC 2033: LHLO, and one reply a recipient after the dot
	ForceHELO bool        // begin with HELO: for a host that hung up on EHLO (ErrHelloCut)
	// NoChunking keeps to DATA although the host offers CHUNKING.
	NoChunking bool
	Timeouts   ClientTimeouts
	// Debug, when set, is told every line: dir is "C" or "S". Bodies are not shown.
	Debug func(dir, line string)
}

// RefusedError says that the host does not want to talk to us at all: a 4yz or
// 5yz in its greeting or to our EHLO and HELO. The next MX may be kinder.
type RefusedError struct {
	Reply mail.Reply
	Stage Stage
}

func (e *RefusedError) Error() string {
	return "refused at " + e.Stage.String() + ": " + e.Reply.String()
}

// StageError says where a connection broke: EOF, reset, a deadline of ours, the
// caller's context, or a remote that does not speak SMTP. errors.Is and As see the cause.
type StageError struct {
	Stage Stage
	Err   error
}

func (e *StageError) Error() string { return e.Stage.String() + ": " + e.Err.Error() }
func (e *StageError) Unwrap() error { return e.Err }

var (
	// ErrHelloCut means that the host hung up on EHLO: call again with ForceHELO,
	// on a new connection.
	ErrHelloCut = errors.New("connection cut at EHLO")
	// ErrClientClosed means that the connection was closed before.
	ErrClientClosed = errors.New("connection is closed")
)

// Client is one connection to a remote MTA, past greeting, EHLO and STARTTLS.
// It is used by one goroutine at a time.
type Client struct {
	raw  net.Conn // as it came
	conn net.Conn // raw, or the TLS connection over it
	o    ClientOptions
	t    ClientTimeouts
	r    replyReader
	ext  Extensions
	cmd  []byte // commands of one write

	ctx      context.Context // of the call under way
	onCancel func()          // made once: cuts the call under way

	startTLSReply mail.Reply // a STARTTLS that was refused
	transactions  int        // begun on this connection
	needReset     bool       // the remote still has a transaction open
	closed        bool
}

// NewClient reads the greeting and introduces us: EHLO (then HELO where the host
// does not know EHLO), STARTTLS as o.TLS says, EHLO again. On any error conn is
// closed. The error is a *RefusedError when the host said no, a *TLSError when TLS
// failed (the caller may call again without TLS on a new connection, if its policy
// allows; this one never goes on in plaintext), ErrHelloCut when the host hung up
// on EHLO, an *AuthError when we could not prove who we are, else a *StageError.
func NewClient(ctx context.Context, conn net.Conn, o ClientOptions) (*Client, error) {
	c := &Client{raw: conn, conn: conn, o: o, t: o.Timeouts.withDefaults()}
	c.onCancel = func() {
		// Wakes whatever read or write is under way; see begin.
		_ = c.raw.SetDeadline(time.Unix(1, 0))
	}
	end := c.begin(ctx)
	err := c.open()
	if !end() && err == nil {
		err = c.broken(StageHello, context.Cause(ctx))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) open() error {
	if c.o.TLS == TLSImplicit {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	raw, err := c.readReply(StageGreeting, c.t.Greeting)
	if err != nil {
		return err
	}
	if raw.code/100 != 2 {
		// RFC 5321 §3.1: after a 554 greeting we may only QUIT.
		return c.refused(StageGreeting, raw)
	}
	if err := c.hello(); err != nil {
		return err
	}
	if err := c.startTLS(); err != nil {
		return err
	}
	return c.authenticate()
}

// Extensions returns what the host offered in the EHLO that counts: the one after
// STARTTLS where there was one.
func (c *Client) Extensions() Extensions { return c.ext }

// TLS returns the state of the connection's TLS; ok is false in plaintext.
func (c *Client) TLS() (state tls.ConnectionState, ok bool) {
	if t, isTLS := c.conn.(*tls.Conn); isTLS {
		return t.ConnectionState(), true
	}
	return tls.ConnectionState{}, false
}

// StartTLSReply returns the refusal of a host that offers STARTTLS and then does
// not want it, when we went on in plaintext; else the zero Reply.
func (c *Client) StartTLSReply() mail.Reply { return c.startTLSReply }

// Transactions returns how many transactions were begun on the connection.
func (c *Client) Transactions() int { return c.transactions }

// Quit says goodbye and closes. Its error means nothing for any message: what
// was answered with 250 is delivered, whatever follows.
func (c *Client) Quit(ctx context.Context) error {
	if c.closed {
		return nil
	}
	end := c.begin(ctx)
	defer c.Close()
	defer end()
	if err := c.writeCommand(StageQuit, c.t.Quit, "QUIT\r\n"); err != nil {
		return err
	}
	_, err := c.readReply(StageQuit, c.t.Quit)
	return err
}

// QuitToEnd is Quit that waits until the host has hung up. true: it has, so that
// whoever it counts as connected, it does not count us any more.
func (c *Client) QuitToEnd(ctx context.Context) bool {
	if c.closed {
		return false
	}
	end := c.begin(ctx)
	defer c.Close()
	defer end()
	if c.writeCommand(StageQuit, c.t.Quit, "QUIT\r\n") != nil {
		return false
	}
	if _, err := c.readReply(StageQuit, c.t.Quit); err != nil {
		return false
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(c.t.Quit)) // fails on a connection that has ended
	if c.ctx.Err() != nil {
		return false
	}
	gone := readToEnd(c.conn)
	if c.encrypted() {
		return readToEnd(c.raw) // the end of TLS is not the end of the connection
	}
	return gone
}

// readToEnd tells whether the host closes the connection. One that goes on talking
// is out of step.
func readToEnd(conn net.Conn) bool {
	var buf [512]byte
	for range 8 {
		if _, err := conn.Read(buf[:]); err != nil {
			return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
		}
	}
	return false
}

// Close closes the connection at once. It may be called again.
func (c *Client) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	// Not the TLS connection: its close_notify would wait for a peer that does not read.
	return c.raw.Close()
}

// begin ties the I/O of one call to ctx. The returned end must be called before
// the call returns; it is false when ctx has cut the connection meanwhile.
func (c *Client) begin(ctx context.Context) (end func() bool) {
	c.ctx = ctx
	if ctx.Done() == nil {
		return neverCut
	}
	return context.AfterFunc(ctx, c.onCancel)
}

func neverCut() bool { return true }

// readReply waits for one whole reply. timeout is for all of it: a remote that
// drips one octet at a time gains nothing.
func (c *Client) readReply(stage Stage, timeout time.Duration) (rawReply, error) {
	armed := false
	for {
		raw, ok, err := c.r.next()
		if err != nil {
			return raw, c.broken(stage, err)
		}
		if ok {
			if c.o.Debug != nil {
				c.debugReply(raw)
			}
			return raw, nil
		}
		if !armed {
			armed = true
			err = c.conn.SetReadDeadline(time.Now().Add(timeout))
			// The order matters: a context cancelled after this check comes to set its
			// own deadline after ours; cancelled before, it is seen here.
			if err == nil {
				err = c.ctx.Err()
			}
		}
		if err == nil {
			err = c.r.fill(c.conn)
		}
		if err != nil {
			return raw, c.broken(stage, err)
		}
	}
}

// write writes all of b within timeout.
func (c *Client) write(stage Stage, timeout time.Duration, b []byte) error {
	err := c.conn.SetWriteDeadline(time.Now().Add(timeout))
	if err == nil {
		err = c.ctx.Err() // after the deadline: see readReply
	}
	if err == nil {
		_, err = c.conn.Write(b)
	}
	if err != nil {
		return c.broken(stage, err)
	}
	return nil
}

func (c *Client) writeCommand(stage Stage, timeout time.Duration, line string) error {
	c.cmd = append(c.cmd[:0], line...)
	c.debugCommands(c.cmd)
	return c.write(stage, timeout, c.cmd)
}

// broken notes that the connection is of no more use. It is not closed yet: the
// remote's last words may be waiting in it.
func (c *Client) broken(stage Stage, err error) error {
	if cause := context.Cause(c.ctx); cause != nil {
		err = cause // the deadline we saw was only its messenger
	}
	return &StageError{Stage: stage, Err: err}
}

// refused turns the reply into a RefusedError, and leaves politely.
func (c *Client) refused(stage Stage, raw rawReply) error {
	if raw.code/100 < 4 {
		return c.unexpected(stage, raw)
	}
	err := &RefusedError{Reply: raw.reply(), Stage: stage}
	if raw.code != 421 { // 421: the host is closing already
		_ = c.writeCommand(StageQuit, c.t.Quit, "QUIT\r\n")
	}
	return err
}

// unexpected is for a reply of a class that cannot answer the command.
func (c *Client) unexpected(stage Stage, raw rawReply) error {
	return c.broken(stage, &ProtocolError{What: "unexpected reply", Line: printable(trimLineEnd(raw.text[:min(len(raw.text), 80)]))})
}

func (c *Client) debugReply(raw rawReply) {
	for line := range bytes.Lines(raw.text) {
		c.o.Debug("S", printable(trimLineEnd(line)))
	}
}

func (c *Client) debugCommands(b []byte) {
	if c.o.Debug == nil {
		return
	}
	for line := range bytes.Lines(b) {
		c.o.Debug("C", printable(trimLineEnd(line)))
	}
}
