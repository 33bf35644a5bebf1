package deliverer

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"

	"github.com/tarishi/tarishi/mail"
)

// parsedReport is a DSN as another mail system reads it.
type parsedReport struct {
	head   message.Header
	types  []string
	human  string
	quoted string
	per    textproto.Header   // per message
	rcpts  []textproto.Header // per recipient
}

func parseReport(t testing.TB, raw []byte) parsedReport {
	t.Helper()
	if i := bytes.Index(bytes.ReplaceAll(raw, []byte("\r\n"), nil), []byte("\n")); i >= 0 {
		t.Fatalf("bare LF in notice:\n%q", raw)
	}
	for line := range bytes.SplitSeq(raw, []byte("\r\n")) {
		if len(line) > 998 {
			t.Errorf("line of %d octets", len(line))
		}
	}
	e, err := message.Read(bytes.NewReader(raw))
	if err != nil && !message.IsUnknownCharset(err) {
		t.Fatalf("read notice: %v\n%s", err, raw)
	}
	r := parsedReport{head: e.Header}
	mr := e.MultipartReader()
	if mr == nil {
		t.Fatalf("no multipart:\n%s", raw)
	}
	for {
		p, err := mr.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("part: %v\n%s", err, raw)
		}
		kind, _, _ := p.Header.ContentType()
		r.types = append(r.types, kind)
		b, err := io.ReadAll(p.Body)
		if err != nil {
			t.Fatal(err)
		}
		switch len(r.types) {
		case 1:
			r.human = string(b)
		case 2:
			br := bufio.NewReader(bytes.NewReader(append(b, "\r\n"...)))
			if r.per, err = textproto.ReadHeader(br); err != nil {
				t.Fatalf("status: %v\n%s", err, b)
			}
			for {
				if _, err := br.Peek(3); err != nil {
					break
				}
				h, err := textproto.ReadHeader(br)
				if err != nil {
					t.Fatalf("status: %v\n%s", err, b)
				}
				r.rcpts = append(r.rcpts, h)
			}
		case 3:
			r.quoted = string(b)
		}
	}
	return r
}

func exampleNotice() *notice {
	return &notice{
		id: "0000000001ABCDEFGHJK", hostname: "us.test", now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		about: &mail.Message{ID: "00000000000000000001", Sender: mail.NewAddress("a@here.test"), EnvelopeID: "QQ+2B314159",
			Received: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC), Helo: "client.test"},
		verdicts: []verdict{
			{recipient: mail.Recipient{Address: mail.NewAddress(`"b c"@there.test`), ORcpt: "rfc822;Bob+40orig.test"},
				action: actionFailed, reply: mail.R(550, "5.1.1", "No such user\nreally not"), host: "mx1.there.test[192.0.2.1]:25"},
			{recipient: mail.Recipient{Address: mail.NewAddress("d@there.test")}, action: actionFailed,
				reply: mail.R(450, "4.2.1", "Busy "+strings.Repeat("x", 3000)), host: "mx1.there.test[192.0.2.1]:25", status: mail.EnhancedCode{4, 4, 7}},
			{recipient: mail.Recipient{Address: mail.NewAddress("e@there.test")}, action: actionFailed,
				reply: mail.R(550, "5.1.2", "domain does not exist")},
		},
		header: []byte("From: a@here.test\r\nSubject: hello\r\n"),
	}
}

