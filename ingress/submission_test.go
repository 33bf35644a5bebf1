package ingress

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/auth"
	"github.com/tarishi/tarishi/smtp"
)

var submission = smtp.Port{Submission: true}

// Nobody sends without AUTH there, not even from a network that may relay.
func TestD8_submissionNeedsAuth(t *testing.T) {
	for _, client := range []string{"192.0.2.7", "10.1.0.1"} {
		q := &memory{}
		dialogue{client: client, policy: withUsers(t, true), queue: q, port: submission}.run(t, `
			C: EHLO c
			S: 250
			C: MAIL FROM:<a@x.test>
			S: 530 5.7.0
			C: RCPT TO:<b@local.test>
			S: 503
			C: AUTH PLAIN `+plainWord("old", "secret")+`
			S: 235
			C: MAIL FROM:<a@x.test>
			S: 250
			C: RCPT TO:<b@far.test>
			S: 250
		`)
	}
}

func TestD10_senders(t *testing.T) {
	s, err := auth.ParseSenders("senders", []byte("old: old@mine.test @all.test"))
	if err != nil {
		t.Fatal(err)
	}
	p := withUsers(t, true)
	p.Owns = s.Owns
	for _, port := range []smtp.Port{submission, {}} { // a login says who one is on port 25, too
		dialogue{policy: p, port: port}.run(t, `
			C: EHLO c
			S: 250
			C: AUTH PLAIN `+plainWord("old", "secret")+`
			S: 235
			C: MAIL FROM:<ann@mine.test>
			S: 553 5.7.1
			C: RCPT TO:<b@far.test>
			S: 503
			C: MAIL FROM:<Old@mine.test>
			S: 250
			C: RSET
			S: 250
			C: MAIL FROM:<any@all.test>
			S: 250
			C: RSET
			S: 250
			C: MAIL FROM:<>
			S: 250
		`)
	}
	// Who has proved nothing is a stranger's relay, whose senders are nobody's business.
	dialogue{policy: p}.run(t, "C: EHLO c\nS: 250\nC: MAIL FROM:<ann@mine.test>\nS: 250")
}

// On a submission port what a message lacks is added, and Bcc taken out; on port 25 it
// stays as it is.
func TestD11_mending(t *testing.T) {
	const date, id = `Date: [A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n`, `Message-ID: <\w+@mx\.test>\r\n`
	for name, x := range map[string]struct{ in, out string }{
		"nothing there":     {"Subject: a\n\nhi", `Subject: a\r\n` + date + id + `\r\nhi\r\n`},
		"both there":        {"date: x\nMESSAGE-ID: y\nSubject: a\n\nhi", `date: x\r\nMESSAGE-ID: y\r\nSubject: a\r\n\r\nhi\r\n`},
		"date there":        {"Date: x\n\nhi", `Date: x\r\n` + id + `\r\nhi\r\n`},
		"id there":          {"Message-ID:\n <y>\n\nhi", `Message-ID:\r\n <y>\r\n` + date + `\r\nhi\r\n`},
		"in the body":       {"Subject: a\n\nDate: x\nBcc: y", `Subject: a\r\n` + date + id + `\r\nDate: x\r\nBcc: y\r\n`},
		"no header":         {"\nhi", date + id + `\r\nhi\r\n`},
		"no empty line":     {"Subject: a", `Subject: a\r\n` + date + id},
		"body without one":  {"Subject: a\nhello there", `Subject: a\r\n` + date + id + `\r\nhello there\r\n`},
		"empty":             {"", date + id},
		"blind copies":      {"To: a\nBcc: b,\n c\nbcc : d\nResent-Bcc: e\nDate: x\nMessage-ID: y\n\nhi", `To: a\r\nDate: x\r\nMessage-ID: y\r\n\r\nhi\r\n`},
		"blind copies last": {"Date: x\nMessage-ID: y\nBcc: b", `Date: x\r\nMessage-ID: y\r\n`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, port := range []smtp.Port{submission, {}} {
				q := &memory{}
				lines := ""
				for line := range strings.SplitSeq(x.in, "\n") {
					if x.in != "" {
						lines += "C: " + line + "\n"
					}
				}
				dialogue{policy: withUsers(t, true), queue: q, port: port}.run(t, `
					C: EHLO c
					S: 250
					C: AUTH PLAIN `+plainWord("old", "secret")+`
					S: 235
					C: MAIL FROM:<a@x.test>
					S: 250
					C: RCPT TO:<b@far.test>
					S: 250
					C: DATA
					S: 354
					`+lines+`C: .
					S: 250
				`)
				out := x.out
				if !port.Submission {
					in := strings.ReplaceAll(x.in, "\n", "\r\n")
					if in != "" {
						in += "\r\n"
					}
					out = regexp.QuoteMeta(in)
					if name == "body without one" {
						out = strings.Replace(out, "hello", "\r\nhello", 1)
					}
				}
				got := q.messages()[0].text
				got = got[traceLength(got):]
				if !regexp.MustCompile("^" + out + "$").MatchString(got) {
					t.Errorf("submission %v: got %q\nwant %s", port.Submission, got, out)
				}
			}
		})
	}
}

