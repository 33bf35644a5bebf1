package smtp

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// clientSays runs f in a bubble, against a remote that plays script. A bubble's
// time stands still but for waiting, so durations are exact.
func clientSays(t *testing.T, script string, f func(t *testing.T, dial func(ClientOptions) (*Client, error))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, func(o ClientOptions) (*Client, error) {
			if o.Hello == "" {
				o.Hello = "us.test"
			}
			return NewClient(t.Context(), smtptest.Start(t, script), o)
		})
	})
}

// clientTransaction is a small message for recipients.
func clientTransaction(to ...string) *Transaction {
	t := &Transaction{Sender: mail.NewAddress("a@us.test"), Bytes: []byte("Subject: x\r\n\r\nhi\r\n")}
	for _, r := range to {
		t.Recipients = append(t.Recipients, mail.Recipient{Address: mail.NewAddress(r)})
	}
	return t
}

// wantClientResult compares results with lines such as "dot 250 2.0.0 Taken".
func wantClientResult(t *testing.T, got Result, want ...string) {
	t.Helper()
	var lines []string
	for _, r := range got.Recipients {
		lines = append(lines, strings.TrimSpace(r.Stage.String()+" "+r.Reply.String()))
	}
	if g, w := strings.Join(lines, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("recipients:\n%s\nwant:\n%s", g, w)
	}
}

func mustClient(t *testing.T, c *Client, err error) *Client {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustSend(t *testing.T, c *Client, x *Transaction) Result {
	t.Helper()
	res, err := c.Send(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestI1_greeting(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		code   int // of the RefusedError; 0: another error
		is     error
		after  time.Duration
	}{
		"554":         {script: "S: 554 5.3.2 No mail here\nC: QUIT\neof", code: 554},
		"421":         {script: "S: 421 4.7.0 Too busy\neof", code: 421},
		"521":         {script: "S: 521 mx.test takes no mail\nC: QUIT\neof", code: 521},
		"cut":         {script: "cut", is: io.EOF},
		"none":        {script: "hang", is: os.ErrDeadlineExceeded, after: 5 * time.Minute},
		"drip":        {script: `drip 4m "220 mx.test\r\n"`, is: os.ErrDeadlineExceeded, after: 5 * time.Minute},
		"not smtp":    {script: "S: SSH-2.0-OpenSSH_9.2\neof"},
		"intermediat": {script: "S: 354 what\neof"},
	} {
		t.Run(name, func(t *testing.T) {
			clientSays(t, tc.script, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				start := time.Now()
				_, err := dial(ClientOptions{})
				var refused *RefusedError
				var stage *StageError
				switch {
				case tc.code != 0:
					if !errors.As(err, &refused) || refused.Stage != StageGreeting || refused.Reply.Code != tc.code {
						t.Errorf("error %v, want a refusal with %d", err, tc.code)
					}
				case !errors.As(err, &stage) || stage.Stage != StageGreeting || tc.is != nil && !errors.Is(err, tc.is):
					t.Errorf("error %v, want one at the greeting", err)
				}
				if d := time.Since(start); d != tc.after {
					t.Errorf("after %v, want %v", d, tc.after)
				}
			})
		})
	}
}

func TestI1_heloFallback(t *testing.T) {
	for _, reply := range []string{"500 5.5.1 What?", "501 no", "502 5.5.1 no", "504 no", "550 Spam filter"} {
		clientSays(t, `
			S: 220 mx.test
			C! EHLO us.test
			S: `+reply+`
			C! HELO us.test
			S: 250 mx.test
			C! MAIL FROM:<a@us.test>
			S: 250 ok
			C! RCPT TO:<b@mx.test>
			S: 250 ok
			C! DATA
			S: 354 go
			C: Subject: x
			C:
			C: hi
			C! .
			S: 250 taken
			C! QUIT
			S: 221 bye
		`, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
			c, err := dial(ClientOptions{})
			mustClient(t, c, err)
			if e := c.Extensions(); e.ESMTP || e.Name != "mx.test" {
				t.Errorf("after HELO: %+v", e)
			}
			res := mustSend(t, c, clientTransaction("b@mx.test"))
			wantClientResult(t, res, "dot 250 taken")
			if err := c.Quit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("554 is no reason for HELO", func(t *testing.T) {
		clientSays(t, "S: 220 mx.test\nC: EHLO us.test\nS: 554 5.7.1 Go away\nC: QUIT\neof",
			func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				_, err := dial(ClientOptions{})
				var refused *RefusedError
				if !errors.As(err, &refused) || refused.Stage != StageHello {
					t.Errorf("error %v", err)
				}
			})
	})
	t.Run("HELO is refused too", func(t *testing.T) {
		clientSays(t, "S: 220 mx.test\nC: EHLO us.test\nS: 502 no\nC: HELO us.test\nS: 504 no\nC: QUIT\neof",
			func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				_, err := dial(ClientOptions{})
				var refused *RefusedError
				if !errors.As(err, &refused) || refused.Reply.Code != 504 {
					t.Errorf("error %v", err)
				}
			})
	})
}

func TestI1_ehloCut(t *testing.T) {
	clientSays(t, "S: 220 mx.test\nC: EHLO us.test\ncut", func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		if _, err := dial(ClientOptions{}); !errors.Is(err, ErrHelloCut) {
			t.Errorf("error %v, want ErrHelloCut", err)
		}
	})
	clientSays(t, "S: 220 mx.test\nC! HELO us.test\nS: 250 mx.test\neof", func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		c, err := dial(ClientOptions{ForceHELO: true})
		mustClient(t, c, err)
	})
	// A host that is only slow knows EHLO, as far as we know.
	clientSays(t, "S: 220 mx.test\nC: EHLO us.test\nhang", func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		if _, err := dial(ClientOptions{}); errors.Is(err, ErrHelloCut) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error %v, want a deadline", err)
		}
	})
}

func TestI2_extensions(t *testing.T) {
	clientSays(t, `
		S: 220
		C: EHLO us.test
		S: 250-mx.test at your service
		S: 250-pipelining
		S: 250-Size 1000
		S: 250-AUTH=LOGIN
		S: 250-AUTH PLAIN  CRAM-MD5
		S: 250-limits RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1 NEW=x RCPTMAX=bad
		S: 250-X-GARBAGE `+"\xff\xfe"+`
		S: 250-
		S: 250-8bitmime
		S: 250 chunking
		eof
	`, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		c, err := dial(ClientOptions{})
		e := mustClient(t, c, err).Extensions()
		if !e.ESMTP || !e.Pipelining || !e.EightBitMIME || !e.Chunking || e.SMTPUTF8 || e.StartTLS {
			t.Errorf("%+v", e)
		}
		if e.Name != "mx.test" || e.Size != 1000 || !e.SizeOffered || e.RcptMax != 20 || e.MailMax != 5 || e.RcptDomainMax != 1 {
			t.Errorf("%+v", e)
		}
		if got := strings.Join(e.Auth, " "); got != "LOGIN PLAIN CRAM-MD5" {
			t.Errorf("AUTH %s", got)
		}
	})
}

func TestI5_contextEndsTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		start := time.Now()
		_, err := NewClient(ctx, smtptest.Start(t, "S: 220 mx.test\nC: EHLO us.test\nhang"), ClientOptions{Hello: "us.test"})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 7*time.Second {
			t.Errorf("%v after %v, want the context's deadline after 7s", err, time.Since(start))
		}
	})
}
