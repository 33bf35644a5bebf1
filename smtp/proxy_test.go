package smtp

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// behindProxy is a port that 192.0.2.9 brings clients to.
var behindProxy = &Port{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}}

const proxied = "PROXY TCP4 198.51.100.7 203.0.113.1 4096 25\\r\\n"

func TestF4_proxy(t *testing.T) {
	for name, x := range map[string]struct{ header, remote, local, proxy string }{
		"v1":      {proxied, "198.51.100.7:4096", "203.0.113.1:25", "192.0.2.9:7"},
		"v1 IPv6": {"PROXY TCP6 2001:db8::1 2001:db8::2 1 25\\r\\n", "[2001:db8::1]:1", "[2001:db8::2]:25", "192.0.2.9:7"},
		"unknown": {"PROXY UNKNOWN\\r\\n", "unknown", "pipe", "192.0.2.9:7"},
		"v2":      {escaped(v2(0x21, 0x11, v4Pair, 0)), "192.0.2.1:4096", "198.51.100.2:25", "192.0.2.9:7"},
		"v2 TLVs": {escaped(v2(0x21, 0x21, v6Pair, 1000)) + "{x*1000}", "[2001:db8::1]:4096", "[2001:db8::2]:25", "192.0.2.9:7"},
		"v2 UNIX": {escaped(v2(0x21, 0x31, strings.Repeat("/", 216), 0)), "unknown", "pipe", "192.0.2.9:7"},
		"LOCAL":   {escaped(v2(0x20, 0x11, v4Pair, 0)), "192.0.2.9:7", "pipe", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := &recorder{}
			var conn *Conn
			h.setup = func(c *Conn) { conn = c }
			dialogue{handler: h, port: behindProxy, from: "192.0.2.9:7"}.run(t, "C| "+x.header+`
				S: 220
				C: EHLO x
				S: 250
				C: PROXY TCP4 198.51.100.8 203.0.113.1 4096 25
				S: 554
				CLOSED
			`)
			proxy := ""
			if conn.ProxyAddr() != nil {
				proxy = conn.ProxyAddr().String()
			}
			if conn.RemoteAddr().String() != x.remote || conn.LocalAddr().String() != x.local || proxy != x.proxy {
				t.Errorf("client %s at %s by %q", conn.RemoteAddr(), conn.LocalAddr(), proxy)
			}
		})
	}
}

// escaped writes octets as dialogues take them.
func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		const hex = "0123456789abcdef"
		b.WriteString(`\x` + string(hex[s[i]>>4]) + string(hex[s[i]&15]))
	}
	return b.String()
}

// What does not begin with a whole header, or drips it, is hung up on without a word
// within three seconds.
func TestF4_G1_badHeader(t *testing.T) {
	for name, x := range map[string]struct {
		script string
		after  time.Duration
	}{
		"none":    {"C: EHLO x", 0},
		"TLS":     {`C| \x16\x03\x01\x02\x00`, 0},
		"too big": {"C| PROXY TCP4 {1*200}", 0},
		"length":  {"C| " + escaped(v2(0x21, 0x11, v4Pair[:5], 0)), 0},
		"part":    {"C| PROXY TCP4 198.51.100.7", 3 * time.Second},
		"silence": {"", 3 * time.Second},
		"TLVs":    {"C| " + escaped(v2(0x21, 0x11, v4Pair, 65000)), 3 * time.Second},
		"dripped": {"C| PROXY \nW: 1s\nC| TCP4 \nW: 1s\nC| 198.51.\nW: 999ms\nC| 100.", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &recorder{}
				s := &Server{Hostname: "mx.test", Handler: h}
				ours, theirs := net.Pipe()
				start := time.Now()
				var took time.Duration
				done := make(chan struct{})
				go func() {
					s.ServePortConn(fromAddr{theirs, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.9:7"))}, behindProxy)
					took = time.Since(start)
					close(done)
				}()
				p := newPlayer(t, ours, dialogue{server: s, handler: h})
				p.play(x.script + "\nCLOSED")
				<-done
				p.sending.Wait()
				if took != x.after {
					t.Errorf("closed after %v", took)
				}
				if len(h.events) > 0 || s.door.count() != 0 {
					t.Errorf("%v; %d counted", h.events, s.door.count())
				}
				_ = s.Shutdown(t.Context())
			})
		})
	}
}

// From one who is no proxy of ours a header is what it looks like, and changes nothing.
func TestF4_headerOfAStranger(t *testing.T) {
	for name, header := range map[string]string{"v1": proxied, "v2": escaped(v2(0x21, 0x11, v4Pair, 0))} {
		for _, from := range []string{"192.0.2.8:7", ""} {
			t.Run(name+from, func(t *testing.T) {
				h := &recorder{}
				remote := ""
				h.setup = func(c *Conn) { remote = c.RemoteAddr().String() }
				dialogue{handler: h, port: behindProxy, from: from}.run(t, "C| "+header+`
					C: EHLO x
					S: 220
					S: 554 5.5.1
					CLOSED
				`)
				if strings.HasPrefix(remote, "198.51") || remote != from && from != "" {
					t.Errorf("taken for %s", remote)
				}
			})
		}
	}
}

