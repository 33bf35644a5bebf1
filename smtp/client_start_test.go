package smtp

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

// watchedConn writes down what leaves and in which order, beside what else happens.
type watchedConn struct {
	net.Conn
	events *[]string
	fail   error
}

func (w *watchedConn) Write(b []byte) (int, error) {
	first, _, _ := strings.Cut(string(b), "\r\n")
	last := b[strings.LastIndex(strings.TrimSuffix(string(b), "\r\n"), "\n")+1:]
	*w.events = append(*w.events, "write "+first+" … "+strings.TrimSuffix(string(last), "\r\n"))
	if w.fail != nil && strings.HasPrefix(first, "MAIL") {
		return 0, w.fail
	}
	return w.Conn.Write(b)
}

// startHooks runs f with a client over a watched connection to a host that plays script.
func startHooks(t *testing.T, script string, f func(t *testing.T, c *Client, w *watchedConn, hooked func(to ...string) *Transaction)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watchedConn{Conn: smtptest.Start(t, script), events: new([]string)}
		c, err := NewClient(t.Context(), w, ClientOptions{Hello: "us.test"})
		mustClient(t, c, err)
		*w.events = nil
		f(t, c, w, func(to ...string) *Transaction {
			x := clientTransaction(to...)
			x.BeforeMail = func() error { *w.events = append(*w.events, "before"); return nil }
			x.AfterMail = func() { *w.events = append(*w.events, "after") }
			return x
		})
	})
}

const onePipelined = `
	C: MAIL FROM:<a@us.test>
	C: RCPT TO:<b@mx.test>
	C! DATA
	S: 250 ok
	S: 550 5.1.1 no b
	S: 503 5.5.1 no recipients
`

func TestMailHooksEmbraceTheWrite(t *testing.T) {
	t.Run("pipelined, RSET in the same write", func(t *testing.T) {
		startHooks(t, helloWith("PIPELINING")+onePipelined+`
			C: RSET
			C: MAIL FROM:<a@us.test>
			C: RCPT TO:<b@mx.test>
			C! DATA
			S: 250 reset
			S: 250 ok
			S: 550 5.1.1 no b
			S: 503 5.5.1 no recipients
			eof
		`, func(t *testing.T, c *Client, w *watchedConn, hooked func(...string) *Transaction) {
			mustSend(t, c, hooked("b@mx.test"))
			mustSend(t, c, hooked("b@mx.test"))
			want := []string{"before", "write MAIL FROM:<a@us.test> … DATA", "after", "before", "write RSET … DATA", "after"}
			if !slices.Equal(*w.events, want) {
				t.Errorf("%q\nwant %q", *w.events, want)
			}
		})
	})
	t.Run("one at a time, RSET answered first", func(t *testing.T) {
		const refused = "C! MAIL FROM:<a@us.test>\nS: 250 ok\nC! RCPT TO:<b@mx.test>\nS: 550 no\n"
		startHooks(t, helloWith()+refused+"C! RSET\nS: 250 ok\n"+refused+"eof", func(t *testing.T, c *Client, w *watchedConn, hooked func(...string) *Transaction) {
			mustSend(t, c, hooked("b@mx.test"))
			*w.events = nil
			mustSend(t, c, hooked("b@mx.test"))
			want := []string{"write RSET … RSET", "before", "write MAIL FROM:<a@us.test> … MAIL FROM:<a@us.test>", "after", "write RCPT TO:<b@mx.test> … RCPT TO:<b@mx.test>"}
			if !slices.Equal(*w.events, want) {
				t.Errorf("%q\nwant %q", *w.events, want)
			}
		})
	})
	t.Run("a write that fails may have left", func(t *testing.T) {
		startHooks(t, helloWith("PIPELINING")+"eof", func(t *testing.T, c *Client, w *watchedConn, hooked func(...string) *Transaction) {
			w.fail = errors.New("broken pipe")
			if _, err := c.Send(t.Context(), hooked("b@mx.test")); err == nil {
				t.Error("no error")
			}
			if n := len(*w.events); n < 3 || (*w.events)[2] != "after" {
				t.Errorf("%q", *w.events)
			}
		})
	})
}

// A transaction that may not start leaves no octet and no trace on the connection.
func TestMailNotStarted(t *testing.T) {
	closed := errors.New("window is shut")
	for name, keyword := range map[string]string{"pipelined": "PIPELINING", "one at a time": "X"} {
		t.Run(name, func(t *testing.T) {
			script := helloWith(keyword) + onePipelined + `
				C: RSET
				C: MAIL FROM:<a@us.test>
				C: RCPT TO:<b@mx.test>
				C! DATA
				S: 250 reset
				S: 250 ok
				S: 550 5.1.1 no b
				S: 503 5.5.1 no recipients
				eof
			`
			if keyword == "X" {
				script = helloWith() + "C! MAIL FROM:<a@us.test>\nS: 250 ok\nC! RCPT TO:<b@mx.test>\nS: 550 no\n" +
					"C! RSET\nS: 250 ok\nC! MAIL FROM:<a@us.test>\nS: 250 ok\nC! RCPT TO:<b@mx.test>\nS: 550 no\neof"
			}
			startHooks(t, script, func(t *testing.T, c *Client, w *watchedConn, hooked func(...string) *Transaction) {
				no := hooked("b@mx.test")
				no.BeforeMail = func() error { return closed }
				no.AfterMail = func() { t.Error("AfterMail without a write") }
				refuse := func(when string) {
					t.Helper()
					*w.events = nil
					res, err := c.Send(t.Context(), no)
					var not *NotStartedError
					if !errors.As(err, &not) || !errors.Is(err, closed) || !res.Reusable || res.Stale || res.DotSent {
						t.Errorf("%s: %+v, %v", when, res, err)
					}
					wantClientResult(t, res, "none")
					for _, e := range *w.events {
						if strings.Contains(e, "MAIL") {
							t.Errorf("%s: %q", when, *w.events)
						}
					}
				}
				refuse("first")
				refuse("again")
				if n := c.Transactions(); n != 0 {
					t.Errorf("%d transactions, want none", n)
				}
				mustSend(t, c, hooked("b@mx.test"))
				refuse("with RSET due")
				mustSend(t, c, hooked("b@mx.test"))
			})
		})
	}
}
