package ingress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tarishi/tarishi/smtp"
)

// A dialogue is what a patient person would type into telnet and see, against
// the real SMTP engine:
//
//	C: text    send text and CRLF; C lines in a row go out in one write
//	S: 250 2   the next reply begins so (its last line)
//	GO         let the store's Commit go on
//	NOTHING    no reply has come
//	MESSAGE    send the dialogue's message and the final dot
//	CUT        the client's connection breaks, and that is the end
//	HANG UP    it breaks, and the script goes on
//	# remark
//
// {text*1000} is text a thousand times, {i} in a repeated text counts.
type dialogue struct {
	client string // address; default 192.0.2.7, a stranger
	policy Policy // default: see defaults
	queue  *memory
	port   smtp.Port
	proxy  string // PROXY header in front of all

	size     int64  // largest message; 0: the engine's own
	allLines bool   // S, HAS and HASNOT read all lines of replies, not only the last
	message  string // what MESSAGE sends before the final dot
}

func defaults() Policy {
	return Policy{
		Hostname:     "mx.test",
		LocalDomains: []string{"local.test"},
		RelayFrom:    []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("10.1.0.0/16")},
		Postmaster:   "admin@local.test",
	}
}

// from is net.Pipe's end with an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (c from) RemoteAddr() net.Addr { return c.addr }

// run plays script and returns the handler, for its counts.
func (d dialogue) run(t *testing.T, script string) *Handler {
	t.Helper()
	if d.client == "" {
		d.client = "192.0.2.7"
	}
	if d.policy.Hostname == "" {
		d.policy = defaults()
	}
	if d.queue == nil {
		d.queue = &memory{}
	}
	h := New(d.policy, d.queue.store())
	synctest.Test(t, func(t *testing.T) {
		if d.queue.gate != nil {
			d.queue.gate = make(chan struct{}) // of this bubble
		}
		ours, theirs := net.Pipe()
		srv := &smtp.Server{Hostname: "mx.test", Handler: h, Limits: smtp.Limits{Recipients: 1 << 20, Errors: -1, Junk: -1, Refusals: -1, MessageSize: d.size}}
		done := make(chan struct{})
		go func() {
			srv.ServePortConn(from{theirs, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(d.client), 4711))}, &d.port)
			close(done)
		}()
		p := &player{t: t, conn: ours, lines: make(chan string, 1<<16), gate: d.queue.gate, message: d.message, all: d.allLines}
		if d.proxy != "" {
			_, _ = io.WriteString(ours, d.proxy)
		}
		p.wg.Add(1)
		go p.read()
		p.play(script)
		ours.Close()
		<-done
		p.wg.Wait()
		_ = srv.Shutdown(t.Context())
	})
	return h
}

type player struct {
	t       *testing.T
	conn    net.Conn
	lines   chan string // last lines of replies
	gate    chan struct{}
	message string
	pending strings.Builder
	all     bool // lines has all of them
	wg      sync.WaitGroup
}

func (p *player) read() {
	defer p.wg.Done()
	defer close(p.lines)
	in := bufio.NewReader(p.conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if len(line) > 3 && line[3] == '-' && !p.all {
			continue
		}
		p.lines <- strings.TrimRight(line, "\r\n")
	}
}

func (p *player) play(script string) {
	p.t.Helper()
	p.expect(0, "220 ")
	for i, line := range strings.Split(script, "\n") {
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		kind, text, _ := strings.Cut(line, " ")
		if kind == "C:" {
			p.pending.WriteString(expand(text) + "\r\n")
			continue
		}
		p.send()
		switch kind {
		case "S:":
			p.expect(i, text)
		case "MESSAGE":
			_, _ = io.WriteString(p.conn, p.message+".\r\n")
		case "GO":
			p.gate <- struct{}{}
		case "NOTHING":
			synctest.Wait()
			if len(p.lines) > 0 {
				p.t.Fatalf("line %d: a reply came: %s", i, <-p.lines)
			}
		case "HANG":
			p.conn.Close()
		case "HAS", "HASNOT": // the reply that S has begun, to its end
			found := false
			for last := false; !last; {
				got := <-p.lines
				found, last = found || got[4:] == text, got[3] == ' '
			}
			if found != (kind == "HAS") {
				p.t.Fatalf("line %d: %q is there: %v", i, text, found)
			}
		case "GONE":
			if line, open := <-p.lines; open {
				p.t.Fatalf("line %d: the connection goes on: %s", i, line)
			}
		case "CUT":
			p.conn.Close()
			return
		default:
			p.t.Fatalf("line %d: what is %q?", i, line)
		}
	}
	p.send()
}

func (p *player) send() {
	if p.pending.Len() > 0 {
		_, _ = io.WriteString(p.conn, p.pending.String())
		p.pending.Reset()
	}
}

func (p *player) expect(line int, want string) {
	p.t.Helper()
	got, ok := <-p.lines
	if !ok {
		p.t.Fatalf("line %d: connection closed, want %q", line, want)
	}
	if !strings.HasPrefix(got, want) {
		p.t.Fatalf("line %d: got %q, want %q", line, got, want)
	}
}

// expand writes {text*3} out.
func expand(s string) string {
	for {
		i := strings.IndexByte(s, '{')
		j := strings.LastIndexByte(s, '}')
		if i < 0 || j < i {
			return s
		}
		text, times, ok := cutLast(s[i+1:j], "*")
		n, err := strconv.Atoi(times)
		if !ok || err != nil {
			return s
		}
		var b strings.Builder
		for k := range n {
			b.WriteString(strings.ReplaceAll(text, "{i}", fmt.Sprint(k)))
		}
		s = s[:i] + strings.NewReplacer(`\r`, "\r", `\n`, "\n").Replace(b.String()) + s[j+1:]
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
