package trial

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// player plays a dialogue:
//
//	C: text      send text and CRLF; C lines in a row go out in one write
//	S: 250 2     the next reply begins so (its last line)
//	LATE 5s 250  the same, and it takes that long
//	EARLY text   send text before anybody has taken the connection (first; RunTCP)
//	CLOSED       the server closes the connection
//	FILE name    the lines up to END are what that file says from now on
//	RELOAD       the plugins are loaded anew
//	# remark
//
// A dialogue that begins with what the client says has been greeted before.
type player struct {
	t       *testing.T
	n       *Node
	conn    net.Conn
	lines   chan string // last lines of replies
	pending strings.Builder
}

func (p *player) run(script string) {
	p.t.Helper()
	var wg sync.WaitGroup
	wg.Go(p.read)
	defer wg.Wait()
	defer p.conn.Close()
	p.play(script)
}

func (p *player) read() {
	defer close(p.lines)
	in := bufio.NewReader(p.conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		p.lines <- strings.TrimRight(line, "\r\n")
	}
}

func (p *player) play(script string) {
	p.t.Helper()
	all := strings.Split(script, "\n")
	if strings.HasPrefix(strings.TrimSpace(script), "C:") {
		p.expect(0, "220 ")
	}
	for i := 0; i < len(all); i++ {
		line := strings.TrimLeft(all[i], " \t")
		if line == "" || line[0] == '#' || strings.HasPrefix(line, "EARLY ") {
			continue
		}
		kind, text, _ := strings.Cut(line, " ")
		if kind == "C:" {
			p.pending.WriteString(text + "\r\n")
			continue
		}
		began := time.Now()
		p.send()
		switch kind {
		case "S:":
			p.expect(i, text)
		case "LATE":
			d, want, _ := strings.Cut(text, " ")
			wait, err := time.ParseDuration(d)
			if err != nil {
				p.t.Fatal(err)
			}
			p.expect(i, want)
			if took := time.Since(began); took != wait {
				p.t.Fatalf("line %d: it took %v, want %v", i, took, wait)
			}
		case "CLOSED":
			if got, open := <-p.lines; open {
				p.t.Fatalf("line %d: %q, want the connection closed", i, got)
			}
		case "FILE":
			var b strings.Builder
			for i++; strings.TrimSpace(all[i]) != "END"; i++ {
				b.WriteString(strings.TrimLeft(all[i], " \t") + "\n")
			}
			p.n.Files[text] = b.String()
		case "RELOAD":
			p.n.Reload(p.t)
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
