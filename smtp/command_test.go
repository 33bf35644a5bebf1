package smtp

import (
	"bufio"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestA9_longCommand(t *testing.T) {
	say(t, `
		S: 220
		# 5 octets of NOOP and space, 2 of CRLF
		C: NOOP {x*505}
		S: 250
		C: NOOP {x*2041}
		S: 250
		C: NOOP {x*2042}
		S: 500 5.5.2
		C: NOOP {x*4091}
		C: EHLO x
		S: 500 5.5.2
		S: 250
		C: {x*60000}
		C: NOOP
		S: 500 5.5.2
		S: 250
	`)
}

func TestA9_endlessCommand(t *testing.T) {
	say(t, `
		S: 220
		C| {x*4000000}
		S: 421 4.5.2
		CLOSED
	`)
}

// A line without end is read no further than its limit, and nothing of it is kept.
func TestA9_endlessCommandCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Hostname: "mx.test", Handler: &recorder{}}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		in := bufio.NewReader(ours)
		if line, err := in.ReadString('\n'); !strings.HasPrefix(line, "220") {
			t.Fatal(line, err)
		}
		synctest.Wait()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		wrote := make(chan int, 1)
		go func() {
			piece, n := make([]byte, 1<<10), 0
			for {
				m, err := ours.Write(piece)
				if n += m; err != nil || n > 1<<30 {
					wrote <- n
					return
				}
			}
		}()
		reply, _ := io.ReadAll(in)
		runtime.ReadMemStats(&after)
		if n := <-wrote; n > 128<<10 {
			t.Errorf("%d octets were read", n)
		}
		if !strings.HasPrefix(string(reply), "421 4.5.2") {
			t.Errorf("%q", reply)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10 {
			t.Errorf("%d octets were allocated", grown)
		}
		ours.Close()
		_ = s.Shutdown(t.Context())
	})
}

func TestA10_badOctets(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO\0x
		S: 500 5.5.2
		E- HELLO
		C: EHLO x\rMAIL FROM:<a@b.test>
		S: 500 5.5.2
		E- HELLO
		C: NOOP\r
		S: 500 5.5.2
		C: NOOP
		S: 250
	`)
}

// What stands behind a bare LF may have been put there by somebody else.
func TestA10_bareLF(t *testing.T) {
	for _, line := range []string{`EHLO x\n`, `NOOP\nEHLO x\r\n`, `\n`, `{x*3000}\nEHLO x\r\n`, `{x*9000}\nEHLO x\r\n`} {
		t.Run(line, func(t *testing.T) {
			say(t, `
				S: 220
				C| `+line+`
				S: 421 4.5.2
				CLOSED
				E- HELLO
			`)
		})
	}
}

// A domain of 255 octets fits into EHLO (A2) but into no path: RFC 5321
// §4.5.3.1.3 allows 256 octets with brackets, so 252 for the domain of a@.
func TestA11_lengths(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<{l*64}@d.test>
		S: 250
		C: RCPT TO:<{l*65}@d.test>
		S: 553 5.1.3
		C: RCPT TO:<a@{b.*124}test>
		S: 250
		C: RCPT TO:<a@{b.*124}tests>
		S: 553 5.1.3
		C: RCPT TO:<a@{b*63}.test>
		S: 250
		C: RCPT TO:<a@{b*64}.test>
		S: 553 5.1.3
		C: RCPT TO:<a@b..test>
		S: 553 5.1.3
		C: RCPT TO:<a@-b.test>
		S: 553 5.1.3
		C: RCPT TO:<a@b-.test>
		S: 553 5.1.3
		C: RCPT TO:<a@b.test.>
		S: 553 5.1.3
		C: RCPT TO:<a..b@d.test>
		S: 553 5.1.3
		C: RCPT TO:<.a@d.test>
		S: 553 5.1.3
		C: RCPT TO:<a.@d.test>
		S: 553 5.1.3
		C: RCPT TO:<@d.test>
		S: 553
		C: RCPT TO:<a@>
		S: 553 5.1.3
		C: RCPT TO:<a@b c.test>
		S: 553 5.1.3
	`)
}

func TestA12_notSMTP(t *testing.T) {
	for _, first := range []string{`GET / HTTP/1.1\r\nHost: x\r\n\r\n`, `POST / HTTP/1.1\r\n\r\n`, `CONNECT mx.test:25 HTTP/1.1\r\n`, `\x16\x03\x01\x02\x00\x01`} {
		t.Run(first, func(t *testing.T) {
			say(t, `
				S: 220
				C| `+first+`
				S: 554 5.5.1
				CLOSED
				E- COMMAND
			`)
		})
	}
}

func TestA13_earlyTalker(t *testing.T) {
	dialogue{server: &Server{Timeouts: Timeouts{Greeting: 5 * time.Second}}}.run(t, `
		C: EHLO x
		S: 554 5.5.1
		CLOSED
		E- HELLO
	`)
}

func TestA13_patientClient(t *testing.T) {
	dialogue{server: &Server{Timeouts: Timeouts{Greeting: 15 * time.Second}}}.run(t, `
		SILENCE
		S: 220
		C: EHLO x
		S: 250
	`)
}

// Without a pause, what was sent early is answered after the banner.
func TestA13_bannerFirst(t *testing.T) {
	say(t, `
		C: NOOP
		S: 220
		S: 250
	`)
}