func TestH5_noticeIsWhatRFC3464Asks(t *testing.T) {
	n := exampleNotice()
	raw, utf8 := n.write()
	if utf8 {
		t.Error("an ASCII notice asks for SMTPUTF8")
	}
	r := parseReport(t, raw)
	kind, params, _ := r.head.ContentType()
	if kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Errorf("%s %v", kind, params)
	}
	for field, want := range map[string]string{
		"Auto-Submitted": "auto-replied",
		"Message-Id":     "<0000000001ABCDEFGHJK@us.test>",
		"To":             "<a@here.test>",
		"From":           "Mail Delivery System <MAILER-DAEMON@us.test>",
		"Date":           "Sun, 01 Mar 2026 12:00:00 +0000",
	} {
		if got := r.head.Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if got := strings.Join(r.types, " "); got != "text/plain message/delivery-status text/rfc822-headers" {
		t.Errorf("parts %s", got)
	}
	if r.quoted != string(n.header) {
		t.Errorf("quoted %q", r.quoted)
	}
	for _, want := range []string{`<"b c"@there.test>`, "mx1.there.test[192.0.2.1]:25 said: 550 5.1.1 No such user / really not", "could not be delivered in time"} {
		if !strings.Contains(strings.Join(strings.Fields(r.human), " "), want) {
			t.Errorf("human part lacks %q:\n%s", want, r.human)
		}
	}
	for field, want := range map[string]string{
		"Reporting-Mta": "dns; us.test", "Original-Envelope-Id": "QQ+314159", "Arrival-Date": "Sun, 01 Mar 2026 11:00:00 +0000",
	} {
		if got := r.per.Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if len(r.rcpts) != 3 {
		t.Fatalf("%d recipients", len(r.rcpts))
	}
	for i, want := range []map[string]string{
		{"Final-Recipient": `rfc822;"b c"@there.test`, "Original-Recipient": "rfc822;Bob@orig.test", "Action": "failed", "Status": "5.1.1",
			"Remote-Mta": "dns; mx1.there.test", "Diagnostic-Code": "smtp; 550 5.1.1 No such user / really not", "Last-Attempt-Date": "Sun, 01 Mar 2026 12:00:00 +0000"},
		{"Action": "failed", "Status": "4.4.7"},
		{"Status": "5.1.2", "Remote-Mta": "", "Diagnostic-Code": "x-tarishi; 550 5.1.2 domain does not exist"},
	} {
		for field, v := range want {
			if got := r.rcpts[i].Get(field); got != v {
				t.Errorf("recipient %d: %s: %q, want %q", i, field, got, v)
			}
		}
	}
}

func TestH5_noticeForSMTPUTF8(t *testing.T) {
	n := exampleNotice()
	n.about.Sender = mail.NewAddress("jürgen@here.test")
	n.verdicts[0].recipient.Address = mail.NewAddress("用户@there.test")
	raw, utf8 := n.write()
	if !utf8 {
		t.Error("does not ask for SMTPUTF8")
	}
	r := parseReport(t, raw)
	if got := strings.Join(r.types, " "); got != "text/plain message/global-delivery-status message/global-headers" {
		t.Errorf("parts %s", got)
	}
	if got := r.rcpts[0].Get("Final-Recipient"); got != "utf-8;用户@there.test" {
		t.Errorf("Final-Recipient: %s", got)
	}
}

func TestNoticeQuotes8BitHeaderAs7Bit(t *testing.T) {
	n := exampleNotice()
	n.header = []byte("Subject: gr\xfc\xdfe\r\n")
	raw, _ := n.write()
	if !isASCII(raw) {
		t.Error("8-bit octets in a notice without 8BITMIME")
	}
	if r := parseReport(t, raw); r.quoted != string(n.header) {
		t.Errorf("quoted %q", r.quoted)
	}
}

func TestNoticeIsNotMuchLargerThanItsCause(t *testing.T) {
	n := exampleNotice()
	n.verdicts = nil
	for i := range 1000 {
		n.verdicts = append(n.verdicts, verdict{recipient: mail.Recipient{Address: mail.NewAddress(fmt.Sprintf("b%d@there.test", i))},
			action: actionFailed, host: "mx.there.test[192.0.2.1]:25", reply: mail.R(550, "5.1.1", strings.Repeat("long words ", 5000))})
	}
	raw, _ := n.write()
	if len(raw) > 1<<20 {
		t.Errorf("%d octets for 1000 recipients", len(raw))
	}
	parseReport(t, raw)
}

// Python's email package is what many bounce processors stand on.
func TestH5_pythonReadsTheNotice(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here")
	}
	raw, _ := exampleNotice().write()
	cmd := exec.Command(python, "-c", `
import sys, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
assert not m.defects, m.defects
print(m.get_content_type(), m.get_param("report-type"), m["auto-submitted"])
status = list(m.iter_parts())[1]
for block in status.get_payload():
    for k in ("Reporting-MTA", "Final-Recipient", "Action", "Status"):
        if block[k]: print(k, block[k])
`)
	cmd.Stdin = bytes.NewReader(raw)
	out, err := cmd.CombinedOutput()
	want := `multipart/report delivery-status auto-replied
Reporting-MTA dns; us.test
Final-Recipient rfc822;"b c"@there.test
Action failed
Status 5.1.1
Final-Recipient rfc822;d@there.test
Action failed
Status 4.4.7
Final-Recipient rfc822;e@there.test
Action failed
Status 5.1.2
`
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s", err, out)
	}
}

func FuzzNotice(f *testing.F) {
	f.Add("550 text", "b@there.test", "rfc822;x+40y", "E+2BX", "From: x\r\n\r\n", "mx[192.0.2.1]:25")
	f.Add("a\r\nFinal-Recipient: x", "b\"<>@there.test", "+", "+0", "\r\n", "")
	f.Fuzz(func(t *testing.T, reply, to, orcpt, envid, header, host string) {
		n := exampleNotice()
		n.about.EnvelopeID = envid
		n.verdicts = n.verdicts[:1]
		n.verdicts[0] = verdict{recipient: mail.Recipient{Address: mail.NewAddress(to), ORcpt: orcpt}, action: actionFailed,
			reply: mail.R(550, "", reply), host: host}
		n.header = nil // what is quoted is quoted as it is
		raw, _ := n.write()
		r := parseReport(t, raw)
		if len(r.rcpts) != 1 || len(r.types) != 3 {
			t.Errorf("a stranger's words made %d recipients and %d parts:\n%s", len(r.rcpts), len(r.types), raw)
		}
		_ = cutHeader([]byte(header))
	})
}