// A proxy sends the header in front of the ClientHello, whole or in the same segment.
func TestF4_proxyBeforeTLS(t *testing.T) {
	for _, together := range []bool{true, false} {
		h := &recorder{}
		var conn *Conn
		h.setup = func(c *Conn) { conn = c }
		d := dialogue{handler: h, server: &Server{TLS: testTLS()}, from: "192.0.2.9:7", port: &Port{TLS: true, Proxies: behindProxy.Proxies}}
		if together {
			d.first = unescape(proxied)
			d.run(t, "TLS mx.test\nS: 220\nC: EHLO x\nS: 250\nC: QUIT\nS: 221")
		} else {
			d.run(t, "C| "+proxied+"\nTLS mx.test\nS: 220\nC: EHLO x\nS: 250\nC: QUIT\nS: 221")
		}
		if conn == nil || conn.RemoteAddr().String() != "198.51.100.7:4096" || conn.TLS() == nil {
			t.Errorf("together %v: %+v", together, conn)
		}
	}
}

// What a proxy's client says before the banner is talking early, though it came with the header.
func TestF4_earlyTalkerBehindProxy(t *testing.T) {
	dialogue{server: &Server{Timeouts: Timeouts{Greeting: time.Second}}, port: behindProxy, from: "192.0.2.9:7"}.run(t,
		"C| "+proxied+"EHLO x\\r\\n\nS: 554 5.5.1\nCLOSED")
	h := &recorder{}
	spoke := map[bool]bool{}
	h.setup = func(c *Conn) { spoke[c.Spoke()] = true }
	dialogue{handler: h, port: behindProxy, from: "192.0.2.9:7"}.run(t, "C| "+proxied+"EHLO x\\r\\n\nS: 220\nS: 250")
	if !spoke[true] {
		t.Error("not noticed")
	}
	dialogue{handler: h, port: behindProxy, from: "192.0.2.9:7"}.run(t, "C| "+proxied+"\nS: 220\nC: EHLO x\nS: 250")
	if !spoke[false] {
		t.Error("noticed for nothing")
	}
}

// And who is asked whether it is welcome can see that.
func TestF4_earlyTalkerIsKnown(t *testing.T) {
	for behind, want := range map[string]bool{"EHLO x\\r\\n": true, "": false} {
		h := &recorder{}
		early := !want
		h.setup = func(c *Conn) { early = c.EarlyTalker() }
		dialogue{handler: h, port: behindProxy, from: "192.0.2.9:7"}.run(t, "C| "+proxied+behind+"\nS: 220")
		if early != want {
			t.Errorf("%q behind the header: early %v", behind, early)
		}
	}
}

// The client a proxy names is counted, not the proxy; one that waits for its header
// counts against the whole.
func TestG2_limitsBehindProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Hostname: "mx.test", Handler: &recorder{}, Limits: Limits{PerIP: 1, Connections: 3}}
		var open []net.Conn
		dial := func(header, want string) net.Conn {
			synctest.Wait() // whoever left before has been counted out
			ours, theirs := net.Pipe()
			go s.ServePortConn(fromAddr{theirs, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.9:7"))}, behindProxy)
			if header != "" {
				_, _ = io.WriteString(ours, header)
			}
			open = append(open, ours)
			if want == "" {
				return ours
			}
			b := make([]byte, 100)
			if n, err := ours.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), want) {
				t.Errorf("%q: %q, %v, want %s", header, b[:n], err, want)
			}
			return ours
		}
		dial("PROXY TCP4 198.51.100.7 203.0.113.1 4096 25\r\n", "220")
		dial("PROXY TCP4 198.51.100.7 203.0.113.1 4097 25\r\n", "421 4.7.0")
		dial("PROXY TCP4 198.51.100.8 203.0.113.1 4098 25\r\n", "220")
		waits := dial("", "")
		synctest.Wait()
		dial("", "421 4.7.0") // the fourth of three: before its header is read
		waits.Close()
		synctest.Wait()
		dial("PROXY TCP4 198.51.100.9 203.0.113.1 4099 25\r\n", "220")
		for _, c := range open {
			c.Close()
		}
		synctest.Wait()
		if s.door.count() != 0 || len(s.door.perIP) != 0 {
			t.Errorf("%d left, %v", s.door.count(), s.door.perIP)
		}
		_ = s.Shutdown(t.Context())
	})
}
