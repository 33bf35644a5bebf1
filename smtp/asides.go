package smtp

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Asider is a Session that has a say in the commands that move no mail. A nil reply
// is the engine's usual one. None of it is asked while a message comes in with BDAT.
type Asider interface {
	// Rset is told of RSET. The transaction is gone whatever it says: a client that
	// believes it gone must not go on in it.
	Rset(ctx context.Context) *mail.Reply
	// Noop is told of NOOP and what stood behind it.
	Noop(ctx context.Context, args string) *mail.Reply
	// Vrfy is asked about a mailbox; nil is 252 for everybody.
	Vrfy(ctx context.Context, args string) *mail.Reply
	// Quit is told of QUIT. The connection ends whatever it says.
	Quit(ctx context.Context) *mail.Reply
}

// Weigher is a Session that is asked about messages over Limits.MessageSize.
type Weigher interface {
	// DataExceeded is called once such a message has been read to its end, or its first
	// chunk was announced. Nothing but a refusal is heard; nil is 552.
	DataExceeded(ctx context.Context, size int64) *mail.Reply
}

// aside is what a Session has to say on a command that moves no mail.
func (c *Conn) aside(ask func(Asider) *mail.Reply) *mail.Reply {
	if a, ok := c.session.(Asider); ok && c.body == nil { // else it is busy in Message
		return ask(a)
	}
	return nil
}

// exceeded is the reply to a message that is too big.
func (c *Conn) exceeded(size int64) mail.Reply {
	if w, ok := c.session.(Weigher); ok {
		if r := w.DataExceeded(c.ctx, size); r != nil && r.Code >= 400 {
			return *r
		}
	}
	return tooBig
}

// Hangup closes the connection without a word: the reply to the current command is
// not sent, only those to the commands before it.
func (c *Conn) Hangup() { c.closing, c.mute = true, true }

// EarlyTalker tells whether the client has spoken when it was not its turn: before the
// banner, behind its EHLO (RFC 2920 §3.1 has it last in a group, and a client that has
// not seen the answer knows of no groups), or behind DATA.
func (c *Conn) EarlyTalker() bool { return c.early }

// SpokeWithin waits for the client to speak before it may, and tells whether it did;
// d may be 0. It is for Handler.Connect: what the client says is left where it is, to be
// run after the banner if there is one.
func (c *Conn) SpokeWithin(d time.Duration) bool {
	if len(c.wire.buffered()) == 0 {
		_ = c.wire.nc.SetReadDeadline(time.Now().Add(max(d, time.Millisecond)))
		if c.wire.fill() != nil { // silence, or the end, which the next read finds out about
			return false
		}
	}
	c.early = true
	return true
}

// Spoke tells whether octets of the client wait to be read. It takes nothing, waits for
// nothing, and may be called from any goroutine while Handler.Connect runs. Of connections
// without a socket it knows only what a proxy has brought of the client with its header.
func (c *Conn) Spoke() bool {
	s, ok := c.nc.(syscall.Conn)
	if !ok || c.ahead {
		return c.ahead
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	waiting := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waiting = err == nil && n > 0
	})
	return err == nil && waiting
}

var _ syscall.Conn = (*net.TCPConn)(nil) // what Spoke asks of a listener's connections
