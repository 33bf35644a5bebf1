package smtptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing/iotest"
	"time"
)

// sinkConn is one connection to a sink.
type sinkConn struct {
	s      *Sink
	conn   net.Conn
	in     *bufio.Reader // what the client wrote, a whole batch at once: see script.play
	r      *bufio.Reader // in, or in octet by octet
	out    bytes.Buffer
	number int
	tls    bool
	hello  string

	from  string
	began bool // MAIL was taken
	to    []string
	wire  []byte
	data  []byte
	sizes []int
}

var errHangUp = errors.New("sink hangs up")

func (s *Sink) serve(conn net.Conn, number int) {
	c := &sinkConn{s: s, number: number}
	c.use(conn)
	if s.Implicit {
		if c.startTLS() != nil {
			return
		}
	}
	hostname := s.Hostname
	if hostname == "" {
		hostname = "mx.test"
	}
	protocol := " ESMTP"
	if s.LMTP {
		protocol = " LMTP"
	}
	if taken, err := c.ask("CONNECT", "", "220 "+hostname+protocol); err != nil || !taken {
		_ = c.flush()
		return
	}
	for {
		if c.drained() && c.flush() != nil {
			return
		}
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		s.mu.Lock()
		s.commands = append(s.commands, line)
		s.mu.Unlock()
		if err := c.command(line, hostname); err != nil {
			_ = c.flush()
			return
		}
	}
}

func (c *sinkConn) use(conn net.Conn) {
	c.conn = conn
	c.in = bufio.NewReaderSize(conn, 64<<10)
	c.r = c.in
	if c.s.OneByte {
		c.r = bufio.NewReaderSize(iotest.OneByteReader(c.in), 16)
	}
}

// drained tells whether all that has come is dealt with: time to reply.
func (c *sinkConn) drained() bool { return c.r.Buffered() == 0 && c.in.Buffered() == 0 }

func (c *sinkConn) startTLS() error {
	t := tls.Server(c.conn, c.s.TLS)
	if err := t.Handshake(); err != nil {
		return err
	}
	c.tls = true
	c.use(t)
	return nil
}

func (c *sinkConn) flush() error {
	if c.out.Len() == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out.Bytes())
	c.out.Reset()
	return err
}

func (c *sinkConn) say(reply string) {
	lines := strings.Split(reply, "\n")
	for i, line := range lines {
		if i < len(lines)-1 && len(line) > 3 {
			line = line[:3] + "-" + line[4:]
		} else if i > 0 && len(line) < 4 {
			line = lines[0][:3] + " " + line
		}
		c.out.WriteString(line + "\r\n")
	}
}

// ask says what the rules say at verb, or usual. taken tells whether that was usual
// or another 2yz or 3yz.
func (c *sinkConn) ask(verb, arg, usual string) (taken bool, err error) {
	a, ruled := c.s.answer(Step{Verb: verb, Arg: arg, From: c.from, Connection: c.number})
	if !ruled {
		c.say(usual)
		return true, nil
	}
	if a.Wait > 0 || a.Stall {
		if err := c.flush(); err != nil {
			return false, err
		}
		var after <-chan time.Time
		if !a.Stall {
			after = time.After(a.Wait)
		}
		select {
		case <-after:
		case <-c.s.over:
			return false, errHangUp
		}
	}
	reply := a.Reply
	if reply == "" && !a.Cut {
		reply = usual
	}
	if reply != "" {
		c.say(reply)
	}
	if a.Cut || strings.HasPrefix(reply, "421") {
		return false, errHangUp
	}
	return reply[0] == '2' || reply[0] == '3', nil
}

