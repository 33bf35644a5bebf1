//go:build soak

package smtp

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// What one hostile visit may cost, the client's own part included: 50 ms of CPU, the best
// of three, and 1 MiB allocated. Each brings what it can before it is closed.
func TestG1_G2_G3_costs(t *testing.T) {
	const hello, envelope = "EHLO x\r\n", "EHLO x\r\nMAIL FROM:<a@b.test>\r\n"
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	drip := func(s string) []string { return strings.Split(s, "") }
	whole := func(s string) []string { return []string{s} }
	for _, x := range []struct {
		name string
		port Port
		say  []string // a write each
		want string   // somewhere in the replies
	}{
		{"G1 command by octets", Port{}, drip("EHLO " + strings.Repeat("x", 2000) + "\r\nQUIT\r\n"), "221"},
		{"G1 TLS by octets", Port{TLS: true}, drip("\x16\x03\x01\x02\x00" + strings.Repeat("x", 600)), ""},
		{"G1 PROXY by octets", Port{Proxies: loopback}, drip("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nQUIT\r\n"), "221"},
		{"G1 PROXY with TLVs", Port{Proxies: loopback}, whole(v2(0x21, 0x11, v4Pair, 65000) + strings.Repeat("x", 65000) + "QUIT\r\n"), "221"},
		{"G1 message by octets", Port{}, append(whole(envelope+"RCPT TO:<c@d.test>\r\nBDAT 2000 LAST\r\n"), drip(strings.Repeat("x", 1998)+"\r\nQUIT\r\n")...), "221"},
		{"G2 a line without end", Port{}, whole(strings.Repeat("x", 64<<20)), "421 4.5.2"},
		{"G2 NOOP", Port{}, whole(hello + strings.Repeat("NOOP\r\n", 100000)), "421 4.7.0"},
		{"G2 RSET", Port{}, whole(hello + strings.Repeat("RSET\r\n", 100000)), "421 4.7.0"},
		{"G2 EHLO", Port{}, whole(strings.Repeat(hello, 100000)), "421 4.7.0"},
		{"G2 nonsense", Port{}, whole(hello + strings.Repeat("x\r\n", 100000)), "421 4.7.0"},
		{"G2 empty chunks", Port{}, whole(envelope + "RCPT TO:<c@d.test>\r\n" + strings.Repeat("BDAT 0\r\n", 100000)), "421 4.7.0"},
		{"G2 XCLIENT", Port{XClients: loopback}, whole(hello + strings.Repeat("XCLIENT ADDR=192.0.2.1\r\n", 100000)), "421 4.7.0"},
		{"G3 2000 recipients", Port{}, whole(envelope + strings.Repeat("RCPT TO:<c@d.test>\r\n", 2000) + "QUIT\r\n"), "452 4.5.3"},
		{"G3 refused recipients", Port{}, whole(envelope + strings.Repeat("RCPT TO:<c..c@d.test>\r\n", 100000)), "421 4.7.0"},
		{"B2 bare CR for ever", Port{}, whole(envelope + "RCPT TO:<c@d.test>\r\nBDAT 4000000 LAST\r\n" + strings.Repeat("\r", 4000000) + "QUIT\r\n"), "550 5.5.2"},
		{"B7 dots", Port{}, whole(envelope + "RCPT TO:<c@d.test>\r\nBDAT 4000000 LAST\r\n" + strings.Repeat(".\r\n.", 1000000) + "QUIT\r\n"), "221"},
	} {
		t.Run(x.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &Server{Hostname: "mx.test", Handler: discard{}, TLS: testTLS()}
			served := make(chan error)
			go func() { served <- s.ServePort(l, &x.port) }()
			var writes [][]byte
			for _, s := range x.say {
				writes = append(writes, []byte(s))
			}
			cpu, bytes, said := time.Hour, uint64(1<<62), ""
			for range 3 {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := cpuTime()
				said = visit(t, l.Addr().String(), writes)
				cpu = min(cpu, cpuTime()-start)
				runtime.ReadMemStats(&after)
				bytes = min(bytes, after.TotalAlloc-before.TotalAlloc)
			}
			t.Logf("%v, %d KiB", cpu.Round(time.Millisecond/10), bytes>>10)
			if cpu > 50*time.Millisecond || bytes > 1<<20 || !strings.Contains(said, x.want) {
				t.Errorf("%v of CPU, %d KiB; %.300s", cpu, bytes>>10, said)
			}
			_ = s.Shutdown(t.Context())
			<-served
		})
	}
}

// visit says what it has to say, as far as anybody listens, and returns the last replies.
func visit(t *testing.T, addr string, say [][]byte) string {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	heard := make(chan string)
	go func() {
		var tail []byte
		for buf := make([]byte, 4096); ; {
			n, err := c.Read(buf)
			tail = append(tail, buf[:n]...)
			tail = tail[max(0, len(tail)-1000):]
			if err != nil {
				break
			}
		}
		heard <- string(tail)
	}()
	for _, s := range say {
		if _, err := c.Write(s); err != nil {
			break
		}
	}
	_ = c.(*net.TCPConn).CloseWrite()
	return <-heard
}

// G5: what a next host can make of one attempt of ours, by saying as much as it can.
func TestG5_costs(t *testing.T) {
	const hello = "220 mx.test\r\n"
	for name, x := range map[string]struct {
		first, flood string
	}{
		"a greeting of one line":   {"", strings.Repeat("2", 1<<16)},
		"a greeting of many lines": {"", strings.Repeat("220-x\r\n", 10000)},
		"an endless EHLO":          {hello, strings.Repeat("250-PIPELINING\r\n", 5000)},
		"keywords of all sorts":    {hello, strings.Repeat("250-SIZE 1 2 3\r\n250-AUTH PLAIN\r\n250-LIMITS RCPTMAX=1\r\n", 2000)},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			first, flood := []byte(x.first), []byte(x.flood)
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Write(first)
					for err == nil { // until the other end has had enough
						_, err = c.Write(flood)
					}
					c.Close()
				}
			}()
			cpu, bytes := time.Hour, uint64(1<<62)
			for range 3 {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := cpuTime()
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := NewClient(t.Context(), c, ClientOptions{Hello: "us.test"}); !errors.Is(err, ErrReplyTooLong) {
					t.Errorf("%v", err)
				}
				cpu = min(cpu, cpuTime()-start)
				runtime.ReadMemStats(&after)
				bytes = min(bytes, after.TotalAlloc-before.TotalAlloc)
			}
			t.Logf("%v, %d KiB", cpu.Round(time.Millisecond/10), bytes>>10)
			if cpu > 50*time.Millisecond || bytes > 1<<20 {
				t.Errorf("%v of CPU, %d KiB", cpu, bytes>>10)
			}
		})
	}
}
