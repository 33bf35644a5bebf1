package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// G1: one octet every ten seconds buys nobody more than the deadline of what it is part of.
func TestG1_slowCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		p := newPlayer(t, ours, dialogue{server: s, handler: h})
		p.play("S: 220")
		start := time.Now()
		p.sending.Go(func() { trickle(ours, 10*time.Second, "E", 10000) })
		p.play("S~ 421 4.4.2\nCLOSED")
		if d := time.Since(start); d != 5*time.Minute {
			t.Errorf("closed after %v", d)
		}
		ours.Close()
		p.sending.Wait()
		_ = s.Shutdown(t.Context())
	})
}

// A client that does not read our replies does not keep us either.
func TestG1_unreadReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Hostname: "mx.test", Handler: &recorder{}}
		ours, theirs := net.Pipe()
		start := time.Now()
		s.ServeConn(theirs, false) // the banner waits for a reader that never comes
		if d := time.Since(start); d > 3*time.Minute {
			t.Errorf("closed after %v", d)
		}
		ours.Close()
		_ = s.Shutdown(t.Context())
	})
}

func TestG2_tooManyConnections(t *testing.T) {
	for _, limits := range []Limits{{Connections: 2}, {PerIP: 2}} {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h, Limits: limits}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		dial := func(want string) net.Conn {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			n, _ := c.Read(b)
			if !strings.HasPrefix(string(b[:n]), want) {
				t.Errorf("got %q, want %s", b[:n], want)
			}
			return c
		}
		first, second := dial("220"), dial("220")
		third := dial("421 4.7.0")
		if _, err := third.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("third: %v", err)
		}
		third.Close()
		// A place that becomes free is given away again, once the server has noticed.
		fmt.Fprint(first, "QUIT\r\n")
		_, _ = io.ReadAll(first)
		first.Close()
		for s.door.count() > 1 {
			time.Sleep(time.Millisecond) // polls; what decides is the count
		}
		dial("220").Close()
		second.Close()
		_ = s.Shutdown(t.Context())
		if err := <-served; err != ErrServerClosed {
			t.Error(err)
		}
	}
}

func (d *doorman) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all
}

func TestG2_doorman(t *testing.T) {
	addr := func(s string) netip.Prefix {
		return peerPrefix(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)))
	}
	var d doorman
	l := Limits{Connections: 4, PerIP: 1}
	for _, c := range []struct {
		from string
		want string
	}{
		{"192.0.2.1:1", ""},
		{"192.0.2.1:2", "ip"},
		{"[::ffff:192.0.2.1]:3", "ip"}, // the same host
		{"[2001:db8::1]:1", ""},
		{"[2001:db8::2]:1", "ip"}, // the same /64
		{"[2001:db8:0:1::2]:1", ""},
		{"192.0.2.2:1", ""},
		{"192.0.2.3:1", "all"},
	} {
		if got := d.admit(addr(c.from), l); got != c.want {
			t.Errorf("%s: %q, want %q", c.from, got, c.want)
		}
	}
	for _, from := range []string{"192.0.2.1:1", "[2001:db8::1]:1", "[2001:db8:0:1::2]:1", "192.0.2.2:1"} {
		d.leave(addr(from))
	}
	if d.all != 0 || len(d.perIP) != 0 {
		t.Errorf("%d left, %v", d.all, d.perIP)
	}
}

func TestG2_junk(t *testing.T) {
	for _, verb := range []string{"NOOP", "RSET", "EHLO x", "VRFY x", "HELP"} {
		t.Run(verb, func(t *testing.T) {
			say(t, "S: 220\n"+strings.Repeat("C: "+verb+"\n", 1000)+strings.Repeat("S: 2??\n", 100)+`
				S: 421 4.7.0
				CLOSED`)
		})
	}
}

func TestG2_emptyChunks(t *testing.T) {
	say(t, chunksOK+strings.Repeat("C: BDAT 0\n", 1000)+strings.Repeat("S: 250 2.0.0 0 octets\n", 100)+`
		S: 421 4.7.0
		CLOSED`)
}

func TestG2_acceptedMailClearsTheCount(t *testing.T) {
	dialogue{server: &Server{Limits: Limits{Junk: 3, Errors: 2}}}.run(t, `
		S: 220
		C: EHLO x
		C: NOOP
		C: NOOP
		C: FOO
		C: FOO
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 250
		S: 500
		S: 500
		S: 250
		S: 250
		S: 354
		C: .
		S: 250
		C: NOOP
		C: NOOP
		C: FOO
		C: NOOP
		C: NOOP
		S: 250
		S: 250
		S: 500
		S: 250
		S: 421
		CLOSED
	`)
}

func TestG3_recipients(t *testing.T) {
	h := &recorder{}
	dialogue{handler: h, server: &Server{Limits: Limits{Recipients: 100}}}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>
		S: 250
		`+strings.Repeat("C: RCPT TO:<c@d.test>\n", 101)+strings.Repeat("S: 250\n", 100)+`
		S: 452 4.5.3
		C: DATA
		S: 354
		C: text
		C: .
		S: 250
		M: text\r\n
	`)
	if n := h.count("RCPT"); n != 100 {
		t.Errorf("%d recipients", n)
	}
}

func TestG3_refusedRecipients(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>
		S: 250
		`+strings.Repeat("C: RCPT TO:<nobody@d.test>\n", 201)+strings.Repeat("S: 550\n", 200)+`
		S: 421 4.7.0
		CLOSED
	`)
}

// What an idle connection costs us, between two commands, in heap and stack.
func TestG1_idleCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 500
		s := &Server{Hostname: "mx.test", Handler: &recorder{}}
		used := func() uint64 {
			synctest.Wait()
			runtime.GC()
			runtime.GC() // pools keep what they have through one
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc + m.StackInuse
		}
		before := used()
		var idle []net.Conn
		for range n {
			ours, theirs := net.Pipe()
			go s.ServeConn(theirs, false)
			idle = append(idle, ours)
			p := newPlayer(t, ours, dialogue{server: s})
			p.in = bufio.NewReaderSize(ours, 512)
			p.play("S: 220\nC: EHLO x\nS: 250\nC: MAIL FROM:<a@b.test>\nS: 250")
		}
		if each := (used() - before) / n; each > 16<<10 {
			t.Errorf("%d octets for each connection", each)
		} else {
			t.Logf("%d octets for each connection", each)
		}
		for _, c := range idle {
			c.Close()
		}
		_ = s.Shutdown(t.Context())
	})
}

// Two thousand idle clients, and a new one is served at once.
func TestG1_idleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h}
		var idle []net.Conn
		for range 2000 {
			ours, theirs := net.Pipe()
			go s.ServeConn(theirs, false)
			idle = append(idle, ours)
			b := make([]byte, 100)
			if n, err := ours.Read(b); err != nil || string(b[:3]) != "220" {
				t.Fatalf("%q, %v", b[:n], err)
			}
		}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		newPlayer(t, ours, dialogue{server: s, handler: h}).play(`
			S: 220
			C: EHLO x
			S: 250
			C: QUIT
			S: 221`)
		var wg sync.WaitGroup
		for _, c := range idle {
			wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}
