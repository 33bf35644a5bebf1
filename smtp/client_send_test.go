package smtp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// helloWith is the opening of a script whose host offers keywords.
func helloWith(keywords ...string) string {
	s := "S: 220 mx.test ESMTP\nC! EHLO us.test\nS: 250-mx.test\n"
	for _, k := range keywords {
		s += "S: 250-" + k + "\n"
	}
	return s + "S: 250 HELP\n"
}

// clientSends plays one transaction.
func clientSends(t *testing.T, script string, x *Transaction, check func(t *testing.T, c *Client, res Result, err error)) {
	t.Helper()
	clientSays(t, script, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
		c, err := dial(ClientOptions{})
		mustClient(t, c, err)
		res, err := c.Send(t.Context(), x)
		check(t, c, res, err)
	})
}

func TestI3_size(t *testing.T) {
	x := clientTransaction("b@mx.test")
	x.Size = 99 // Bytes speak for themselves
	clientSends(t, helloWith("SIZE 17")+"eof", x, func(t *testing.T, c *Client, res Result, err error) {
		wantClientResult(t, res, "local 552 5.3.4 Message is larger than the host takes")
		if err != nil || !res.Reusable || res.DotSent {
			t.Errorf("%+v, %v", res, err)
		}
	})
	for keyword, mailLine := range map[string]string{
		"SIZE 18": "MAIL FROM:<a@us.test> SIZE=18",
		"SIZE 0":  "MAIL FROM:<a@us.test> SIZE=18",
		"SIZE":    "MAIL FROM:<a@us.test> SIZE=18",
		"X":       "MAIL FROM:<a@us.test>",
	} {
		clientSends(t, helloWith(keyword)+"C! "+mailLine+"\nS: 452 4.3.1 Full\neof", clientTransaction("b@mx.test"),
			func(t *testing.T, c *Client, res Result, err error) {
				wantClientResult(t, res, "mail 452 4.3.1 Full")
			})
	}
}

func TestI4_everybodyRefused(t *testing.T) {
	pipelined := helloWith("PIPELINING") + `
		C: MAIL FROM:<a@us.test>
		C: RCPT TO:<b@mx.test>
		C: RCPT TO:<c@mx.test>
		C! DATA
		S: 250 ok
		S: 550 5.1.1 no b
		S: 450 4.2.1 no c
	`
	next := `
		C: RSET
		C: MAIL FROM:<a@us.test>
		C: RCPT TO:<d@mx.test>
		C! DATA
		S: 250 reset
		S: 250 ok
		S: 250 ok
		S: 354 go
		body
		S: 250 2.0.0 taken
		eof
	`
	for name, tc := range map[string]struct{ end, next string }{
		"503":        {"S: 503 5.5.1 no recipients", next},
		"354, dot":   {"S: 354 go\nC! .\nS: 554 5.5.1 no recipients", next},
		"354, taken": {"S: 354 go\nC! .\nS: 250 whatever", next},
	} {
		t.Run(name, func(t *testing.T) {
			clientSays(t, pipelined+tc.end+"\n"+tc.next, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				c, err := dial(ClientOptions{})
				mustClient(t, c, err)
				x := clientTransaction("b@mx.test", "c@mx.test")
				x.BeforeDot = func(context.Context) error { t.Error("BeforeDot for nobody"); return nil }
				res := mustSend(t, c, x)
				wantClientResult(t, res, "rcpt 550 5.1.1 no b", "rcpt 450 4.2.1 no c")
				if res.DotSent || !res.Reusable {
					t.Errorf("%+v", res)
				}
				wantClientResult(t, mustSend(t, c, clientTransaction("d@mx.test")), "dot 250 2.0.0 taken")
			})
		})
	}
	t.Run("one at a time", func(t *testing.T) {
		clientSends(t, helloWith()+"C! MAIL FROM:<a@us.test>\nS: 250 ok\nC! RCPT TO:<b@mx.test>\nS: 550 no\neof", clientTransaction("b@mx.test"),
			func(t *testing.T, c *Client, res Result, err error) { wantClientResult(t, res, "rcpt 550 no") })
	})
	t.Run("MAIL refused", func(t *testing.T) {
		clientSends(t, helloWith("PIPELINING")+`
			C: MAIL FROM:<a@us.test>
			C: RCPT TO:<b@mx.test>
			C! DATA
			S: 550 5.7.1 You are listed
			S: 503 5.5.1 MAIL first
			cut
		`, clientTransaction("b@mx.test"), func(t *testing.T, c *Client, res Result, err error) {
			wantClientResult(t, res, "mail 550 5.7.1 You are listed")
			if err != nil || res.Reusable {
				t.Errorf("everybody has an answer: %v, %+v", err, res)
			}
		})
	})
}

