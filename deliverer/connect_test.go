package deliverer

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

func TestJ1_plaintextOnANewConnectionAfterTLSFailure(t *testing.T) {
	const broken = `
		S: 220 mx1.test
		C: EHLO us.test
		S: 250-mx1.test
		S: 250 STARTTLS
		C: STARTTLS
		S: 220 go
		S: this is no TLS
		S: and never will be
		eof
	`
	const plain = `
		S: 220 mx1.test
		C: EHLO us.test
		S: 250-mx1.test
		S: 250 STARTTLS
		C: MAIL FROM:<a@here.test>
		S: 250 ok
		C: RCPT TO:<b@there.test>
		S: 250 ok
		C: DATA
		S: 354 go
		body
		S: 250 2.0.0 taken
		C: QUIT
	`
	for name, strict := range map[string]bool{"opportunistic": false, "working TLS required": true} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				s.mx("there.test", 1)
				if strict {
					s.script(s.T, 1, broken)
				} else {
					s.script(s.T, 1, broken, plain)
				}
				s.c.RequireWorkingTLS = strict
				s.start()
				id := s.send("b@there.test")
				s.after(30 * time.Second)
				if strict {
					es := s.expect(id, "wait: b deferred 451")
					if got := es[0].next.LastReply.Enhanced.String(); got != "4.7.5" {
						s.Errorf("status %s", got)
					}
					return
				}
				s.expect(id, "done: b delivered 250")
				if st := s.d.Stats(); st.Plaintext != 1 {
					s.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestJ1_anyCertificateWillDo(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{TLS: smtptest.TLSConfig()}
		defer sink.Close()
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		s.send("b@there.test")
		s.after(time.Second)
		if ms := sink.Messages(); len(ms) != 1 || !ms[0].TLS {
			s.Errorf("%+v", ms)
		}
		if !strings.Contains(s.log.String(), "tls=true") {
			s.Errorf("log:\n%s", s.log)
		}
	})
}

func TestI1_HELOAfterEHLOWasCut(t *testing.T) {
	tell(t, func(s *story) {
		s.mx("there.test", 1)
		s.script(s.T, 1, `
			S: 220 mx1.test
			C: EHLO us.test
			cut
		`, `
			S: 220 mx1.test
			C: HELO us.test
			S: 250 mx1.test
			C: MAIL FROM:<a@here.test>
			S: 250 ok
			C: RCPT TO:<b@there.test>
			S: 250 ok
			C: DATA
			S: 354 go
			body
			S: 250 taken
			C: QUIT
		`)
		s.start()
		id := s.send("b@there.test")
		s.after(30 * time.Second)
		s.expect(id, "done: b delivered 250")
	})
}

// A host that lets everybody in and then breaks is no host that answers.
func TestHostThatBreaksEveryTransactionIsLeftAlone(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("MAIL", "", smtptest.Answer{Reply: "421 4.3.2 Come back later"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.c.Rules = one("*", 1, 0)
		s.start()
		var ids []string
		for range 300 {
			ids = append(ids, s.send("b@there.test"))
		}
		s.after(4 * time.Second)
		n := 0
		for _, id := range ids {
			n += len(attempts(s.q.history(id)))
		}
		if n != brokenLimit {
			s.Errorf("%d attempts in the first 4 seconds, want %d", n, brokenLimit)
		}
	})
}

// The addresses of the resolver are dialled as they are, never a name: what was
// checked is what is dialled (K5).
func TestK5_dialsTheAddressThatWasChecked(t *testing.T) {
	tell(t, func(s *story) {
		s.mx("there.test", 1)
		s.start()
		s.send("b@there.test")
		s.after(time.Second)
		for _, a := range s.dialled {
			host, _, err := net.SplitHostPort(a)
			if err != nil || net.ParseIP(host) == nil {
				s.Errorf("dialled %q", a)
			}
		}
		if len(s.dialled) == 0 {
			s.Error("nothing was dialled")
		}
	})
}

func TestRoutes(t *testing.T) {
	rs, err := NewRoutes([]Route{
		{To: "*", Via: "smart.test:25"},
		{To: "*.bench.test", Via: "127.0.0.1:2600"},
		{To: "d1.bench.test", Via: "lmtp:[::1]:24"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for d, want := range map[mail.Domain]string{
		"d1.bench.test": "[::1]:24 true", "d2.bench.test": "127.0.0.1:2600 false", "bench.test": "smart.test:25 false",
	} {
		r, ok := rs.For(d)
		if got := ""; ok {
			got = fmt.Sprint(r.target.addr, " ", r.target.lmtp)
			if got != want {
				t.Errorf("%s: %s, want %s", d, got, want)
			}
		} else {
			t.Errorf("%s: no route", d)
		}
	}
	if _, ok := (*Routes)(nil).For("x"); ok {
		t.Error("no routes have a route")
	}
	for _, bad := range []string{"", "127.0.0.1", ":25", "host:smtp", "host:0", "host:70000", "smtp://host:25"} {
		if _, err := NewRoutes([]Route{{To: "x.test", Via: bad}}); err == nil {
			t.Errorf("via %q passes", bad)
		}
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	q := newMemQueue(t)
	for want, c := range map[string]Config{
		"queue":    {Store: q, Hostname: "us.test"},
		"store":    {Queue: q, Hostname: "us.test"},
		"hostname": {Queue: q, Store: q},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v", want, err)
		}
	}
}

func TestReasonSaysWhyAndNotWhere(t *testing.T) {
	for want, err := range map[string]error{
		"connection refused": &dialError{&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25}, Err: errors.New("connect: connection refused")}},
		"something else":     errors.New("something else"),
	} {
		if got := reason(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
