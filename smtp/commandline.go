package smtp

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// readCommand returns the next command line without CRLF, valid until the next
// read. Replies are written before it waits, and only then (RFC 2920 §3.2).
func (c *Conn) readCommand() ([]byte, error) { return c.readLine(c.srv.limits.CommandLine) }

func (c *Conn) readLine(limit int) ([]byte, error) {
	w := &c.wire
	var deadline time.Time
	for {
		line, err := w.takeLine(limit)
		if line != nil || err != nil && err != errLinePartial {
			if !deadline.IsZero() {
				c.busy()
			}
			return line, err
		}
		if deadline.IsZero() {
			if deadline, err = c.await(); err != nil {
				return nil, err
			}
			if w.r == w.w {
				w.shrink()
			}
		}
		if err == errLinePartial {
			if err := w.skipLine(deadline); err != nil {
				return nil, c.readFault(err)
			}
			c.busy()
			return nil, errLineTooLong
		}
		if err := w.fillFlushed(deadline); err != nil {
			return nil, c.readFault(err)
		}
		if c.hello == "" && notSMTP(w.buffered()) {
			return nil, errNotSMTP // there may be no CRLF to wait for
		}
	}
}

// notSMTP knows a TLS ClientHello (RFC 8446 §5.1), and a PROXY header of a stranger.
func notSMTP(b []byte) bool {
	return len(b) > 1 && b[0] == 0x16 && b[1] == 0x03 || bytes.HasPrefix(b, []byte(proxySig))
}

// readFault tells a shutdown from the timeout it looks like.
func (c *Conn) readFault(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.draining && c.idle {
			return errDraining
		}
	}
	return err
}

// lineFault answers a command that could not be read; false when the connection ends with it.
func (c *Conn) lineFault(err error) bool {
	switch {
	case err == errLineTooLong:
		c.mistake(mail.R(500, "5.5.2", "Line too long"))
		return true
	case err == errLineOctets:
		c.mistake(mail.R(500, "5.5.2", "NUL or bare CR in command"))
		return true
	case err == errLineBareLF:
		c.say(mail.R(421, "4.5.2", "Commands end in CRLF, closing connection"))
	case err == errLineEndless:
		c.say(mail.R(421, "4.5.2", "Line too long, closing connection"))
	case err == errNotSMTP:
		c.say(mail.R(554, "5.5.1", "This is an SMTP server, closing connection"))
	case err == errDraining:
		c.say(mail.R(421, "4.3.2", c.srv.Hostname+" is shutting down, try again"))
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.say(mail.R(421, "4.4.2", c.srv.Hostname+" timeout exceeded, closing connection"))
	case errors.Is(err, io.EOF):
	default:
		c.srv.log.Debug("smtp: connection lost", "conn", c.id, "client", c.remote, "error", err)
	}
	c.lingering = err != io.EOF
	return false
}