// The times of RFC 5321 §4.5.3.2, each at its place.
func TestI5_timeouts(t *testing.T) {
	mail1, rcpt, data := "C! MAIL FROM:<a@us.test>\nS: 250 ok\n", "C! RCPT TO:<b@mx.test>\nS: 250 ok\n", "C! DATA\nS: 354 go\n"
	for _, tc := range []struct {
		stage  Stage
		script string
		after  time.Duration
		sent   bool
	}{
		{StageMail, "C! MAIL FROM:<a@us.test>\nhang", 5 * time.Minute, false},
		{StageRcpt, mail1 + "C! RCPT TO:<b@mx.test>\nhang", 5 * time.Minute, false},
		{StageData, mail1 + rcpt + "C! DATA\nhang", 2 * time.Minute, false},
		// The body is one block here; the hostile host reads the first octet of it. The
		// second over three minutes is the listening for last words.
		{StageDot, mail1 + rcpt + data + "read 0\nhang", 3*time.Minute + time.Second, true},
		{StageDot, mail1 + rcpt + data + "body\nhang", 10 * time.Minute, true},
		{StageDot, mail1 + rcpt + data + "body\n" + `drip 50s "250 2.0.0 very slow indeed\r\n"`, 10 * time.Minute, true},
	} {
		t.Run(tc.stage.String(), func(t *testing.T) {
			x := clientTransaction("b@mx.test")
			x.Bytes = []byte("Subject: x\r\n\r\n" + strings.Repeat("line\r\n", 100))
			start := time.Time{}
			synctest.Test(t, func(t *testing.T) {
				conn := smtptest.Start(t, helloWith()+tc.script)
				c, err := NewClient(t.Context(), conn, ClientOptions{Hello: "us.test"})
				mustClient(t, c, err)
				start = time.Now()
				res, err := c.Send(t.Context(), x)
				if d := time.Since(start); d != tc.after {
					t.Errorf("after %v, want %v", d, tc.after)
				}
				var stage *StageError
				if !errors.As(err, &stage) || stage.Stage != tc.stage || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("error %v, want a deadline at %v", err, tc.stage)
				}
				if res.DotSent != tc.sent || res.Reusable || res.Stale || !res.Recipients[0].Reply.IsZero() {
					t.Errorf("%+v", res)
				}
			})
		})
	}
}

func TestI5_brokenQuit(t *testing.T) {
	clientSends(t, helloWith("PIPELINING")+"C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nS: 250 2.0.0 taken\nC! QUIT\ncut",
		clientTransaction("b@mx.test"), func(t *testing.T, c *Client, res Result, err error) {
			wantClientResult(t, res, "dot 250 2.0.0 taken")
			if err != nil || !res.Recipients[0].Delivered() {
				t.Errorf("%v", err)
			}
			// A pipe cut as its last octet is taken says so to the writer or to the reader.
			if err := c.Quit(t.Context()); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("QUIT: %v", err)
			}
			if c.Usable() {
				t.Error("usable after QUIT")
			}
		})
}

