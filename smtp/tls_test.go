package smtp

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/mail"
)

var testTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.test"}, DNSNames: []string{"mx.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{"smtp"},
	}
})

func sayTLS(t *testing.T, script string) {
	t.Helper()
	dialogue{server: &Server{TLS: testTLS()}}.run(t, script)
}

func TestE1_injection(t *testing.T) {
	sayTLS(t, `
		S: 220
		C: EHLO x
		S: 250
		C: STARTTLS
		C: NOOP
		C: MAIL FROM:<smug@x.test>
		S: 554 5.5.0
		CLOSED
		E- MAIL
	`)
	sayTLS(t, `
		S: 220
		C: EHLO x
		S: 250
		C: STARTTLS x
		S: 501
		C: STARTTLSX
		S: 500
		C: NOOP
		S: 250
	`)
}

// Plaintext that reaches us behind the 220 belongs to no command.
func TestE1_plaintextAfter220(t *testing.T) {
	sayTLS(t, `
		S: 220
		C: EHLO x
		S: 250
		C: STARTTLS
		S: 220
		C: MAIL FROM:<smug@x.test>
		CLOSED
		E- MAIL
	`)
}

func TestE2_forgetsWhatWasBefore(t *testing.T) {
	h := &recorder{}
	var conn *Conn
	h.setup = func(c *Conn) {
		conn = c
		c.SetIdentity("someone")
		c.SetTrusted(true)
	}
	dialogue{handler: h, server: &Server{TLS: testTLS()}}.run(t, `
		S: 220
		C: EHLO plain
		S: 250
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<c@d.test>
		S: 250
		C: STARTTLS
		S: 220
		TLS mx.test
		C: RCPT TO:<c@d.test>
		S: 503
		C: MAIL FROM:<early@b.test>
		S: 503
		C: STARTTLS
		S: 503 5.5.1
		C: EHLO secret
		S: 250
		S- STARTTLS
		C: MAIL FROM:<second@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 354
		C: text
		C: .
		C: QUIT
		S: 250
		S: 221
		CLOSED
		M: text\r\n
		E: MESSAGE ESMTPS
	`)
	if conn.Identity() != "" || conn.trusted || conn.TLS() == nil || conn.Hello() != "secret" {
		t.Errorf("identity %q, trusted %v, hello %q", conn.Identity(), conn.trusted, conn.Hello())
	}
}

func TestE2_implicitTLS(t *testing.T) {
	dialogue{server: &Server{TLS: testTLS()}, tls: true}.run(t, `
		TLS mx.test
		S: 220
		C: EHLO x
		S: 250
		S- STARTTLS
		C: STARTTLS
		S: 503
		C: QUIT
		S: 221
		CLOSED
	`)
}

func TestE3_garbage(t *testing.T) {
	sayTLS(t, `
		S: 220
		C: EHLO x
		S: 250
		C: STARTTLS
		S: 220
		C| \xff\xff\xff\xff\xff\xff\xff\xff
		CLOSED
	`)
}

func TestE3_G1_stalledHandshake(t *testing.T) {
	for _, piece := range []string{"", "\x16"} {
		synctest.Test(t, func(t *testing.T) {
			s := &Server{Hostname: "mx.test", Handler: &recorder{}, TLS: testTLS()}
			ours, theirs := net.Pipe()
			start := time.Now()
			var wg sync.WaitGroup
			wg.Go(func() {
				if piece != "" {
					trickle(ours, 9*time.Second, "\x16\x03\x01\x02\x00\x01\x00", 1)
					trickle(ours, 9*time.Second, "\x00", 100)
				}
			})
			wg.Go(func() { _, _ = io.Copy(io.Discard, ours) })
			s.ServeConn(theirs, true)
			if d := time.Since(start); d > 35*time.Second { // 30 s and what close_notify may take
				t.Errorf("closed after %v", d)
			}
			ours.Close()
			wg.Wait()
			s.cancel()
		})
	}
}

func TestE3_unknownNameGetsTheDefaultCertificate(t *testing.T) {
	for _, name := range []string{"", " other.test"} {
		sayTLS(t, `
			S: 220
			C: EHLO plain
			S: 250
			C: STARTTLS
			S: 220
			TLS`+name+`
			C: EHLO x
			S: 250
		`)
	}
}

