package smtp

import (
	"strings"
	"testing"
)

func TestD4_dsnParameters(t *testing.T) {
	dialogue{server: &Server{Limits: Limits{Errors: -1}}}.run(t, `
		S: 220
		C: EHLO x
		S: 250
		S+ DSN
		C: MAIL FROM:<a@b.test> RET=X
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> RET
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> RET=FULL RET=FULL
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> ENVID=+G0
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> ENVID=+4
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> ENVID=+4a
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> ENVID=+0A
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> ENVID=
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> ENVID={x*101}
		S: 501 5.5.4
		C: MAIL FROM:<a@b.test> ENVID=a ENVID=b
		S: 501 5.5.4
		C: MAIL FROM:<> ENVID={x*100}
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<a@b.test> ret=hdrs ENVID=Q+2B+20+41
		S: 250
		E: MAIL a@b.test|b.test RET=HDRS ENVID=Q+2B+20+41
		C: RCPT TO:<c@d.test> NOTIFY=NEVER,FAILURE
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> NOTIFY=
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> NOTIFY=SUCCESS,
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> NOTIFY=ALWAYS
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> NOTIFY=NEVER NOTIFY=NEVER
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> ORCPT=rfc822
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> ORCPT=rfc822;
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> ORCPT=;c@d.test
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> ORCPT=rfc822;a+2
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> ORCPT=rfc822;a+0D+0Ab
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> ORCPT=rfc822;{x*494}
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> ORCPT=rfc822;a ORCPT=rfc822;a
		S: 501 5.5.4
		C: RCPT TO:<c@d.test> ORCPT=utf-8;j\xc3\xb6rg@d.test
		S: 501 5.5.4
		E- RCPT
		C: RCPT TO:<c@d.test> ORCPT=rfc822;{x*493}
		S: 250
		C: RCPT TO:<e@d.test> notify=success,FAILURE,delay ORCPT=RFC822;Bob+2Bx@D.test
		S: 250
		E: RCPT e@d.test|d.test NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=RFC822;Bob+2Bx@D.test
		C: RCPT TO:<f@d.test> NOTIFY=NEVER
		S: 250
		E: RCPT f@d.test|d.test NOTIFY=NEVER
		C: RSET
		S: 250
		# the next transaction knows nothing of it
		C: MAIL FROM:<g@b.test>
		S: 250
		E: MAIL g@b.test|b.test
		E- MAIL g@b.test|b.test RET
		C: RSET
		S: 250
		C: MAIL FROM:<h@b.test> SMTPUTF8
		S: 250
		C: RCPT TO:<i@d.test> ORCPT=utf-8;j\xc3\xb6rg@d.test
		S: 250
		E: RCPT i@d.test|d.test ORCPT=utf-8;j\\x{F6}rg@d.test
		C: RCPT TO:<i@d.test> ORCPT=utf-8;\xff
		S: 501
		C: RCPT TO:<i@d.test> ORCPT=rfc822;\xc3\xb6
		S: 501
	`)
}

// FuzzDSN: what we take of these parameters can be sent to the next host as it is,
// ends no line, and is one parameter there.
func FuzzDSN(f *testing.F) {
	f.Add("RET=HDRS ENVID=Q+2B1", "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b", false)
	f.Add("ENVID=+G0", "NOTIFY=NEVER,FAILURE", false)
	f.Add("RET=X", "ORCPT=utf-8;j\xc3\xb6rg@x", true)
	f.Add("RET=FULL RET=FULL", "ORCPT=rfc822;+0D+0A", true)
	f.Fuzz(func(t *testing.T, mailArgs, rcptArgs string, utf8 bool) {
		if _, o, bad := parseMail("FROM:<a@b.test> "+mailArgs, false, true, 1000, 0); bad == nil {
			if !argSendable(o.Envid) || !argSendable(string(o.Return)) || len(o.Envid) > maxEnvid || !isPrintable(o.EnvelopeID) {
				t.Fatalf("%q: %+v", mailArgs, o)
			}
			if o.Envid != "" && !strings.Contains(mailArgs, "="+o.Envid) {
				t.Fatalf("%q: ENVID became %q", mailArgs, o.Envid)
			}
		} else if !bad.Permanent() {
			t.Fatalf("%q: %v", mailArgs, bad)
		}
		_, o, bad := parseRcpt("TO:<c@d.test> "+rcptArgs, false, true, utf8)
		if bad != nil {
			if !bad.Permanent() {
				t.Fatalf("%q: %v", rcptArgs, bad)
			}
			return
		}
		notify := o.NotifyList()
		if !argSendable(notify) || !argSendable(o.Orcpt) || strings.Contains(notify, "NEVER") && notify != "NEVER" {
			t.Fatalf("%q: %q, %q", rcptArgs, notify, o.Orcpt)
		}
		// What goes on says the same to a host that reads as we do.
		again := given(" NOTIFY=", notify) + given(" ORCPT=", o.Orcpt)
		_, o2, bad := parseRcpt("TO:<c@d.test>"+again, false, true, false)
		if bad != nil || o2.NotifyList() != notify || o2.Orcpt != o.Orcpt || o2.OriginalRecipient != o.OriginalRecipient {
			t.Fatalf("%q gives %q, read again %+v, %v", rcptArgs, again, o2, bad)
		}
	})
}
