package smtp

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/mail"
)

func TestA1_banner(t *testing.T) {
	say(t, `
		S: 220 mx.test ESMTP
		C: EHLO client.test
		S: 250
		C: MAIL FROM:<a@b.test>
		S: 250 2.1.0
		C: RCPT TO:<c@d.test>
		S: 250 2.1.5
		C: DATA
		S: 354
		C: Subject: hi
		C:
		C: ..dots
		C: .
		S: 250 2.0.0 Queued as Q1
		M: Subject: hi\r\n\r\n.dots\r\n
		C: QUIT
		S: 221 2.0.0
		CLOSED
	`)
}

// The banner waits for nothing.
func TestA1_atOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Hostname: "mx.test", Handler: &recorder{}}
		ours, theirs := net.Pipe()
		start := time.Now()
		go s.ServeConn(theirs, false)
		b := make([]byte, 100)
		if n, err := ours.Read(b); err != nil || string(b[:n]) != "220 mx.test ESMTP\r\n" {
			t.Errorf("%q, %v", b[:n], err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("after %v", d)
		}
		ours.Close()
		_ = s.Shutdown(t.Context())
	})
}

// What a client sent never comes back, whatever it is.
func TestA1_nothingEchoed(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO zebra\x1b[31m
		S: 501
		S- zebra
		C: EHLO zebra.test
		S: 250
		S- zebra
		C: ZEBRA \xff\xfe
		S: 500
		S- ZEBRA
		C: MAIL FROM:<zebra@b.test>
		S: 250
		S- zebra
		C: RCPT TO:<ze..bra@d.test>
		S: 553
		S- bra
	`)
}

func TestA2_hello(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		S+ PIPELINING
		S+ 8BITMIME
		S+ SMTPUTF8
		S+ SIZE 52428800
		S+ CHUNKING
		S+ ENHANCEDSTATUSCODES
		S+ DSN
		S+ XTEST
		S- STARTTLS
		S- BINARYMIME
		S- AUTH
		E: HELLO x true
		C: ehlo [192.0.2.1]
		S: 250
		C: EHLO [IPv6:::1]
		S: 250
		C: EHLO [IPv6:::1
		S: 501
		C: EHLO [192.0.2.256]
		S: 501
		C: EHLO
		S: 501
		C: EHLO a b
		S: 501
		C: EHLO {a*255}
		S: 250
		C: EHLO {a*256}
		S: 501
		C: HELO x(y
		S: 250 mx.test
		S- PIPELINING
		E: HELLO x(y false
	`)
}

func TestA3_order(t *testing.T) {
	say(t, `
		S: 220
		C: MAIL FROM:<a@b.test>
		S: 503 5.5.1
		C: EHLO x
		S: 250
		C: RCPT TO:<c@d.test>
		S: 503 5.5.1
		C: DATA
		S: 503 5.5.1
		C: MAIL FROM:<a@b.test>
		S: 250
		C: DATA
		S: 554 5.5.1
		C: MAIL FROM:<second@b.test>
		S: 503 5.5.1
		E- MAIL second
		C: RCPT TO:<c@d.test>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
	`)
}

func TestA4_reset(t *testing.T) {
	for _, verb := range []string{"RSET", "EHLO x", "HELO x"} {
		t.Run(verb, func(t *testing.T) {
			say(t, `
				S: 220
				C: EHLO x
				S: 250
				C: MAIL FROM:<a@b.test>
				S: 250
				C: RCPT TO:<c@d.test>
				S: 250
				C: `+verb+`
				S: 250
				C: RCPT TO:<c@d.test>
				S: 503 5.5.1
				C: DATA
				S: 503 5.5.1
			`)
		})
	}
}

func TestA5_specialPaths(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<postmaster>
		S: 553 5.1.7
		C: MAIL FROM:<>
		S: 250
		E: MAIL |
		C: RCPT TO:<postmaster>
		S: 250
		E: RCPT postmaster|
		C: RCPT TO:<PostMaster>
		S: 250
		E: RCPT PostMaster|
		C: RCPT TO:<>
		S: 553 5.1.3
	`)
}

func TestA6_pathForm(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:a@b.test
		S: 501 5.5.4
		C: MAIL FROM: <a@b.test>
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test>X
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test
		S: 501
		C: MAIL TO:<a@b.test>
		S: 501
		C: MAIL
		S: 501
		C: MAIL FROM:<a@b.test> FOO=1
		S: 555 5.5.4
		C: MAIL FROM:<a@b.test> NOTIFY=NEVER
		S: 555 5.5.4
		C: MAIL FROM:<a@b.test> REQUIRETLS
		S: 555 5.5.4
		C: MAIL FROM:<a@b.test> FOO=
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> =1
		S: 501 5.5.4
		C: mail from:<a@b.test>  size=10  body=8bitmime  
		S: 250
		C: RCPT TO:<c@d.test> RET=FULL
		S: 555 5.5.4
		C: RCPT TO:<c@d.test> 
		S: 250
	`)
}