// A message by BDAT may end within a line; what is added begins a new one.
func TestD11_endsWithinALine(t *testing.T) {
	q := &memory{}
	dialogue{policy: withUsers(t, true), queue: q, port: submission}.run(t, `
		C: EHLO c
		S: 250
		C: AUTH PLAIN `+plainWord("old", "secret")+`
		S: 235
		C: MAIL FROM:<a@x.test>
		S: 250
		C: RCPT TO:<b@far.test>
		S: 250
		C: BDAT 10 LAST
		C: Subject: aNOOP
		S: 250
		S: 250 2.0.0 OK
	`)
	if got := q.messages()[0].text; !strings.Contains(got, "\r\nSubject: a\r\nDate: ") {
		t.Errorf("%q", got)
	}
}

// traceLength is the length of the Received field that a message begins with.
func traceLength(m string) int {
	n := 0
	for line := range strings.Lines(m) {
		if n > 0 && line[0] != '\t' {
			break
		}
		n += len(line)
	}
	return n
}

// What XCLIENT says of a client is as good as what we would have found out: its address
// decides whether it may relay, its name stands in Received, and a login is one.
func TestXClient(t *testing.T) {
	u, err := auth.ParseUsers("users", []byte("ann:$2a$04$FC35OWiAh3FbcyUWzrbFDulELnWoSnWdBKyMVyrrQMC17wUPnSV4y:acme\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := defaults()
	p.Auth = &Auth{Users: func() *auth.Users { return u }}
	q := &memory{}
	port := smtp.Port{XClients: []netip.Prefix{netip.MustParsePrefix("10.1.0.9/32")}}
	send := `
		C: EHLO spike.test
		S: 250
		C: MAIL FROM:<a@x.test>
		S: 250
		C: RCPT TO:<b@far.test>
		S: 250
		C: DATA
		S: 354
		C: Subject: a
		C: .
		S: 250
	`
	dialogue{client: "10.1.0.9", policy: p, queue: q, port: port}.run(t, `
		C: EHLO proxy.test
		S: 250
		C: XCLIENT ADDR=198.51.100.7 NAME=spike.example.test
		S: 220
		C: EHLO spike.test
		S: 250
		C: MAIL FROM:<a@x.test>
		S: 250
		C: RCPT TO:<b@far.test>
		S: 550 5.7.1
		C: RSET
		S: 250
		C: XCLIENT LOGIN=ann
		S: 220`+send+`
		C: XCLIENT ADDR=10.1.0.3 NAME=[UNAVAILABLE] LOGIN=[UNAVAILABLE]
		S: 220`+send)
	ms := q.messages()
	if len(ms) != 2 {
		t.Fatalf("%d messages", len(ms))
	}
	for i, want := range []string{"from spike.test (spike.example.test [198.51.100.7])", "from spike.test (unknown [10.1.0.3])"} {
		if got := strings.ReplaceAll(ms[i].text, "\r\n\t", " "); !strings.Contains(got, want) {
			t.Errorf("%q has no %q", got, want)
		}
	}
	if ms[0].message.Tenant != "acme" || ms[1].message.Tenant != "" {
		t.Errorf("tenants %q and %q", ms[0].message.Tenant, ms[1].message.Tenant)
	}
}

// A client whose address a proxy does not know has no rights by one, though the proxy has.
func TestF4_unknownBehindProxy(t *testing.T) {
	port := smtp.Port{Proxies: []netip.Prefix{netip.MustParsePrefix("10.1.0.9/32")}}
	for header, reply := range map[string]string{
		"PROXY UNKNOWN": "550 5.7.1",
		"PROXY TCP4 192.0.2.7 203.0.113.1 4096 25": "550 5.7.1",
		"PROXY TCP4 10.1.0.4 203.0.113.1 4096 25":  "250",
	} {
		dialogue{client: "10.1.0.9", port: port, proxy: header + "\r\n"}.run(t, `
			C: EHLO c
			S: 250
			C: MAIL FROM:<a@x.test>
			S: 250
			C: RCPT TO:<b@far.test>
			S: `+reply)
	}
}
