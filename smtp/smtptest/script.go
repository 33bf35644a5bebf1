package smtptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A script is the remote's side of a dialogue, one step a line; empty lines and
// lines that begin with # are skipped:
//
//	S: 250 OK          say this line
//	S\ "250 OK\n"      say these octets, a Go string
//	C: EHLO a.test     the client must say this line, ended by CRLF; "C: *" takes any
//	C! MAIL FROM:<>    as C:, and nothing may have come behind it: not pipelined
//	body               read lines up to and including "."
//	read 100           read so many octets
//	wait 5m            do nothing so long
//	drip 1s "250 OK"   say one octet every second, until the client hangs up
//	flood 64KiB "250-" repeat the octets until so many are said or the client hangs up
//	tls                do a TLS handshake, with a certificate nobody should trust
//	tls refused        the same, and the client must refuse it
//	hang               read nothing and say nothing until the client hangs up
//	eof                the client must hang up, saying nothing more
//	cut                hang up
//	reset              hang up with a TCP reset (over net.Pipe: like cut)
//
// Consecutive S lines leave in one write. After the last step the remote hangs up.
type script []step

type step struct {
	line int
	verb string
	arg  string
}

func parseScript(text string) (script, error) {
	var s script
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		verb, arg, _ := strings.Cut(line, " ")
		switch verb {
		case "S:", `S\`, "C:", "C!", "body", "read", "wait", "drip", "flood", "tls", "hang", "eof", "cut", "reset":
			s = append(s, step{i + 1, verb, arg})
		default:
			return nil, fmt.Errorf("line %d: no such step: %s", i+1, line)
		}
	}
	return s, nil
}

// Start plays script on one end of a net.Pipe and returns the other. When the
// test ends the pipe is closed, and the test fails if the dialogue did not go as
// written or was not played to its end.
func Start(t testing.TB, text string) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	play(t, text, func() (net.Conn, error) { return server, nil }, func() { client.Close() })
	return client
}

// Listen plays script on the first connection to a listener on 127.0.0.1, whose
// address it returns. Ends as with Start.
func Listen(t testing.TB, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	play(t, text, l.Accept, func() { l.Close() })
	return l.Addr().String()
}

func play(t testing.TB, text string, accept func() (net.Conn, error), hangUp func()) {
	t.Helper()
	s, err := parseScript(text)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		conn, err := accept()
		if err == nil {
			err = s.play(conn, over)
		}
		result <- err
	}()
	t.Cleanup(func() {
		close(over)
		hangUp()
		if err := <-result; err != nil {
			t.Errorf("remote: %v", err)
		}
	})
}

// Play plays script on conn, and closes conn. It returns an error when the
// dialogue does not go as written. Hanging up over ends a hang; it may be nil.
func Play(conn net.Conn, text string, over <-chan struct{}) error {
	s, err := parseScript(text)
	if err != nil {
		conn.Close()
		return err
	}
	return s.play(conn, over)
}

// player is a script being played.
type player struct {
	conn net.Conn
	r    *bufio.Reader
	out  bytes.Buffer // said, not yet written
	over <-chan struct{}
}

func (s script) play(conn net.Conn, over <-chan struct{}) error {
	// A client's whole batch is read at once, so that over net.Pipe it never blocks
	// on us while we block on it.
	p := &player{conn: conn, r: bufio.NewReaderSize(conn, 1<<20), over: over}
	defer func() { p.conn.Close() }()
	for i, st := range s {
		if st.verb != "S:" && st.verb != `S\` {
			if err := p.flush(); err != nil {
				return fmt.Errorf("line %d: %s %s: %w", st.line, st.verb, st.arg, err)
			}
		}
		done, err := p.do(st)
		if err == nil && i == len(s)-1 {
			err = p.flush()
		}
		if err != nil {
			return fmt.Errorf("line %d: %s %s: %w", st.line, st.verb, st.arg, err)
		}
		if done {
			return nil
		}
	}
	return nil
}

func (p *player) flush() error {
	if p.out.Len() == 0 {
		return nil
	}
	_, err := p.conn.Write(p.out.Bytes())
	p.out.Reset()
	return err
}

func (p *player) do(st step) (done bool, err error) {
	switch st.verb {
	case "S:":
		p.out.WriteString(st.arg + "\r\n")
	case `S\`:
		octets, err := strconv.Unquote(st.arg)
		p.out.WriteString(octets)
		return false, err
	case "C:", "C!":
		line, err := p.r.ReadString('\n')
		if err != nil {
			return false, fmt.Errorf("got %q, then %w", line, err)
		}
		if st.arg != "*" && line != st.arg+"\r\n" {
			return false, fmt.Errorf("got %q", line)
		}
		if st.verb == "C!" && p.r.Buffered() > 0 {
			more, _ := p.r.Peek(p.r.Buffered())
			return false, fmt.Errorf("%q came with it", more)
		}
	case "body":
		for line := ""; line != ".\r\n"; {
			if line, err = p.r.ReadString('\n'); err != nil {
				return false, err
			}
		}
	case "read":
		n, err := strconv.Atoi(st.arg)
		if err != nil {
			return false, err
		}
		_, err = io.CopyN(io.Discard, p.r, int64(n))
		return false, err
	case "wait":
		return false, p.wait(st.arg)
	case "drip":
		return p.drip(st.arg)
	case "flood":
		return p.flood(st.arg)
	case "tls":
		t := tls.Server(p.conn, TLSConfig())
		if err := t.Handshake(); st.arg == "refused" && err == nil {
			return false, errors.New("the client took the certificate")
		} else if st.arg == "refused" {
			return false, nil
		} else if err != nil {
			return false, err
		}
		p.conn, p.r = t, bufio.NewReaderSize(t, 1<<20)
	case "hang":
		<-p.over
		return true, nil
	case "eof":
		rest, err := io.ReadAll(p.r)
		if len(rest) > 0 {
			return false, fmt.Errorf("got %q", rest)
		}
		_ = err // a reset is a way to hang up too
	case "reset":
		if tcp, ok := p.conn.(*net.TCPConn); ok {
			return true, tcp.SetLinger(0)
		}
		return true, nil
	case "cut":
		return true, nil
	}
	return false, nil
}

func (p *player) wait(arg string) error {
	d, err := time.ParseDuration(arg)
	if err != nil {
		return err
	}
	select {
	case <-time.After(d):
	case <-p.over:
	}
	return nil
}

// drip ends the script when the client hangs up, as a hostile peer would be glad to see.
func (p *player) drip(arg string) (done bool, err error) {
	every, quoted, _ := strings.Cut(arg, " ")
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return false, err
	}
	for i := range len(text) {
		if err := p.wait(every); err != nil {
			return false, err
		}
		if _, err := p.conn.Write([]byte{text[i]}); err != nil {
			return true, nil
		}
	}
	return false, nil
}

func (p *player) flood(arg string) (done bool, err error) {
	size, quoted, _ := strings.Cut(arg, " ")
	text, err := strconv.Unquote(quoted)
	if err != nil || text == "" {
		return false, errors.Join(errors.New("flood SIZE \"octets\""), err)
	}
	n, err := parseSize(size)
	if err != nil {
		return false, err
	}
	block := bytes.Repeat([]byte(text), max(1, 4096/len(text)))
	for said := 0; said < n; said += len(block) {
		if _, err := p.conn.Write(block); err != nil {
			return true, nil
		}
	}
	return false, nil
}

func parseSize(s string) (int, error) {
	unit := 1
	for _, u := range []struct {
		name string
		size int
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = rest, u.size
		}
	}
	n, err := strconv.Atoi(s)
	return n * unit, err
}

// TLSConfig is a server's TLS with a certificate for mx.test that nobody signed.
var TLSConfig = sync.OnceValue(makeTLSConfig)
