package smtp

import "testing"

func TestD1_size(t *testing.T) {
	dialogue{server: &Server{Limits: Limits{MessageSize: 1000}}}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		S+ SIZE 1000
		C: MAIL FROM:<a@b.test> SIZE=1001
		S: 552 5.3.4
		C: MAIL FROM:<a@b.test> SIZE=99999999999
		S: 552 5.3.4
		C: MAIL FROM:<a@b.test> SIZE=99999999999999999999
		S: 552 5.3.4
		# 2^64+1
		C: MAIL FROM:<a@b.test> SIZE=18446744073709551617
		S: 552 5.3.4
		C: MAIL FROM:<a@b.test> SIZE=999999999999999999999
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> SIZE=-1
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> SIZE=
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> SIZE
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> SIZE=1e2
		S: 501 5.5.4
		C: MAIL FROM:<later@b.test> SIZE=1000
		S: 451 4.7.1
		C: MAIL FROM:<a@b.test> SIZE=1000
		S: 250
	`)
}

func TestD3_smtputf8(t *testing.T) {
	dialogue{server: &Server{Limits: Limits{Errors: -1}}}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		S+ SMTPUTF8
		C: MAIL FROM:<j\xc3\xb6rg@b.test>
		S: 553 5.6.7
		C: MAIL FROM:<a@b.test>
		S: 250
		C: RCPT TO:<c@b\xc3\xbccher.test>
		S: 553 5.6.7
		C: RSET
		S: 250
		C: MAIL FROM:<j\xc3\xb6rg@b\xc3\xbccher.test> SMTPUTF8
		S: 250
		E: MAIL j\xc3\xb6rg@b\xc3\xbccher.test|xn--bcher-kva.test
		C: RCPT TO:<c@B\xc3\x9cCHER.test>
		S: 250
		E: RCPT c@B\xc3\x9cCHER.test|xn--bcher-kva.test
		C: RCPT TO:<\xff@b.test>
		S: 553 5.1.3
		C: DATA
		S: 354
		C: .
		S: 250
		E: MESSAGE UTF8SMTP
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 354
		C: .
		S: 250
		E: MESSAGE ESMTP
		C: HELO x
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 250
		S: 354
		C: .
		S: 250
		E: MESSAGE SMTP
	`)
}

func TestChallenge(t *testing.T) {
	say(t, `
		S: 220
		C: EHLO x
		S: 250
		C: XASK
		S: 334 c2F5
		C: {a*12286}
		S: 235 2.7.0
		E: ANSWER 12286 <nil>
		C: XASK
		S: 334
		C: {a*12287}
		S: 501
		C: XASK
		S: 334
		C: me
		S: 235
		C: MAIL FROM:<a@b.test>
		C: RCPT TO:<c@d.test>
		C: DATA
		S: 250
		S: 250
		S: 354
		C: .
		S: 250
		E: MESSAGE ESMTPA
		C: XASK
		S: 334
		W: 5m1s
		S: 421 4.4.2
		CLOSED
	`)
}
