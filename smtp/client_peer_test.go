package smtp

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// BDAT: two round trips; the chunk leaves after the recipients were accepted, with its octets.
func TestC5_chunking(t *testing.T) {
	clientSays(t, helloWith("PIPELINING", "CHUNKING", "SIZE")+`
		C: MAIL FROM:<a@us.test> SIZE=18
		C! RCPT TO:<b@mx.test>
		S: 250 ok
		S: 250 ok
		C: BDAT 18 LAST
		C: Subject: x
		C:
		C! hi
		S: 451 4.3.0 not now
		C: RSET
		C: MAIL FROM:<a@us.test> SIZE=4
		C: RCPT TO:<b@mx.test>
		C! RCPT TO:<c@mx.test>
		S: 250 ok
		S: 250 ok
		S: 250 ok
		S: 550 5.1.1 no
		C: BDAT 6 LAST
		C! ..hi
		S: 250 2.0.0 taken
		C: MAIL FROM:<a@us.test> SIZE=18
		C! RCPT TO:<c@mx.test>
		S: 250 ok
		S: 550 5.1.1 no
		eof
	`, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		c, err := dial(ClientOptions{})
		mustClient(t, c, err)
		wantClientResult(t, mustSend(t, c, clientTransaction("b@mx.test")), "dot 451 4.3.0 not now")
		x := clientTransaction("b@mx.test", "c@mx.test")
		x.Bytes = []byte("..hi") // no end of line: it gets one
		wantClientResult(t, mustSend(t, c, x), "dot 250 2.0.0 taken", "rcpt 550 5.1.1 no")
		// Nobody to send it to: the chunk stays here.
		wantClientResult(t, mustSend(t, c, clientTransaction("c@mx.test")), "rcpt 550 5.1.1 no")
	})
	clientSays(t, helloWith("PIPELINING", "CHUNKING")+"C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nS: 250 taken\neof",
		func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
			c, err := dial(ClientOptions{NoChunking: true})
			mustClient(t, c, err)
			wantClientResult(t, mustSend(t, c, clientTransaction("b@mx.test")), "dot 250 taken")
		})
}

func TestLMTP_replyForEachRecipient(t *testing.T) {
	x := clientTransaction("b@mx.test", "no@mx.test", "c@mx.test", "full@mx.test")
	synctest.Test(t, func(t *testing.T) {
		sink := &smtptest.Sink{LMTP: true}
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		sink.On("DOT", "<full@", smtptest.Answer{Reply: "452 4.2.2 Mailbox full"})
		defer sink.Close()
		c, err := NewClient(t.Context(), sink.Dial(), ClientOptions{Hello: "us.test", LMTP: true})
		mustClient(t, c, err)
		res := mustSend(t, c, x)
		wantClientResult(t, res, "dot 250 2.0.0 Taken for <b@mx.test>", "rcpt 550 5.1.1 No such user",
			"dot 250 2.0.0 Taken for <c@mx.test>", "dot 452 4.2.2 Mailbox full")
		if !res.Reusable {
			t.Error("not reusable")
		}
	})
	hello := "S: 220 mx.test LMTP\nC! LHLO us.test\nS: 250-mx.test\nS: 250 PIPELINING\n"
	for name, tc := range map[string]struct {
		script string
		want   []string
		broken bool
	}{
		"cut between replies": {"C: *\nC: *\nC: *\nC: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nS: 250 2.0.0 b has it\nS: 452 4.2.2 c is full\ncut",
			[]string{"dot 250 2.0.0 b has it", "rcpt 550 no", "dot 452 4.2.2 c is full", "dot"}, true},
		"421 between replies": {"C: *\nC: *\nC: *\nC: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nS: 250 2.0.0 b has it\nS: 421 4.3.2 bye\ncut",
			[]string{"dot 250 2.0.0 b has it", "rcpt 550 no", "dot 421 4.3.2 bye", "dot 421 4.3.2 bye"}, false},
		"354 for nobody": {"C: *\nC: *\nC: *\nC: *\nC: *\nC! DATA\nS: 250 ok\nS: 550 no\nS: 550 no\nS: 550 no\nS: 550 no\nS: 354 go\neof",
			[]string{"rcpt 550 no", "rcpt 550 no", "rcpt 550 no", "rcpt 550 no"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			clientSays(t, hello+tc.script, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				c, err := dial(ClientOptions{LMTP: true})
				mustClient(t, c, err)
				res, err := c.Send(t.Context(), x)
				wantClientResult(t, res, tc.want...)
				if (err != nil) != tc.broken || res.Reusable {
					t.Errorf("%+v, %v", res, err)
				}
			})
		})
	}
	t.Run("no HELO for LMTP", func(t *testing.T) {
		clientSays(t, "S: 220 mx.test\nC! LHLO us.test\nS: 500 what\nC: QUIT\neof", func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
			if _, err := dial(ClientOptions{LMTP: true}); err == nil {
				t.Error("no error")
			}
		})
	})
}

