package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

func TestJ1_startTLS(t *testing.T) {
	clientSays(t, helloWith("STARTTLS", "PIPELINING")+`
		C! STARTTLS
		S: 220 2.0.0 Go ahead
		tls
		C! EHLO us.test
		S: 250-mx.test
		S: 250 8BITMIME
		eof
	`, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		c, err := dial(ClientOptions{Host: "some.other.test"})
		mustClient(t, c, err)
		if state, ok := c.TLS(); !ok || state.Version != tls.VersionTLS13 || state.ServerName != "some.other.test" {
			t.Errorf("TLS %v, %+v", ok, state.ServerName)
		}
		// RFC 3207 §4.2: what the plaintext EHLO offered is forgotten.
		if e := c.Extensions(); e.Pipelining || e.StartTLS || !e.EightBitMIME {
			t.Errorf("%+v", e)
		}
		if !c.Usable() {
			t.Error("not usable")
		}
	})
}

// E1, the client's half: plaintext behind the 220 is never read as if it had come through TLS.
func TestE1_responseInjection(t *testing.T) {
	for _, policy := range []TLSPolicy{TLSOpportunistic, TLSRequired} {
		clientSays(t, helloWith("STARTTLS")+`
			C! STARTTLS
			S: 220 2.0.0 Go ahead
			S: 250-mx.test
			S: 250 PIPELINING
			eof
		`, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
			_, err := dial(ClientOptions{TLS: policy})
			var tlsErr *TLSError
			if !errors.As(err, &tlsErr) || !errors.Is(err, ErrStartTLSInjection) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A handshake that fails ends the connection; nothing is said in plaintext.
func TestJ1_handshakeFails(t *testing.T) {
	for name, tc := range map[string]struct {
		end     string
		timeout bool
	}{
		"cut":     {"cut", false},
		"garbage": {`flood 1KiB "250 never mind\r\n"`, false},
		"hangs":   {"hang", true},
	} {
		t.Run(name, func(t *testing.T) {
			clientSays(t, helloWith("STARTTLS")+"C! STARTTLS\nS: 220 Go ahead\nread 5\n"+tc.end, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				start := time.Now()
				_, err := dial(ClientOptions{})
				var tlsErr *TLSError
				if !errors.As(err, &tlsErr) || errors.Is(err, os.ErrDeadlineExceeded) != tc.timeout {
					t.Errorf("error %v, want a TLSError", err)
				}
				if d := time.Since(start); tc.timeout && d != time.Minute {
					t.Errorf("after %v", d)
				}
			})
		})
	}
	t.Run("certificate", func(t *testing.T) {
		clientSays(t, helloWith("STARTTLS")+"C! STARTTLS\nS: 220 Go ahead\ntls refused", func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
			roots := x509.NewCertPool()
			roots.AddCert(smtptest.TLSConfig().Certificates[0].Leaf)
			c, err := dial(ClientOptions{TLS: TLSRequired, Host: "mx2.test", TLSConfig: &tls.Config{RootCAs: roots}})
			var tlsErr *TLSError
			var name x509.HostnameError
			if c != nil || !errors.As(err, &tlsErr) || !errors.As(err, &name) {
				t.Errorf("error %v", err)
			}
		})
	})
}

func TestJ5_startTLSRefused(t *testing.T) {
	script := helloWith("STARTTLS") + "C! STARTTLS\nS: 454 4.7.0 TLS not available\neof"
	clientSays(t, script, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		c, err := dial(ClientOptions{})
		mustClient(t, c, err)
		if r := c.StartTLSReply(); r.Code != 454 {
			t.Errorf("reply %v", r)
		}
	})
	clientSays(t, script, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		_, err := dial(ClientOptions{TLS: TLSRequired})
		var tlsErr *TLSError
		if !errors.As(err, &tlsErr) || tlsErr.Reply.Code != 454 || !errors.Is(err, ErrNoStartTLS) {
			t.Errorf("error %v", err)
		}
	})
	clientSays(t, helloWith("8BITMIME")+"eof", func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		if _, err := dial(ClientOptions{TLS: TLSRequired}); !errors.Is(err, ErrNoStartTLS) {
			t.Errorf("error %v", err)
		}
	})
	clientSays(t, helloWith("STARTTLS")+"eof", func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		c, err := dial(ClientOptions{TLS: TLSNever})
		mustClient(t, c, err)
	})
}

