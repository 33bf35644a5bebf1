package smtp

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A dialogue is what a patient person would type into telnet and see:
//
//	C: text      send text and CRLF; C lines in a row go out in one write
//	C| text      send text alone
//	S: 250 2.1   the next reply has to begin so (its last line, if it has many); ? is any digit
//	S~ 421       the same, but it may take any time; S: gives it 10 seconds
//	S+ SIZE 10   the reply just seen has this text somewhere
//	S- STARTTLS  ... does not have it anywhere
//	M: text      the next recorded message is text
//	E: RCPT a@b  the Session has been told this (prefix of a recorded event), once
//	E- RCPT      the Session has not been told this
//	W: 5m        wait
//	TLS          shake hands
//	SILENCE      nothing comes for 10 seconds
//	CLOSED       the connection is closed, and nothing came before that
//	# remark
//
// Escapes: \r \n \t \0 \\ \xHH; {text*1000} is text a thousand times. S lines
// take no escapes. It runs in a bubble: hours take no time.
type dialogue struct {
	server  *Server
	handler *recorder
	tls     bool   // implicit
	port    *Port  // nil: an ordinary one
	from    string // ip:port of the client; empty: a pipe has none
	first   string // octets in front of the first ones the client writes
}

func (d dialogue) run(t *testing.T, script string) {
	t.Helper()
	if d.handler == nil {
		d.handler = &recorder{}
	}
	if d.server == nil {
		d.server = &Server{}
	}
	s := d.server
	s.Hostname, s.Handler = "mx.test", d.handler
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		if d.from != "" {
			theirs = fromAddr{theirs, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(d.from))}
		}
		counted := &countWrites{Conn: theirs}
		port := d.port
		if port == nil {
			port = &Port{TLS: d.tls}
		}
		done := make(chan struct{})
		go func() {
			s.ServePortConn(counted, port)
			close(done)
		}()
		if d.first != "" {
			ours = &firstConn{Conn: ours, first: d.first}
		}
		p := newPlayer(t, ours, d)
		defer func() { // also after Fatal
			ours.Close()
			p.sending.Wait()
			<-done
			s.cancel() // so that the bubble ends
		}()
		p.play(script)
		ours.Close()
		<-done
		if n := d.handler.count("CLOSE"); n != d.handler.sessions {
			t.Errorf("Session.Close was called %d times, for %d of them", n, d.handler.sessions)
		}
	})
}

// say runs a dialogue with a plain server.
func say(t *testing.T, script string) {
	t.Helper()
	dialogue{}.run(t, script)
}

// firstConn writes something in front of the first write, and with it.
type firstConn struct {
	net.Conn
	first string
}

func (c *firstConn) Write(p []byte) (int, error) {
	n := len(c.first)
	m, err := c.Conn.Write(append([]byte(c.first), p...))
	c.first = ""
	return max(m-n, 0), err
}

// fromAddr gives a pipe the address of a client.
type fromAddr struct {
	net.Conn
	remote net.Addr
}

func (c fromAddr) RemoteAddr() net.Addr { return c.remote }

type countWrites struct {
	net.Conn
	mu sync.Mutex
	n  int
}

func (c *countWrites) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Conn.Write(p)
}

type player struct {
	t       *testing.T
	d       dialogue
	conn    net.Conn
	in      *bufio.Reader
	reply   string
	pending strings.Builder
	sending sync.WaitGroup
	seen    int // messages
}

func newPlayer(t *testing.T, conn net.Conn, d dialogue) *player {
	return &player{t: t, conn: conn, in: bufio.NewReader(conn), d: d}
}

func (p *player) play(script string) {
	p.t.Helper()
	for i, line := range strings.Split(script, "\n") {
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		kind, text, _ := strings.Cut(line, " ")
		switch kind {
		case "C:":
			p.pending.WriteString(unescape(text) + "\r\n")
			continue
		case "C|":
			p.pending.WriteString(unescape(text))
			continue
		}
		p.send()
		if err := p.step(kind, text); err != "" {
			p.t.Fatalf("line %d: %s\n%s", i, line, err)
		}
	}
	p.send()
}

// send writes what C lines have collected. Writing goes on beside reading: a
// pipe has no buffer, and a client that does not read while it writes is another test.
func (p *player) send() {
	if p.pending.Len() == 0 {
		return
	}
	p.sending.Wait()
	data := p.pending.String()
	p.pending.Reset()
	p.sending.Add(1)
	conn := p.conn
	go func() {
		defer p.sending.Done()
		_, _ = io.WriteString(conn, data) // a server that closed is found out by the reader
	}()
}

