package smtp

import (
	"strings"
	"testing"
)

// A command that is refused for its form has not happened: the transaction it came in
// is what it was (RFC 5321 §3.3, §4.1.4: only EHLO, HELO and RSET that succeed end one).
func TestA2_A3_A6_A7_A8_A9_A10_A11_mistakesChangeNothing(t *testing.T) {
	for _, x := range [][2]string{
		{`EHLO`, "501"}, {`EHLO [192.0.2.256]`, "501"}, {`HELO`, "501"},
		{`MAIL FROM:<second@b.test>`, "503"}, {`RSET now`, "501"}, {`DATA now`, "501"},
		{`RCPT TO:<no@d.test> SIZE=1`, "555"}, {`RCPT TO:<e@d.test> NOTIFY=NEVER NOTIFY=NEVER`, "501"}, {`RCPT TO:e@d.test`, "501"},
		{`FOO`, "500"}, {`EXPN list`, "502"}, {`STARTTLS x`, "501"}, {`VRFY`, "501"},
		{`NOOP {x*3000}`, "500"}, {`RSET\0`, "500"}, {`RSET\rRSET`, "500"},
		{`RCPT TO:<{l*65}@d.test>`, "553"}, {`RCPT TO:<e@d..test>`, "553"}, {`RCPT TO:<nobody@d.test>`, "550"},
		{`BDAT 3 FIRST\r\nab\n`, "501"},
	} {
		t.Run(x[0], func(t *testing.T) {
			h := &recorder{}
			dialogue{handler: h}.run(t, `
				S: 220
				C: EHLO x
				S: 250
				C: MAIL FROM:<a@b.test>
				S: 250
				C: RCPT TO:<c@d.test>
				S: 250
				C| `+x[0]+lineEnd(x[0])+`
				S: `+x[1]+`
				C: RCPT TO:<last@d.test>
				S: 250
				C: DATA
				S: 354
				C: text
				C: .
				S: 250 2.0.0 Queued as Q1
				E: MAIL
				E: RCPT c@
				E: RCPT last@
				E- HELLO second
				M: text\r\n
			`)
			if n := h.count("HELLO"); n != 1 {
				t.Errorf("Hello was called %d times", n)
			}
		})
	}
}

// lineEnd is what a command still needs: a chunk brings its own octets.
func lineEnd(command string) string {
	if strings.HasPrefix(command, "BDAT") {
		return ""
	}
	return `\r\n`
}

// After a message that was refused the transaction is over, as after one that was
// taken (RFC 5321 §3.3: DATA clears the buffers, whatever the reply), and the next one
// begins with nothing of it.
func TestB1_B2_B3_B7_B8_B9_C5_refusedMessageEndsTheTransaction(t *testing.T) {
	for _, x := range [][2]string{
		{`DATA\r\n|body\n.\nMAIL FROM:<smug@x.test>\r\n.\r\n`, "550 5.5.2"},
		{`DATA\r\n|body\r\r\n.\r\n`, "550 5.5.2"},
		{`DATA\r\n|a\nb\r\n.\r\n`, "550 5.5.2"},
		{`DATA\r\n|{x*5000}\r\n.\r\n`, "554 5.6.0"},
		{`DATA\r\n|a\0\r\n.\r\n`, "550 5.6.0"},
		{`DATA\r\n|{x\r\n*9000}.\r\n`, "552 5.3.4"},
		{`BDAT 3 LAST\r\na\nb`, "550 5.5.2"},
		{`BDAT 4\r\na\nbc`, "550 5.5.2"},
	} {
		t.Run(x[0], func(t *testing.T) {
			first, body := x[0], ""
			if command, message, ok := strings.Cut(first, "|"); ok {
				first, body = command, "S: 354\nC| "+message
			}
			h := &recorder{}
			dialogue{handler: h, server: &Server{Limits: Limits{BodyLine: 4000, MessageSize: 20000}}}.run(t, `
				S: 220
				C: EHLO x
				S: 250
				C: MAIL FROM:<a@b.test>
				S: 250
				C: RCPT TO:<c@d.test>
				S: 250
				C| `+first+`
				`+body+`
				S: `+x[1]+`
				C: RCPT TO:<e@d.test>
				S: 503 5.5.1
				C: DATA
				S: 503 5.5.1
				C: MAIL FROM:<second@b.test>
				S: 250
				C: DATA
				S: 554 5.5.1
				C: RCPT TO:<f@d.test>
				S: 250
				C: DATA
				S: 354
				C: .
				S: 250 2.0.0 Queued as Q1
				E- RCPT e@
				E- MAIL smug
			`)
			if len(h.messages) != 1 {
				t.Errorf("%d messages", len(h.messages))
			}
		})
	}
}