// The one documented switch: LaxPaths.
func TestA6_laxPaths(t *testing.T) {
	dialogue{server: &Server{LaxPaths: true}}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM: <a@b.test> SIZE=5
		S: 250
		E: MAIL a@b.test|b.test
		C: RCPT TO:c@d.test
		S: 250
		E: RCPT c@d.test|d.test
		C: RCPT TO:"a b"@d.test
		S: 250
		E: RCPT "a b"@d.test|d.test
		C: RCPT TO:<a@d.test>X
		S: 501
		C: RCPT TO:a@d.test>
		S: 553
		C: RCPT TO:
		S: 501
	`)
}

func TestA6_heloHasNoParameters(t *testing.T) {
	say(t, `
		S: 220
		C: HELO x
		S: 250
		C: MAIL FROM:<a@b.test> SIZE=1
		S: 555 5.5.4
		C: MAIL FROM:<a@b.test> RET=FULL
		S: 555 5.5.4
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<c@d.test> NOTIFY=NEVER
		S: 555 5.5.4
		C: RCPT TO:<c@d.test>
		S: 250
	`)
}

func TestA7_duplicateParameter(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.test> SIZE=1 SIZE=2
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> BODY=7BIT BODY=8BITMIME
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> SMTPUTF8 SMTPUTF8
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> SMTPUTF8=1
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> BODY=9BIT
		S: 501 5.5.4
	`)
}

func TestA8_otherVerbs(t *testing.T) {
	say(t, `
		S: 220
		C: vrfy someone
		S: 252 2.
		C: VRFY
		S: 501
		C: EXPN list
		S: 502 5.5.1
		C: HELP
		S: 214 2.
		C: ETRN x
		S: 502 5.5.1
		C: TURN
		S: 502 5.5.1
		C: AUTH PLAIN AAAA
		S: 502 5.5.1
		C: STARTTLS
		S: 502 5.5.1
		C: STARTTLSX
		S: 500 5.5.2
		C: XCLIENT ADDR=127.0.0.1
		S: 550 5.7.0
		C: FOO
		S: 500 5.5.2
		E: COMMAND FOO
		C:
		S: 500 5.5.2
		C: NOOP whatever
		S: 250 2.0.0
		C: RSET now
		S: 501
		C: xtest hello
		S: 250 2.0.0 lines
		S+ 250-2.0.0 two
		C: XTEST close
		S: 250 2.0.0
		CLOSED
	`)
}

func TestA8_tooManyErrors(t *testing.T) {
	dialogue{server: &Server{Limits: Limits{Errors: 3}}}.run(t, `
		S: 220
		C: FOO
		S: 500
		C: FOO
		S: 500
		C: FOO
		S: 500
		C: FOO
		S: 421 4.7.0
		CLOSED
	`)
}

func TestA8_replyOfSessionClosesOn421(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<bye@b.test>
		S: 421 4.7.0
		CLOSED
	`)
}

func TestA14_idle(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		W: 4m59s
		C: NOOP
		S: 250
		W: 5m1s
		S: 421 4.4.2
		CLOSED
	`)
}

func TestA14_sessionIsNotForEver(t *testing.T) {
	dialogue{server: &Server{Timeouts: Timeouts{Session: 10 * time.Minute}}}.run(t, `
		S: 220
		W: 4m
		C: NOOP
		S: 250
		W: 4m
		C: NOOP
		S: 250
		W: 2m1s
		S: 421 4.4.2
		CLOSED
	`)
}

// One connection's panic is that connection's only.
func TestPanicInSession(t *testing.T) {
	h := &recorder{data: func() *mail.Reply { panic("plugin") }}
	dialogue{handler: h}.run(t, `
		S: 220
		C: EHLO x
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 250
		S: 421 4.3.0
		CLOSED
	`)
}
