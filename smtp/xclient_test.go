package smtp

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

var xclientPort = &Port{XClients: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/32")}}

func TestF4_xclientOfAStranger(t *testing.T) {
	dialogue{port: xclientPort, from: "192.0.2.8:7"}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		S- XCLIENT
		C: XCLIENT ADDR=198.51.100.7
		S: 550 5.7.0
		E- COMMAND
		C: MAIL FROM:<a@b.test>
		S: 250
	`)
}

func TestXClient(t *testing.T) {
	h := &recorder{}
	var conns []string
	var c *Conn
	h.setup = func(conn *Conn) {
		c = conn
		name, known := c.RemoteName()
		if known {
			name = "known " + name
		}
		conns = append(conns, strings.Join([]string{c.RemoteAddr().String(), c.LocalAddr().String(), name, c.Identity(), c.Hello()}, "|"))
	}
	dialogue{handler: h, port: xclientPort, from: "192.0.2.9:7"}.run(t, `
		S: 220
		C: EHLO proxy.test
		S: 250
		S+ XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
		C: XCLIENT NAME=spike.example.test ADDR=198.51.100.7 PORT=4096
		S: 220 mx.test
		E: CLOSE
		# back at the greeting: nobody has said hello
		C: MAIL FROM:<a@b.test>
		S: 503 5.5.1
		C: EHLO spike.example.test
		S: 250
		S+ XCLIENT
		C: MAIL FROM:<a@b.test>
		S: 250
		C: XCLIENT ADDR=198.51.100.8
		S: 503 5.5.1
		C: RSET
		S: 250
		C: xclient addr=IPV6:2001:db8::1 Port=7 NAME=[unavailable] LOGIN=j+2Bo+C3+B6 DESTADDR=203.0.113.1 DESTPORT=587
		S: 220
		C: XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] LOGIN=[UNAVAILABLE] DESTADDR=[UNAVAILABLE]
		S: 220
	`)
	want := []string{
		"192.0.2.9:7|pipe|||",
		"198.51.100.7:4096|pipe|known spike.example.test||",
		"[2001:db8::1]:7|203.0.113.1:587|known |j+o\xc3\xb6|",
		"unknown|unknown|known ||",
	}
	if strings.Join(conns, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(conns, "\n"), strings.Join(want, "\n"))
	}
}

// HELO and PROTO stand for the client's own word until it says one, and the Session hears them.
func TestXClient_helo(t *testing.T) {
	h := &recorder{}
	var c *Conn
	h.setup = func(conn *Conn) { c = conn }
	dialogue{handler: h, port: xclientPort, from: "192.0.2.9:7"}.run(t, `
		S: 220
		C: EHLO proxy.test
		S: 250
		C: XCLIENT HELO=old.test PROTO=SMTP
		S: 220
		E: HELLO old.test false
		C: XCLIENT NAME=a.test
		S: 220
		C: MAIL FROM:<a@b.test> SIZE=1
		S: 555
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<c@d.test>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
		E: MESSAGE SMTP
		C: XCLIENT HELO=new.test PROTO=ESMTP
		S: 220
		E: HELLO new.test true
		C: EHLO last.test
		S: 250
		C: XCLIENT NAME=b.test
		S: 220
		C: MAIL FROM:<a@b.test>
		S: 503
	`)
	if c.Hello() != "" {
		t.Errorf("hello %q", c.Hello())
	}
}

func TestXClient_syntax(t *testing.T) {
	for _, args := range []string{
		"", " ", " ADDR", " ADDR=", " ADDR=198.51.100.7 ADDR=198.51.100.8", " FOO=1", " ADDR=198.51.100", " ADDR=2001:db8::1", " ADDR=IPV6:198.51.100.7",
		" ADDR=IPV6:fe80::1%25eth0", " PORT=65536", " PORT=-1", " PORT=x", " PROTO=HTTP", " NAME=a..b", " NAME=[198.51.100.7]", " HELO=a+20b", " HELO=a+0D+0Ab",
		" NAME=a+2", " NAME=a+zz", " NAME=a+2b", " NAME=a=b", " LOGIN=a+00b", " DESTADDR=mx.test", " DESTPORT=[TEMPUNAVAIL]", " NAME=" + strings.Repeat("a", 300),
	} {
		t.Run(args, func(t *testing.T) {
			h := &recorder{}
			dialogue{handler: h, port: xclientPort, from: "192.0.2.9:7"}.run(t, `
				S: 220
				C: EHLO x
				S: 250
				C: XCLIENT`+args+`
				S: 501 5.5.4
				C: MAIL FROM:<a@b.test>
				S: 250
			`)
		})
	}
}

// The client is welcome or not as if it had connected itself, and counts as itself.
func TestXClient_refused(t *testing.T) {
	h := &recorder{connect: func(c *Conn) *mail.Reply {
		if strings.HasPrefix(c.RemoteAddr().String(), "198.51.100.6:") {
			r := mail.R(554, "5.7.1", "Not you")
			return &r
		}
		return nil
	}}
	dialogue{handler: h, port: xclientPort, from: "192.0.2.9:7"}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		C: XCLIENT ADDR=198.51.100.6
		S: 554 5.7.1
		CLOSED
	`)
	full := &Server{Limits: Limits{PerIP: 1}}
	full.init()
	full.door.admit(netip.MustParsePrefix("198.51.100.6/32"), full.limits)
	dialogue{server: full, port: xclientPort, from: "192.0.2.9:7"}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		C: XCLIENT ADDR=198.51.100.7
		S: 220
		C: XCLIENT ADDR=198.51.100.6
		S: 421 4.7.0
		CLOSED
	`)
	if len(full.door.perIP) != 1 || full.door.count() != 1 {
		t.Errorf("%v left", full.door.perIP)
	}
}

// FuzzXClient: whatever a listed client sends, what comes of it can be shown, logged and
// counted: no controls, no blanks, lengths as of names.
func FuzzXClient(f *testing.F) {
	for _, s := range []string{
		"NAME=spike.example.test ADDR=198.51.100.7 PORT=4096", "ADDR=IPV6:2001:db8::1 LOGIN=j+2Bo", "HELO=a+0D+0A PROTO=ESMTP",
		"NAME=[UNAVAILABLE] DESTADDR=[TEMPUNAVAIL] DESTPORT=25", "addr=IPV6:::ffff:192.0.2.1", "NAME=+C3+B6.test",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		var s clientOf
		if s.read(args) != "" {
			return
		}
		for _, word := range []string{s.name, s.helo, s.login, s.proto} {
			if len(word) > maxDomain || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				t.Fatalf("%q gave %q", args, word)
			}
		}
		for _, a := range []netip.AddrPort{s.addr, s.dest} {
			if a.Addr().Is4In6() || a.Addr().Zone() != "" {
				t.Fatalf("%q gave %v", args, a)
			}
		}
	})
}
