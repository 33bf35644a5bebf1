package smtp

import "testing"

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
