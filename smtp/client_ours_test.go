package smtp

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// Our two halves understand one another, by DATA and BDAT, with and without TLS,
// in memory where nothing is buffered between them.
func TestPeer_ourServer(t *testing.T) {
	for name, o := range map[string]ClientOptions{
		"BDAT":      {TLS: TLSNever},
		"DATA":      {TLS: TLSNever, NoChunking: true},
		"BDAT, TLS": {},
		"DATA, TLS": {NoChunking: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &recorder{}
				server := &Server{Hostname: "mx.test", Handler: h, TLS: smtptest.TLSConfig()}
				ours, theirs := net.Pipe()
				go server.ServeConn(theirs, false)
				o.Hello = "us.test"
				c, err := NewClient(t.Context(), ours, o)
				mustClient(t, c, err)
				if _, encrypted := c.TLS(); encrypted != (o.TLS != TLSNever) {
					t.Errorf("TLS: %v", encrypted)
				}
				bodies := []string{"Subject: x\r\n\r\n.\r\n..\r\n", strings.Repeat(".0123456\r\n", 30000), "no end"}
				for _, body := range bodies {
					x := clientTransaction(`"a b> X=Y"@mx.test`, "no@mx.test", "c@mx.test")
					x.Bytes = []byte(body)
					res := mustSend(t, c, x)
					if !res.Recipients[0].Delivered() || res.Recipients[1].Reply != mail.R(550, "5.1.1", "No such user") || !res.Recipients[2].Delivered() || !res.Reusable {
						t.Fatalf("%+v", res)
					}
				}
				if res := mustSend(t, c, clientTransaction("no@mx.test")); res.DotSent || !res.Reusable {
					t.Errorf("%+v", res)
				}
				many := clientTransaction()
				for range 90 {
					many.Recipients = append(many.Recipients, mail.Recipient{Address: mail.NewAddress(strings.Repeat("x", 60) + "@mx.test")})
				}
				if res := mustSend(t, c, many); !res.Recipients[89].Delivered() {
					t.Errorf("%+v", res.Recipients[89])
				}
				if err := c.Quit(t.Context()); err != nil {
					t.Errorf("QUIT: %v", err)
				}
				synctest.Wait()
				for i, body := range bodies {
					if !strings.HasSuffix(body, "\r\n") {
						body += "\r\n"
					}
					if h.messages[i] != body {
						t.Errorf("message %d: %d octets of %d", i, len(h.messages[i]), len(body))
					}
				}
				if h.count(`RCPT "a b> X=Y"@mx.test`) != 3 {
					t.Errorf("events: %q", h.events)
				}
			})
		})
	}
}
