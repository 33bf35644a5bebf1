package smtp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/tarishi/tarishi/mail"
)

// memBackend is an ordinary go-smtp backend, as its users write them.
type memBackend struct {
	mu       sync.Mutex
	log      []string
	messages []string
	sawTLS   bool
}

func (b *memBackend) note(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, s)
}

func (b *memBackend) NewSession(c *gosmtp.Conn) (gosmtp.Session, error) {
	b.note("new " + c.Hostname())
	if host, _, _ := net.SplitHostPort(c.Conn().RemoteAddr().String()); host != "127.0.0.1" {
		return nil, errors.New("from " + host)
	}
	if h, ok := c.Conn().(interface {
		TLS() *tls.ConnectionState
	}); ok && h.TLS() != nil {
		b.sawTLS = true
	}
	if c.Hostname() == "refused.test" {
		return nil, &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 7, 1}, Message: "Not you"}
	}
	return &memSession{b: b}, nil
}

type memSession struct{ b *memBackend }

func (s *memSession) Mail(from string, o *gosmtp.MailOptions) error {
	s.b.note("mail " + from)
	return nil
}

func (s *memSession) Rcpt(to string, o *gosmtp.RcptOptions) error {
	s.b.note("rcpt " + to)
	if strings.HasPrefix(to, "no") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
	}
	if strings.HasPrefix(to, "broken") {
		return errors.New("the database password is hunter2")
	}
	return nil
}

func (s *memSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.messages = append(s.b.messages, string(b))
	return nil
}

func (s *memSession) Reset()        {}
func (s *memSession) Logout() error { s.b.note("logout"); return nil }

// serveOn starts s on a loopback port for the time of the test.
func serveOn(t testing.TB, s *Server) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = s.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		s.init()
		s.cut()
		l.Close()
		<-done
	})
	return l.Addr().String()
}

// cut ends all connections at once.
func (s *Server) cut() {
	s.mu.Lock()
	s.draining = true
	for c := range s.conns {
		c.cut()
	}
	s.mu.Unlock()
}

// A go-smtp backend behind our server, go-smtp's client in front of it.
func TestGoSMTPClientAndBackend(t *testing.T) {
	b := &memBackend{}
	addr := serveOn(t, &Server{Hostname: "mx.test", Handler: BackendHandler(b), TLS: testTLS()})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := gosmtp.NewClientStartTLS(conn, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if ok, size := c.Extension("SIZE"); !ok || size != "52428800" {
		t.Errorf("SIZE %q", size)
	}
	if err := c.Mail("a@b.test", &gosmtp.MailOptions{Size: 10, Body: gosmtp.Body8BitMIME, UTF8: true}); err != nil {
		t.Fatal(err)
	}
	var se *gosmtp.SMTPError
	if err := c.Rcpt("nobody@d.test", nil); !errors.As(err, &se) || se.Code != 550 || se.EnhancedCode != (gosmtp.EnhancedCode{5, 1, 1}) {
		t.Errorf("%v", err)
	}
	if err := c.Rcpt("broken@d.test", nil); !errors.As(err, &se) || se.Code != 451 || strings.Contains(se.Message, "hunter2") {
		t.Errorf("%v", err)
	}
	if err := c.Rcpt("c@d.test", nil); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	const text = "Subject: hi\r\n\r\n.dot\r\n..\r\n"
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.messages) != 1 || b.messages[0] != text || !b.sawTLS {
		t.Errorf("messages %q, TLS seen: %v", b.messages, b.sawTLS)
	}
	log := strings.Join(b.log, ", ")
	// One session before TLS (for EHLO), one in it.
	if want := "new localhost, logout, new localhost, mail a@b.test, rcpt nobody@d.test, rcpt broken@d.test, rcpt c@d.test"; !strings.HasPrefix(log, want) {
		t.Errorf("log %s", log)
	}
}

func TestBackendRefusesSession(t *testing.T) {
	addr := serveOn(t, &Server{Hostname: "mx.test", Handler: BackendHandler(&memBackend{})})
	c, err := gosmtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var se *gosmtp.SMTPError
	if err := c.Hello("refused.test"); !errors.As(err, &se) || se.Code != 550 {
		t.Errorf("%v", err)
	}
}

func TestErrorReply(t *testing.T) {
	if ErrorReply(nil) != nil {
		t.Error("nil")
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "x"}, "550 5.1.1 x"},
		{&gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.NoEnhancedCode, Message: "x"}, "550 x"},
		{io.ErrClosedPipe, "451 4.0.0 Local error, try again later"},
		{&BodyError{Reply: mail.R(552, "5.3.4", "big")}, "552 5.3.4 big"},
	} {
		if got := ErrorReply(c.err).String(); got != c.want {
			t.Errorf("%v: %s", c.err, got)
		}
	}
}
