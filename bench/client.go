package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// reply is a code and the text of the first line. RFC 5321 §4.2.
type reply struct {
	code int
	text string // empty for 2yz and 3yz after the greeting: nobody reads them
}

// errClosing is a 421: the server is about to close (RFC 5321 §3.8).
var errClosing = errors.New("421")

// client is the source's end of one connection.
type client struct {
	w          *worker
	conn       net.Conn
	in         *bufio.Reader
	out        *bufio.Writer
	release    func() bool // of the watch on ctx
	stopping   func() bool
	pipelining bool
	sent       int
	scratch    []byte
	rcpts      []byte // the accepted recipients of this message, each ended by a newline
}

// dial connects, greets, and starts TLS where asked.
func dial(ctx context.Context, w *worker) (*client, error) {
	conn, err := w.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &client{w: w, stopping: func() bool { return ctx.Err() != nil }}
	// A cancelled run lets transactions end, but not for longer than the grace.
	c.release = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now().Add(stopGrace)) })
	c.use(conn)
	c.patience()
	if err := c.greet(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// use makes conn the one to talk on. The write buffer takes a whole message of
// ordinary size, so that it leaves in one write.
func (c *client) use(conn net.Conn) {
	c.conn = conn
	c.in = bufio.NewReaderSize(conn, 4096)
	c.out = bufio.NewWriterSize(conn, min(c.w.cfg.Size+c.w.cfg.Size/64+1024, 256<<10))
}

// patience gives the next exchange its time. The order matters: a cancel after the
// check shortens the deadline itself, see dial.
func (c *client) patience() {
	_ = c.conn.SetDeadline(time.Now().Add(c.w.cfg.Timeout))
	if c.stopping() {
		_ = c.conn.SetDeadline(time.Now().Add(min(stopGrace, c.w.cfg.Timeout)))
	}
}

func (c *client) greet() error {
	if c.w.cfg.TLS == TLSImplicit {
		if err := c.startTLS(); err != nil {
			return err
		}
	}
	if err := c.want(atConnect, "", 220); err != nil {
		return err
	}
	if err := c.hello(); err != nil {
		return err
	}
	if c.w.cfg.TLS != TLSStart {
		return nil
	}
	if err := c.want(atTLS, "STARTTLS", 220); err != nil {
		return err
	}
	if c.in.Buffered() > 0 {
		return errors.New("the server spoke between 220 and the TLS handshake")
	}
	if err := c.startTLS(); err != nil {
		return err
	}
	return c.hello() // RFC 3207 §4.2: what was known before TLS is forgotten
}

func (c *client) startTLS() error {
	host, _, _ := net.SplitHostPort(c.w.cfg.To)
	t := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true, ServerName: host})
	if err := t.Handshake(); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	c.use(t)
	return nil
}

// hello says EHLO and learns whether commands may be pipelined.
func (c *client) hello() error {
	c.pipelining = false
	c.command("EHLO ", c.w.cfg.Helo)
	if err := c.out.Flush(); err != nil {
		return err
	}
	r, err := c.read(atHello, func(line []byte) {
		if len(line) >= 14 && strings.EqualFold(string(line[4:14]), "PIPELINING") {
			c.pipelining = !c.w.cfg.NoPipelining
		}
	})
	if err != nil {
		return err
	}
	if r.code != 250 {
		return fmt.Errorf("ehlo: %s", r.text)
	}
	return nil
}

// want sends a command (none when empty) and asks for one code.
func (c *client) want(at stage, command string, code int) error {
	if command != "" {
		c.command(command)
		if err := c.out.Flush(); err != nil {
			return err
		}
	}
	r, err := c.read(at, nil)
	if err != nil {
		return err
	}
	if r.code != code {
		return fmt.Errorf("%s: %s", at, r.text)
	}
	return nil
}

// command puts one line in the buffer; an error shows at the flush.
func (c *client) command(parts ...string) {
	for _, p := range parts {
		_, _ = c.out.WriteString(p)
	}
	_, _ = c.out.WriteString("\r\n")
}

// maxReplyLines bounds what a server may say in one reply.
const maxReplyLines = 128

// read takes one reply, of several lines perhaps; each is shown to see. A 421 is
// counted and becomes errClosing: whatever it answers, the connection is over.
func (c *client) read(at stage, see func([]byte)) (reply, error) {
	for range maxReplyLines {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return reply{}, fmt.Errorf("%s: %w", at, err)
		}
		if len(line) < 4 || !isDigit(line[0]) || !isDigit(line[1]) || !isDigit(line[2]) {
			return reply{}, fmt.Errorf("%s: not a reply: %.80q", at, line)
		}
		if see != nil {
			see(line)
		}
		if line[3] == '-' {
			continue
		}
		r := reply{code: int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')}
		if r.code >= 400 || at == atConnect || at == atHello || at == atDot && c.w.keep != nil {
			r.text = strings.TrimRight(string(line), "\r\n")
		}
		c.w.count(at, r)
		if r.code == 421 {
			return r, fmt.Errorf("%s: %w: %s", at, errClosing, r.text)
		}
		return r, nil
	}
	return reply{}, fmt.Errorf("%s: a reply of more than %d lines", at, maxReplyLines)
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// quit is polite but does not wait long.
func (c *client) quit() {
	_ = c.conn.SetDeadline(time.Now().Add(time.Second))
	c.command("QUIT")
	if c.out.Flush() == nil {
		_, _ = c.in.ReadSlice('\n')
	}
}

func (c *client) close() {
	c.release()
	_ = c.conn.Close()
}
