package smtp

import (
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

// G5: a hostile MX. Each attempt ends by our own deadlines, with the memory it began with.
func TestG5_hostileRemote(t *testing.T) {
	ehlo := "S: 220 mx.test\nC: EHLO us.test\n"
	sent := helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n"
	for name, tc := range map[string]struct {
		script  string
		is      error
		within  time.Duration
		dotSent bool
	}{
		"1 GiB greeting line":      {`flood 1GiB "2"`, ErrReplyTooLong, 0, false},
		"endless greeting":         {`flood 1GiB "220-x\r\n"`, ErrReplyTooLong, 0, false},
		"endless 250-":             {ehlo + `flood 1GiB "250-PIPELINING\r\n"`, ErrReplyTooLong, 0, false},
		"1 octet/s":                {ehlo + `drip 1s "` + strings.Repeat(`250-x\r\n`, 1000) + `"`, os.ErrDeadlineExceeded, 5 * time.Minute, false},
		"endless reply to the dot": {sent + `body` + "\n" + `flood 1GiB "250-x\r\n"`, ErrReplyTooLong, 0, true},
		"354, then no reading":     {sent + "hang", os.ErrDeadlineExceeded, 3*time.Minute + time.Second, false},
		"354, then slow reading":   {sent + strings.Repeat("read 1\nwait 10s\n", 30) + "hang", os.ErrDeadlineExceeded, 3*time.Minute + time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			clientSays(t, tc.script, func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				start := time.Now()
				c, err := dial(ClientOptions{})
				var res Result
				if err == nil {
					x := clientTransaction("b@mx.test")
					if !tc.dotSent {
						x.Bytes = []byte(strings.Repeat("0123456\r\n", 20000)) // some blocks
					}
					res, err = c.Send(t.Context(), x)
				}
				if !errors.Is(err, tc.is) || time.Since(start) != tc.within {
					t.Errorf("%v after %v, want %v after %v", err, time.Since(start), tc.is, tc.within)
				}
				if res.DotSent != tc.dotSent || res.Reusable {
					t.Errorf("%+v", res)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 { // the script's own buffers included
					t.Errorf("heap grew by %d KiB", grown>>10)
				}
			})
		})
	}
}

// G5: reset in the body, on a real socket.
func TestG5_resetInBody(t *testing.T) {
	conn, err := net.Dial("tcp", smtptest.Listen(t, helloWith("PIPELINING")+"C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nread 100000\nreset"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(t.Context(), conn, ClientOptions{Hello: "us.test"})
	mustClient(t, c, err)
	x := clientTransaction("b@mx.test")
	x.Bytes = []byte(strings.Repeat("0123456\r\n", 4_000_000))
	res, err := c.Send(t.Context(), x)
	var stage *StageError
	if !errors.As(err, &stage) || stage.Stage != StageData || res.DotSent || res.Reusable || !res.Recipients[0].Reply.IsZero() {
		t.Errorf("%+v, %v", res, err)
	}
}

// A host that refuses in the middle of the body and hangs up has been heard.
func TestG5_lastWords(t *testing.T) {
	for _, words := range []string{"552 5.3.4 Too big", "421 4.3.2 Going down"} {
		clientSays(t, helloWith("PIPELINING")+"C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nread 40000\nS: "+words+"\ncut",
			func(t *testing.T, dial func(ClientOptions) (*Client, error)) {
				c, err := dial(ClientOptions{Timeouts: ClientTimeouts{Block: time.Second}})
				mustClient(t, c, err)
				x := clientTransaction("b@mx.test")
				x.Bytes = []byte(strings.Repeat("0123456\r\n", 200_000))
				res, err := c.Send(t.Context(), x)
				wantClientResult(t, res, "data "+words)
				if err != nil || res.Reusable || res.DotSent {
					t.Errorf("%+v, %v", res, err)
				}
			})
	}
}

// Replies out of step end the connection: an answer must not be taken for another.
func TestG5_outOfStep(t *testing.T) {
	for name, tc := range map[string]struct{ script, want string }{
		"reply before its command": {helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nS: 250 early\neof", "data"},
		"refusal behind the 354":   {helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nS: 421 4.3.2 bye\neof", "data 421 4.3.2 bye"},
		"reply before the chunk":   {helloWith("PIPELINING", "CHUNKING") + "C: *\nC! *\nS: 250 ok\nS: 250 ok\nS: 250 early\neof", "data"},
		"one reply too many":       {helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 550 no\nS: 503 no\nS: 250 extra\neof", "rcpt 550 no"},
		"250 to DATA":              {helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\neof", "data"},
		"354 to MAIL":              {helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 354 go\neof", "mail"},
		"354 to RCPT":              {helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 354 go\neof", "rcpt"},
		"354 to the dot":           {helloWith("PIPELINING") + "C: *\nC: *\nC! DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nbody\nS: 354 go on\neof", "dot"},
	} {
		t.Run(name, func(t *testing.T) {
			clientSends(t, tc.script, clientTransaction("b@mx.test"), func(t *testing.T, c *Client, res Result, err error) {
				wantClientResult(t, res, tc.want)
				if res.Reusable || (err != nil) != (len(strings.Fields(tc.want)) == 1) {
					t.Errorf("%+v, %v", res, err)
				}
			})
		})
	}
}