// goPeer is a go-smtp backend that keeps what it gets.
type goPeer struct {
	mu    sync.Mutex
	from  []string
	to    []string
	data  [][]byte
	sizes []int64
}

func (p *goPeer) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return &goPeerSession{p}, nil }

type goPeerSession struct{ *goPeer }

func (s *goPeerSession) Reset()        {}
func (s *goPeerSession) Logout() error { return nil }
func (s *goPeerSession) Mail(from string, o *gosmtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from, s.sizes = append(s.from, from), append(s.sizes, o.Size)
	return nil
}
func (s *goPeerSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "no@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "No such user"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = append(s.to, to)
	return nil
}
func (s *goPeerSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = append(s.data, b)
	return err
}

// An independent server understands us: go-smtp, by DATA and BDAT, in plaintext and TLS.
func TestPeer_goSMTPServer(t *testing.T) {
	for _, o := range []ClientOptions{{}, {NoChunking: true}, {TLS: TLSNever}, {NoChunking: true, TLS: TLSNever}} {
		peer := &goPeer{}
		server := gosmtp.NewServer(peer)
		server.Domain, server.EnableSMTPUTF8, server.TLSConfig = "mx.test", true, smtptest.TLSConfig()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(l) }()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		o.Hello = "us.test"
		c, err := NewClient(t.Context(), conn, o)
		mustClient(t, c, err)
		if _, encrypted := c.TLS(); encrypted != (o.TLS != TLSNever) {
			t.Errorf("TLS: %v", encrypted)
		}
		large := bytes.Repeat([]byte(".0123456\r\n..\r\n"), 20000)
		bodies := [][]byte{[]byte("Subject: x\r\n\r\n.\r\n"), large, []byte("Subject: y\r\n\r\nend\r\n")}
		for i, body := range bodies {
			x := clientTransaction("b@mx.test", "no@mx.test", "jörg@mx.test")
			x.Bytes, x.BodyType = body, mail.Body8BitMIME
			if i == 2 {
				x.Bytes, x.Data = nil, func() (io.Reader, error) { return bytes.NewReader(body), nil }
			}
			res := mustSend(t, c, x)
			if !res.Recipients[0].Delivered() || !res.Recipients[2].Delivered() || !res.Reusable {
				t.Errorf("%+v", res)
			}
			if r := res.Recipients[1]; r.Stage != StageRcpt || r.Reply != mail.R(550, "5.1.1", "No such user") {
				t.Errorf("%+v", r)
			}
		}
		if res := mustSend(t, c, clientTransaction("no@mx.test")); res.Recipients[0].Reply.Code != 550 || !res.Reusable {
			t.Errorf("%+v", res)
		}
		if err := c.Quit(t.Context()); err != nil {
			t.Errorf("QUIT: %v", err)
		}
		server.Close()
		<-served
		if len(peer.data) != 3 || strings.Join(peer.to, " ") != strings.TrimSpace(strings.Repeat("b@mx.test jörg@mx.test ", 3)) {
			t.Errorf("%d messages to %v", len(peer.data), peer.to)
		}
		for i, body := range bodies {
			if !bytes.Equal(peer.data[i], body) {
				t.Errorf("message %d: %d octets of %d", i, len(peer.data[i]), len(body))
			}
		}
	}
}