func TestD6_requireTLS(t *testing.T) {
	const local = "local 550 5.7.30 Message requires TLS and the host does not offer REQUIRETLS"
	for name, tc := range map[string]struct {
		sink *smtptest.Sink
		want string
	}{
		"plaintext":            {&smtptest.Sink{Extensions: []string{"8BITMIME", "REQUIRETLS"}}, local},
		"TLS, not offered":     {&smtptest.Sink{Extensions: []string{"8BITMIME"}, TLS: smtptest.TLSConfig()}, local},
		"TLS, offered":         {&smtptest.Sink{Extensions: []string{"8BITMIME", "REQUIRETLS"}, TLS: smtptest.TLSConfig()}, "dot 250 2.0.0 Taken"},
		"implicit TLS, offers": {&smtptest.Sink{Extensions: []string{"8BITMIME", "REQUIRETLS"}, TLS: smtptest.TLSConfig(), Implicit: true}, "dot 250 2.0.0 Taken"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer tc.sink.Close()
				o := ClientOptions{Hello: "us.test"}
				if tc.sink.Implicit {
					o.TLS, o.TLSConfig = TLSImplicit, &tls.Config{InsecureSkipVerify: true}
				}
				c, err := NewClient(t.Context(), tc.sink.Dial(), o)
				mustClient(t, c, err)
				x := clientTransaction("b@mx.test")
				x.RequireTLS = true
				wantClientResult(t, mustSend(t, c, x), tc.want)
				if m := tc.sink.Messages(); len(m) == 1 && (m[0].From != "<a@us.test> BODY=8BITMIME REQUIRETLS" && m[0].From != "<a@us.test> REQUIRETLS" || !m[0].TLS) {
					t.Errorf("%+v", m[0])
				}
			})
		})
	}
}

// I6 on real sockets, in plaintext and over TLS: Usable sees what lies in the
// socket, or in the TLS connection, without waiting.
func TestI6_usableOnSockets(t *testing.T) {
	for _, policy := range []TLSPolicy{TLSNever, TLSOpportunistic} {
		for name, tc := range map[string]struct {
			end    string
			usable bool
		}{
			"quiet": {"C: QUIT", true},
			"EOF":   {"cut", false},
			"reset": {"reset", false},
			"421":   {"S: 421 4.4.2 Idle\nhang", false},
		} {
			t.Run(name, func(t *testing.T) {
				script := helloWith("STARTTLS")
				if policy != TLSNever {
					script += "C! STARTTLS\nS: 220 go\ntls\nC: EHLO us.test\nS: 250 mx.test\n"
				}
				// The remote goes on when it is told to, by a NOOP past the client.
				script += "C: NOOP\n" + tc.end
				conn, err := net.Dial("tcp", smtptest.Listen(t, script))
				if err != nil {
					t.Fatal(err)
				}
				c, err := NewClient(t.Context(), conn, ClientOptions{Hello: "us.test", TLS: policy})
				mustClient(t, c, err)
				if !c.Usable() {
					t.Fatal("not usable before")
				}
				c.conn.Write([]byte("NOOP\r\n"))
				if tc.usable {
					if !c.Usable() {
						t.Error("not usable")
					}
					c.conn.Write([]byte("QUIT\r\n"))
					return
				}
				for c.Usable() { // until the kernel has carried it over; the test's own deadline ends it
					if t.Context().Err() != nil {
						t.Fatal("still usable")
					}
				}
			})
		}
	}
}

// A cancelled context cuts what is under way, wherever it waits.
func TestI5_cancel(t *testing.T) {
	stop := errors.New("the node is draining")
	for name, script := range map[string]string{
		"reply":     helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nhang",
		"handshake": helloWith("STARTTLS") + "C! STARTTLS\nS: 220 go\nhang",
		"body":      helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nhang",
		"dot":       helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nhang",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(30*time.Second, func() { cancel(stop) })
				start := time.Now()
				c, err := NewClient(ctx, smtptest.Start(t, script), ClientOptions{Hello: "us.test"})
				var res Result
				if err == nil {
					x := clientTransaction("b@mx.test")
					x.Bytes = []byte(strings.Repeat("0123456\r\n", 20000))
					res, err = c.Send(ctx, x)
				}
				if !errors.Is(err, stop) || time.Since(start) != 30*time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				if res.Reusable || res.Stale || res.DotSent != (name == "dot") {
					t.Errorf("%+v", res)
				}
			})
		})
	}
}

// A 421 that came in one segment with the last reply lies in the TLS connection,
// where the socket knows nothing of it.
func TestI6_unusableByTLSRecord(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		held := &heldConn{Conn: raw}
		conn := tls.Server(held, smtptest.TLSConfig())
		line := make([]byte, 512)
		conn.Write([]byte("220 mx.test\r\n"))
		conn.Read(line)
		held.hold = true
		conn.Write([]byte("250 mx.test\r\n"))
		conn.Write([]byte("421 4.3.2 bye\r\n"))
		raw.Write(held.held)
		raw.Read(line) // until the client hangs up
		raw.Close()
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(t.Context(), conn, ClientOptions{Hello: "us.test", TLS: TLSImplicit, TLSConfig: &tls.Config{InsecureSkipVerify: true}})
	mustClient(t, c, err)
	if c.Usable() {
		t.Error("usable")
	}
}

// heldConn keeps what is written back while hold is set.
type heldConn struct {
	net.Conn
	hold bool
	held []byte
}

func (h *heldConn) Write(p []byte) (int, error) {
	if h.hold {
		h.held = append(h.held, p...)
		return len(p), nil
	}
	return h.Conn.Write(p)
}