// handshakeWith tries one client configuration against a server in a bubble.
func handshakeWith(t *testing.T, cfg *tls.Config) (state tls.ConnectionState, err error) {
	cfg.InsecureSkipVerify = true
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Hostname: "mx.test", Handler: &recorder{connect: func(*Conn) *mail.Reply { r := mail.R(421, "", "bye"); return &r }}, TLS: testTLS()}
		ours, theirs := net.Pipe()
		var wg sync.WaitGroup
		wg.Go(func() { s.ServeConn(theirs, true) })
		c := tls.Client(ours, cfg)
		if err = c.Handshake(); err == nil {
			_, _ = io.ReadAll(c) // tickets come behind the handshake
		}
		state = c.ConnectionState()
		ours.Close()
		wg.Wait()
		s.cancel()
	})
	return state, err
}

func TestE4_oldVersions(t *testing.T) {
	for v, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		_, err := handshakeWith(t, &tls.Config{MinVersion: v, MaxVersion: v})
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(v), err)
		}
	}
}

type ticketCounter struct {
	tls.ClientSessionCache
	n int
}

func (c *ticketCounter) Put(key string, s *tls.ClientSessionState) {
	c.n++
	c.ClientSessionCache.Put(key, s)
}

func TestE4_noTickets(t *testing.T) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := &ticketCounter{ClientSessionCache: tls.NewLRUClientSessionCache(10)}
		if _, err := handshakeWith(t, &tls.Config{ServerName: "mx.test", MaxVersion: v, ClientSessionCache: cache}); err != nil {
			t.Fatal(err)
		}
		if cache.n != 0 {
			t.Errorf("%s: %d session tickets", tls.VersionName(v), cache.n)
		}
	}
}

func TestE4_alpnIgnored(t *testing.T) {
	state, err := handshakeWith(t, &tls.Config{NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || state.NegotiatedProtocol != "" {
		t.Errorf("%q, %v", state.NegotiatedProtocol, err)
	}
}

// REQUIRETLS is no parameter we know, in plaintext or not (RFC 8689 §4.1: it may
// not be offered in plaintext), so nobody can believe that it holds.
func TestD6_notOffered(t *testing.T) {
	sayTLS(t, `
		S: 220
		C: EHLO x
		S: 250
		S- REQUIRETLS
		C: MAIL FROM:<a@b.test> REQUIRETLS
		S: 555 5.5.4
		E- MAIL
		C: STARTTLS
		S: 220
		TLS mx.test
		C: EHLO x
		S: 250
		S- REQUIRETLS
		C: MAIL FROM:<a@b.test> REQUIRETLS
		S: 555 5.5.4
		E- MAIL
		C: RCPT TO:<c@d.test>
		S: 503
	`)
}

// A client that begins a second handshake (RFC 5746) is cut off. It takes a client
// that can: crypto/tls cannot.
func TestE4_renegotiation(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	s := &Server{Hostname: "mx.test", Handler: &recorder{}, TLS: testTLS()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.ServeTLS(l) }()
	// Now and then openssl takes its command for text; then it is asked again.
	said, err := "", error(nil)
	for range 5 {
		if said, err = renegotiate(t, openssl, l.Addr().String()); strings.Contains(said, "RENEGOTIATING") {
			break
		}
	}
	if err == nil {
		t.Error("openssl is content")
	}
	if !strings.Contains(said, "RENEGOTIATING") || !strings.Contains(said, "unexpected message") {
		t.Errorf("openssl said\n%s", said)
	}
	_ = s.Shutdown(t.Context())
	<-served
	if h := s.Handler.(*recorder); h.count("MAIL") != 0 {
		t.Error("MAIL was run")
	}
}

// renegotiate has openssl ask for a new handshake, and returns what it said.
func renegotiate(t *testing.T, openssl, addr string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, openssl, "s_client", "-connect", addr, "-tls1_2", "-crlf")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		failed <- cmd.Wait()
		w.Close()
	}()
	_, _ = io.WriteString(in, "EHLO x\n")
	var said strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		switch text := lines.Text(); {
		case strings.HasPrefix(text, "250 "):
			// R at the start of what it reads asks for a new handshake.
			_, _ = io.WriteString(in, "R\n")
		case strings.HasPrefix(text, "RENEGOTIATING"):
			_, _ = io.WriteString(in, "MAIL FROM:<a@b.test>\n") // must not be run
		case strings.HasPrefix(text, "500 "):
			_ = in.Close() // R was sent as text
		}
	}
	return said.String(), <-failed
}