func (p *player) step(kind, text string) string {
	switch kind {
	case "S:", "S~":
		patience := 10 * time.Second
		if kind == "S~" {
			patience = 48 * time.Hour
		}
		if err := p.readReply(patience); err != nil {
			return "no reply: " + err.Error() + "; so far " + strconv.Quote(p.reply)
		}
		last := p.reply[strings.LastIndex(p.reply, "\n")+1:]
		want := "^" + strings.ReplaceAll(regexp.QuoteMeta(text), `\?`, `\d`)
		if !regexp.MustCompile(want).MatchString(last) {
			return "got " + strconv.Quote(p.reply)
		}
	case "S+":
		if !strings.Contains(p.reply, text) {
			return "got " + strconv.Quote(p.reply)
		}
	case "S-":
		if strings.Contains(p.reply, text) {
			return "got " + strconv.Quote(p.reply)
		}
	case "M:":
		synctest.Wait()
		h := p.d.handler
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.messages) <= p.seen {
			return "no message"
		}
		if got := h.messages[p.seen]; got != unescape(text) {
			return "got " + strconv.Quote(got[:min(len(got), 200)])
		}
		p.seen++
	case "E:", "E-":
		synctest.Wait()
		if n := p.d.handler.count(unescape(text)); (n == 1) != (kind == "E:") {
			return strconv.Itoa(n) + " times in " + strings.Join(p.d.handler.events, ", ")
		}
	case "W:":
		d, err := time.ParseDuration(text)
		if err != nil {
			return err.Error()
		}
		time.Sleep(d) // fake time: the bubble's clock moves
	case "TLS":
		p.sending.Wait()
		c := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true, ServerName: text})
		if err := c.Handshake(); err != nil {
			return err.Error()
		}
		p.conn, p.in = c, bufio.NewReader(c)
	case "SILENCE":
		_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		b, err := p.in.ReadByte()
		_ = p.conn.SetReadDeadline(time.Time{})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return "got " + strconv.Quote(string(b)) + ", " + errText(err)
		}
	case "CLOSED":
		b, err := p.in.ReadByte()
		if err == nil {
			rest, _ := p.in.Peek(p.in.Buffered())
			return "got " + strconv.Quote(string(b)+string(rest))
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err.Error()
		}
	default:
		return "what?"
	}
	return ""
}

func errText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

var replyLine = regexp.MustCompile(`^\d\d\d[ -][ -~]*\r\n$`)
var statusLine = regexp.MustCompile(`^(\d)\d\d[ -](\d)\.\d{1,3}\.\d{1,3} `)

// readReply reads one reply into p.reply and checks what holds for all of them
// (A1, A15): CRLF, 512 octets, printable ASCII, one code; an enhanced code of the
// same class on all lines but for greeting, EHLO and 3yz.
func (p *player) readReply(patience time.Duration) error {
	p.reply = ""
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			p.reply += line
			return err
		}
		if !replyLine.MatchString(line) || len(line) > 512 {
			p.t.Errorf("bad reply line %q", line)
		}
		p.reply += strings.TrimSuffix(line, "\r\n")
		if len(line) > 3 && line[3] == ' ' {
			break
		}
		p.reply += "\n"
	}
	lines := strings.Split(p.reply, "\n")
	enhanced := statusLine.MatchString(lines[0] + " ")
	for _, l := range lines {
		m := statusLine.FindStringSubmatch(l + " ")
		if (m != nil) != enhanced || m != nil && m[1] != m[2] || l[:3] != lines[0][:3] {
			p.t.Errorf("enhanced codes differ within %q", p.reply)
		}
	}
	return nil
}

var repeat = regexp.MustCompile(`\{([^{}]*)\*(\d+)\}`)
var escape = regexp.MustCompile(`\\(x[0-9a-fA-F]{2}|.)`)

func unescape(s string) string {
	s = escape.ReplaceAllStringFunc(s, func(e string) string {
		switch e[1] {
		case 'r':
			return "\r"
		case 'n':
			return "\n"
		case 't':
			return "\t"
		case '0':
			return "\x00"
		case 'x':
			n, _ := strconv.ParseUint(e[2:], 16, 8)
			return string([]byte{byte(n)})
		default:
			return e[1:]
		}
	})
	return repeat.ReplaceAllStringFunc(s, func(m string) string {
		g := repeat.FindStringSubmatch(m)
		n, _ := strconv.Atoi(g[2])
		return strings.Repeat(g[1], n)
	})
}
