package smtp

import (
	"strings"
	"testing"
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
		C: MAIL FROM:<a@b.test> RET=FULL
		S: 555 5.5.4
		C: MAIL FROM:<a@b.test> REQUIRETLS
		S: 555 5.5.4
		C: MAIL FROM:<a@b.test> FOO=
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> =1
		S: 501 5.5.4
		C: mail from:<a@b.test>  size=10  body=8bitmime  
		S: 250
		C: RCPT TO:<c@d.test> NOTIFY=NEVER
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
	for _, line := range []string{`EHLO x\n`, `NOOP\nEHLO x\r\n`, `\n`, `{x*3000}\nEHLO x\r\n`} {
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

func TestA15_refusedBanner(t *testing.T) {
	for _, c := range []struct {
		reply mail.Reply
		want  string
	}{
		{mail.Reply{Code: 521, Text: "mx.test takes no mail"}, "521 mx.test takes no mail"}, // RFC 7504, RFC 2034 §4
		{mail.R(554, "5.7.1", "No"), "554 5.7.1 No"},
		{mail.R(421, "4.7.0", "Later"), "421 4.7.0 Later"},
	} {
		h := &recorder{connect: func(*Conn) *mail.Reply { return &c.reply }}
		dialogue{handler: h}.run(t, "S: "+c.want+"\nCLOSED")
	}
}

func TestA15_enhancedCodes(t *testing.T) {
	for _, c := range []struct {
		reply mail.Reply
		want  string
	}{
		{mail.R(250, "", "ok"), "250 2.0.0 ok\r\n"},
		{mail.R(550, "4.1.1", "class is corrected"), "550 5.0.0 class is corrected\r\n"},
		{mail.R(550, "5.7.1", "a\nb"), "550-5.7.1 a\r\n550 5.7.1 b\r\n"},
		{mail.R(354, "", "go"), "354 go\r\n"},
		{mail.R(250, "2.0.0", ""), "250 2.0.0 \r\n"},
		{mail.R(550, "5.0.0", "a\rb\x00\xffc\td"), "550 5.0.0 a?b??c?d\r\n"},
		{mail.R(550, "5.0.0", strings.Repeat("word ", 120)), ""},
		{mail.R(550, "5.0.0", strings.Repeat("x", 2000)), ""},
	} {
		got := string(appendReply(nil, c.reply, true))
		if c.want != "" && got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
		letters := 0
		for i, l := range strings.SplitAfter(strings.TrimSuffix(got, "\r\n"), "\r\n") {
			if len(l) > 512 || !strings.HasPrefix(l, got[:3]) {
				t.Errorf("line %d: %q", i, l)
			}
			letters += strings.Count(l, "x")
		}
		if letters != strings.Count(c.reply.Text, "x") {
			t.Errorf("%d letters of %d", letters, len(c.reply.Text))
		}
	}
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
