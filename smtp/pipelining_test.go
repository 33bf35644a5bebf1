package smtp

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

func TestC1_segments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h}
		ours, theirs := net.Pipe()
		counted := &countWrites{Conn: theirs}
		go s.ServeConn(counted, false)
		p := newPlayer(t, ours, dialogue{server: s, handler: h})
		p.play(`
			S: 220
			C: EHLO x
			S: 250`)
		before := counted.n
		p.play("C: MAIL FROM:<a@b.test>\n" + strings.Repeat("C: RCPT TO:<someone.or.other@d.test>\n", 100) + "C: DATA\nS: 250 2.1.0\n" +
			strings.Repeat("S: 250 2.1.5\n", 100) + "S: 354\n")
		// Three would do; but the replies wait for the whole group, so it is one.
		if n := counted.n - before; n != 1 {
			t.Errorf("%d segments", n)
		}
		p.play("C: .\nS: 250\nC: QUIT\nS: 221")
		_ = s.Shutdown(t.Context())
		p.sending.Wait()
	})
}

func TestC2_noValidRecipient(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<nobody@d.test>
		C: RCPT TO:<later@d.test>
		C: DATA
		S: 250
		S: 550 5.1.1
		S: 451 4.7.1
		S: 554 5.5.1
		C: RCPT TO:<somebody@d.test>
		C: DATA
		S: 250
		S: 354
		C: .
		S: 250
	`)
}

func TestC3_bodyBefore354(t *testing.T) {
	const script = `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		C: text
		C: .
		C: QUIT
		S: 250
		S: 250
	`
	say(t, script+`
		S: 503 5.5.0
		CLOSED
		E- MESSAGE
	`)
	dialogue{handler: &recorder{setup: func(c *Conn) { c.SetTrusted(true) }}}.run(t, script+`
		S: 354
		S: 250
		S: 221
		CLOSED
		M: text\r\n
	`)
}

func TestC4_commandsBehindTheDot(t *testing.T) {
	say(t, envelopeOK+`
		C: text
		C: .
		C: MAIL FROM:<second@b.test>
		S: 250 2.0.0 Queued as Q1
		S: 250 2.1.0
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 354
		C: text
		C: .
		C: QUIT
		S: 250 2.0.0 Queued as Q2
		S: 221
		CLOSED
	`)
}

const chunksOK = `
	S: 220
	C: EHLO x
	S: 250
	C: MAIL FROM:<a@b.test>
	C: RCPT TO:<c@d.test>
	S: 250
	S: 250
`

func TestC5_chunks(t *testing.T) {
	say(t, chunksOK+`
		C| BDAT 5\r\nabc\r\n
		S: 250 2.0.0 5 octets
		C: BDAT 0 LAST
		S: 250 2.0.0 Queued as Q1
		M: abc\r\n
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C| BDAT 11 LAST\r\na\r\n.\r\nb\r\n..
		S: 250
		S: 250
		S: 250 2.0.0 Queued as Q2
		M: a\r\n.\r\nb\r\n..
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: BDAT 1000000
		C| {x*1000000}
		C: BDAT 2 last
		C:
		C: NOOP
		S: 250
		S: 250
		S: 250 2.0.0 1000000 octets
		S: 250 2.0.0 Queued as Q3
		S: 250 2.0.0 OK
		M: {x*1000000}\r\n
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		# CRLF in two chunks
		C| BDAT 2\r\na\rBDAT 1 LAST\r\n\n
		S: 250
		S: 250
		S: 250
		S: 250 2.0.0 Queued as Q4
		M: a\r\n
	`)
}

func TestC5_oneOctetSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		s := &Server{Hostname: "mx.test", Handler: h}
		ours, theirs := net.Pipe()
		go s.ServeConn(theirs, false)
		p := newPlayer(t, ours, dialogue{server: s, handler: h})
		p.play(chunksOK)
		p.sending.Go(func() { trickleOctets(ours, "BDAT 6\r\na\r\n.\r\nBDAT 3 LAST\r\nb\r\nQUIT\r\n") })
		p.play(`
			S~ 250 2.0.0 6 octets
			S~ 250 2.0.0 Queued as Q1
			S~ 221
			M: a\r\n.\r\nb\r\n
			CLOSED`)
		_ = s.Shutdown(t.Context())
		p.sending.Wait()
	})
}

func TestC6_refusedChunkIsSwallowed(t *testing.T) {
	dialogue{server: &Server{Limits: Limits{MessageSize: 100000}}}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		C| BDAT 12 LAST\r\nMAIL FROM:\r\nNOOP\r\n
		S: 503 5.5.1
		S: 250 2.0.0
		C: MAIL FROM:<a@b.test>
		C| BDAT 12\r\nMAIL FROM:\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n
		S: 250
		S: 554 5.5.1
		S: 554 5.5.1
		S: 250 2.0.0
		C: RCPT TO:<c@d.test>
		C| BDAT 200000 LAST\r\n{x*200000}NOOP\r\n
		S: 250
		S: 552 5.3.4
		S: 250 2.0.0
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C| BDAT 60000\r\n{x*60000}BDAT 60000\r\n{x*60000}BDAT 5 LAST\r\nRSET\nNOOP\r\n
		S: 250
		S: 250
		S: 250
		S: 552 5.3.4
		S: 503 5.5.1
		S: 250 2.0.0
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C| BDAT 7 FIRST\r\nRSET\r\n\nNOOP\r\n
		S: 250
		S: 250
		S: 501
		S: 250 2.0.0
		C| BDAT 5\r\na\nb\r\nBDAT 3 LAST\r\nc\r\nNOOP\r\n
		S: 550 5.5.2
		S: 503 5.5.1
		S: 250 2.0.0
	`)
}