func (c *sinkConn) command(line, hostname string) error {
	verb, arg, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	switch verb {
	case "EHLO", "LHLO":
		if (verb == "LHLO") != c.s.LMTP {
			c.say("500 5.5.1 Not spoken here")
			return nil
		}
		extensions := c.s.Extensions
		if extensions == nil {
			extensions = DefaultExtensions
		}
		reply := "250 " + hostname
		if c.s.TLS != nil && !c.tls {
			reply += "\n250 STARTTLS"
		}
		for _, e := range extensions {
			reply += "\n250 " + e
		}
		c.hello = arg
		c.reset()
		_, err := c.ask(verb, arg, reply)
		return err
	case "HELO":
		c.hello = arg
		c.reset()
		_, err := c.ask(verb, arg, "250 "+hostname)
		return err
	case "STARTTLS":
		taken, err := c.ask(verb, arg, "220 2.0.0 Go ahead")
		if err != nil || !taken {
			return err
		}
		if err := c.flush(); err != nil {
			return err
		}
		return c.startTLS()
	case "MAIL":
		if c.began {
			c.say("503 5.5.1 Transaction under way")
			return nil
		}
		from, ok := cutPrefixFold(arg, "FROM:")
		if !ok {
			c.say("501 5.5.2 MAIL FROM:<path>")
			return nil
		}
		taken, err := c.ask(verb, arg, "250 2.1.0 OK")
		c.began, c.from = taken, from
		return err
	case "RCPT":
		to, ok := cutPrefixFold(arg, "TO:")
		if !c.began || !ok {
			c.say("503 5.5.1 MAIL first, then RCPT TO:<path>")
			return nil
		}
		if c.s.grey1(c.from, to) {
			c.say("451 4.7.1 Greylisted")
			return nil
		}
		taken, err := c.ask(verb, arg, "250 2.1.5 OK")
		if taken {
			c.to = append(c.to, to)
		}
		return err
	case "DATA":
		if len(c.to) == 0 {
			c.say("503 5.5.1 No recipients")
			return nil
		}
		taken, err := c.ask(verb, arg, "354 Go ahead")
		if err != nil || !taken {
			return err
		}
		return c.readData()
	case "BDAT":
		return c.readChunk(arg)
	case "RSET":
		c.reset()
		_, err := c.ask(verb, arg, "250 2.0.0 OK")
		return err
	case "NOOP":
		_, err := c.ask(verb, arg, "250 2.0.0 OK")
		return err
	case "QUIT":
		if _, err := c.ask(verb, arg, "221 2.0.0 Bye"); err != nil {
			return err
		}
		return errHangUp
	}
	_, err := c.ask(verb, arg, "500 5.5.2 Not understood")
	return err
}

func (c *sinkConn) reset() {
	c.began, c.from, c.to = false, "", nil
	c.wire, c.data, c.sizes = nil, nil, nil
}

func (c *sinkConn) readData() error {
	if err := c.flush(); err != nil {
		return err
	}
	for {
		line, err := c.r.ReadBytes('\n')
		if err != nil {
			return err
		}
		atStart := len(c.wire) == 0 || bytes.HasSuffix(c.wire, []byte("\r\n"))
		c.wire = append(c.wire, line...)
		// The end is exactly CRLF . CRLF; a line that ends in LF alone is part of the message.
		if atStart && string(line) == ".\r\n" {
			return c.end()
		}
		if atStart {
			line = bytes.TrimPrefix(line, []byte("."))
		}
		c.data = append(c.data, line...)
	}
}

func (c *sinkConn) readChunk(arg string) error {
	size, last, _ := strings.Cut(arg, " ")
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 || last != "" && !strings.EqualFold(last, "LAST") {
		c.say("501 5.5.4 BDAT size [LAST]")
		return errHangUp
	}
	chunk := make([]byte, n)
	if c.drained() {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if _, err := io.ReadFull(c.r, chunk); err != nil {
		return err
	}
	if len(c.to) == 0 {
		c.say("503 5.5.1 No recipients")
		return nil
	}
	if taken, err := c.askQuietly("BDAT", arg); err != nil || !taken {
		return err
	}
	c.wire = append(c.wire, chunk...)
	c.data = append(c.data, chunk...)
	c.sizes = append(c.sizes, n)
	if last == "" {
		c.say("250 2.0.0 Chunk taken")
		return nil
	}
	return c.end()
}

// askQuietly is ask, with nothing to say when no rule speaks.
func (c *sinkConn) askQuietly(verb, arg string) (taken bool, err error) {
	before := c.out.Len()
	taken, err = c.ask(verb, arg, "250 OK")
	if taken {
		c.out.Truncate(before)
	}
	return taken, err
}

// end answers a complete message, and keeps it if anybody is to have it.
func (c *sinkConn) end() error {
	var took []string
	if c.s.LMTP {
		for _, to := range c.to {
			taken, err := c.ask("DOT", to, "250 2.0.0 Taken for "+to)
			if err != nil {
				return err
			}
			if taken {
				took = append(took, to)
			}
		}
	} else {
		taken, err := c.ask("DOT", c.from+" "+strings.Join(c.to, " "), "250 2.0.0 Taken")
		if err != nil && !taken {
			return err
		}
		if taken {
			took = c.to
		}
	}
	if took != nil {
		m := Message{
			Connection: c.number, Hello: c.hello, TLS: c.tls, From: c.from, To: took,
			Data: c.data, Wire: c.wire, Chunks: c.sizes, Received: time.Now(),
		}
		c.s.mu.Lock()
		c.s.count++
		if !c.s.Discard {
			c.s.messages = append(c.s.messages, m)
		}
		c.s.mu.Unlock()
	}
	c.reset()
	return nil
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}