// A 250 and a hang-up in one breath: delivered, and the connection is not used again.
func TestI5_cutAfterTheReply(t *testing.T) {
	clientSends(t, helloWith("PIPELINING")+"C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nS: 250 2.0.0 taken\nS: 421 4.3.2 bye\ncut",
		clientTransaction("b@mx.test"), func(t *testing.T, c *Client, res Result, err error) {
			wantClientResult(t, res, "dot 250 2.0.0 taken")
			if err != nil || res.Reusable {
				t.Errorf("%v, %+v", err, res)
			}
		})
}

func TestI6_pooledConnection(t *testing.T) {
	first := helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nS: 250 2.0.0 taken\n"
	for name, tc := range map[string]struct {
		script string
		usable bool
		stale  bool
		result string
	}{
		"still there":     {first + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nS: 250 2.0.0 again", true, false, "dot 250 2.0.0 again"},
		"EOF":             {first + "cut", false, false, ""},
		"421":             {first + `drip 1m "421 4.4.2 Idle\r\n"`, false, false, ""},
		"421 after MAIL":  {first + "C: *\nC: *\nC! DATA\nS: 421 4.4.2 Idle\ncut", true, true, "mail 421 4.4.2 Idle"},
		"EOF after MAIL":  {first + "C: *\nC: *\nC! DATA\ncut", true, true, "mail"},
		"EOF after RCPT":  {first + "C: *\nC: *\nC! DATA\nS: 250 ok\ncut", true, false, "rcpt"},
		"421 after RCPT":  {first + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 421 4.3.2 bye\ncut", true, false, "rcpt 421 4.3.2 bye"},
		"hangs at MAIL":   {first + "C: *\nC: *\nC! DATA\nhang", true, false, "mail"},
		"refused at MAIL": {first + "C: *\nC: *\nC! DATA\nS: 452 4.5.3 Enough mail\nS: 503 no\nS: 503 no", true, false, "mail 452 4.5.3 Enough mail"},
	} {
		t.Run(name, func(t *testing.T) {
			clientSays(t, tc.script, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				c, err := dial(ClientOptions{})
				mustClient(t, c, err)
				if res := mustSend(t, c, clientTransaction("b@mx.test")); !res.Reusable {
					t.Fatalf("%+v", res)
				}
				time.Sleep(2 * time.Minute) // idle, in the bubble's time
				if got := c.Usable(); got != tc.usable {
					t.Fatalf("usable: %v", got)
				}
				if !tc.usable {
					return
				}
				res, err := c.Send(t.Context(), clientTransaction("b@mx.test"))
				if res.Stale != tc.stale {
					t.Errorf("stale: %v, %v", res.Stale, err)
				}
				wantClientResult(t, res, tc.result)
			})
		})
	}
	t.Run("a first transaction is never stale", func(t *testing.T) {
		clientSends(t, helloWith()+"C: *\ncut", clientTransaction("b@mx.test"), func(t *testing.T, c *Client, res Result, err error) {
			if err == nil || res.Stale {
				t.Errorf("%+v, %v", res, err)
			}
		})
	})
}

func TestI7_pipeliningOnlyWhereOffered(t *testing.T) {
	clientSends(t, helloWith("8BITMIME")+`
		C! MAIL FROM:<a@us.test>
		S: 250 ok
		C! RCPT TO:<b@mx.test>
		S: 250 ok
		C! RCPT TO:<c@mx.test>
		S: 251 forwarded
		C! DATA
		S: 354 go
		C: Subject: x
		C:
		C: hi
		C! .
		S: 250 2.0.0 taken
		eof
	`, clientTransaction("b@mx.test", "c@mx.test"), func(t *testing.T, c *Client, res Result, err error) {
		wantClientResult(t, res, "dot 250 2.0.0 taken", "dot 250 2.0.0 taken")
	})
	// Offered: one write for the envelope, one for the body with its dot.
	clientSends(t, helloWith("PIPELINING")+`
		C: MAIL FROM:<a@us.test>
		C: RCPT TO:<b@mx.test>
		C: RCPT TO:<c@mx.test>
		C! DATA
		S: 250 ok
		S: 250 ok
		S: 550 5.1.1 no
		S: 354 go
		C: Subject: x
		C:
		C: hi
		C! .
		S: 250 2.0.0 taken
		eof
	`, clientTransaction("b@mx.test", "c@mx.test"), func(t *testing.T, c *Client, res Result, err error) {
		wantClientResult(t, res, "dot 250 2.0.0 taken", "rcpt 550 5.1.1 no")
		if !res.DotSent || !res.Reusable || err != nil {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

func TestD7_tooManyRecipients(t *testing.T) {
	for name, tc := range map[string]struct{ reply, want string }{
		"452 4.5.3":      {"452 4.5.3 Too many", "too many 452 4.5.3 Too many"},
		"452":            {"452 Too many", "too many 452 Too many"},
		"552 5.5.3":      {"552 5.5.3 Too many", "too many 552 5.5.3 Too many"},
		"452 quota":      {"452 4.2.2 Mailbox full", "rcpt 452 4.2.2 Mailbox full"},
		"552 quota":      {"552 Mailbox full", "rcpt 552 Mailbox full"},
		"451 greylisted": {"451 4.7.1 Later", "rcpt 451 4.7.1 Later"},
	} {
		t.Run(name, func(t *testing.T) {
			clientSends(t, helloWith("PIPELINING")+"C: *\nC: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: "+tc.reply+"\nS: 354 go\nbody\nS: 250 taken\neof",
				clientTransaction("b@mx.test", "c@mx.test"), func(t *testing.T, c *Client, res Result, err error) {
					wantClientResult(t, res, "dot 250 taken", tc.want)
				})
		})
	}
	t.Run("not asked any more", func(t *testing.T) {
		clientSends(t, helloWith()+"C: *\nS: 250 ok\nC: *\nS: 250 ok\nC: *\nS: 452 4.5.3 Too many\nC! DATA\nS: 354 go\nbody\nS: 250 taken\neof",
			clientTransaction("b@mx.test", "c@mx.test", "d@mx.test"), func(t *testing.T, c *Client, res Result, err error) {
				wantClientResult(t, res, "dot 250 taken", "too many 452 4.5.3 Too many", "too many 452 4.5.3 Too many")
			})
	})
	t.Run("the first is refused with it", func(t *testing.T) {
		clientSends(t, helloWith()+"C: *\nS: 250 ok\nC: *\nS: 452 4.5.3 Too many\neof", clientTransaction("b@mx.test"),
			func(t *testing.T, c *Client, res Result, err error) {
				wantClientResult(t, res, "rcpt 452 4.5.3 Too many")
			})
	})
}

// Hundreds of recipients leave in batches that no socket buffer can choke on.
func TestI7_manyRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &smtptest.Sink{}
		sink.On("RCPT", "<r7@", smtptest.Answer{Reply: "550 5.1.1 No"})
		defer sink.Close()
		conn := &writeSizes{Conn: sink.Dial()}
		c, err := NewClient(t.Context(), conn, ClientOptions{Hello: "us.test"})
		mustClient(t, c, err)
		x := clientTransaction()
		for i := range 3000 {
			x.Recipients = append(x.Recipients, mail.Recipient{Address: mail.NewAddress("r" + string(rune('0'+i%10)) + "@" + strings.Repeat("x", i%50) + ".test")})
		}
		res := mustSend(t, c, x)
		for i, r := range res.Recipients {
			if r.Delivered() == (i%10 == 7) {
				t.Fatalf("recipient %d: %v", i, r)
			}
		}
		if m := sink.Messages(); len(m) != 1 || len(m[0].To) != 2700 {
			t.Errorf("%d messages", len(m))
		}
		if conn.largest > commandBatch+512 || conn.largest < commandBatch {
			t.Errorf("a write of %d octets", conn.largest)
		}
	})
}

// writeSizes notes the largest write.
type writeSizes struct {
	net.Conn
	largest int
}

func (w *writeSizes) Write(p []byte) (int, error) {
	w.largest = max(w.largest, len(p))
	return w.Conn.Write(p)
}