func TestC6_tooMuchToSwallow(t *testing.T) {
	dialogue{server: &Server{Limits: Limits{Discard: 1000}}}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		C: BDAT 1001
		C: RSET
		S: 503
		CLOSED
	`)
}

func TestC7_badBdat(t *testing.T) {
	for _, args := range []string{" -1", " x", " 99999999999", "", " 1x", " 0x10", " 999999999999999999999999"} {
		t.Run(args, func(t *testing.T) {
			say(t, chunksOK+`
				C: BDAT`+args+`
				S: 5?
				CLOSED
			`)
			say(t, chunksOK+`
				C| BDAT 3\r\nabc
				S: 250
				C: BDAT`+args+`
				S: 5?
				CLOSED
				E- MESSAGE
			`)
		})
	}
}

func TestC7_commandsBetweenChunks(t *testing.T) {
	h := &recorder{}
	dialogue{handler: h}.run(t, chunksOK+`
		C| BDAT 5\r\nabc\r\n
		S: 250
		C: DATA
		S: 503 5.5.1
		C: MAIL FROM:<second@b.test>
		S: 503 5.5.1
		C: RCPT TO:<second@d.test>
		S: 503 5.5.1
		C: STARTTLS
		S: 50?
		C: XTEST
		S: 503 5.5.1
		E- MAIL second
		E- RCPT second
		E- COMMAND
		C: NOOP
		S: 250
		C: FOO\0
		S: 500
		C: RSET
		S: 250 2.0.0 OK
		C: RCPT TO:<c@d.test>
		S: 503
		C| BDAT 3 LAST\r\nabc
		S: 503
		E- MESSAGE
	`)
	if len(h.failures) != 1 || h.failures[0] != errTakenBack {
		t.Errorf("%v", h.failures)
	}
}

func TestC7_leavingBetweenChunks(t *testing.T) {
	for _, c := range [][2]string{{"QUIT", "S: 221\nCLOSED"}, {"EHLO again", "S: 250\nE: HELLO again"}, {"W", "S: 421 4.4.2\nCLOSED"}, {"", ""}} {
		t.Run(c[0], func(t *testing.T) {
			h := &recorder{}
			command := "C: " + c[0]
			switch c[0] {
			case "W":
				command = "W: 6m"
			case "":
				command = ""
			}
			dialogue{handler: h}.run(t, chunksOK+`
				C| BDAT 5\r\nabc\r\n
				S: 250
				`+command+`
				`+c[1])
			if len(h.messages) != 0 || len(h.failures) != 1 {
				t.Errorf("messages %q, failures %v", h.messages, h.failures)
			}
		})
	}
}

func TestC8_binaryMIME(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		S- BINARYMIME
		C: MAIL FROM:<a@b.test> BODY=BINARYMIME
		S: 555 5.5.4
		C: DATA
		S: 503
	`)
}

// BDAT keeps to the same octets as DATA: the message may be relayed with DATA.
func TestChunksAreText(t *testing.T) {
	for _, c := range [][2]string{{`4 LAST\r\na\nb.`, "550 5.5.2"}, {`3 LAST\r\na\rb`, "550 5.5.2"}, {`2 LAST\r\na\r`, "550 5.5.2"}, {`2 LAST\r\na\0`, "550 5.6.0"}} {
		say(t, chunksOK+`
			C| BDAT `+c[0]+`
			S: `+c[1]+`
			C: NOOP
			S: 250
		`)
	}
}
