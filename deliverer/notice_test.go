package deliverer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"
	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp/smtptest"
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

func TestH4_nullSenderGetsNoNotice(t *testing.T) {
	for name, change := range map[string]func(*memJob){
		"null sender": func(j *memJob) { j.env.Message.Sender = mail.Address{} },
		// D5
		"NOTIFY=NEVER":   func(j *memJob) { j.env.Recipients[0].Notify = "NEVER" },
		"NOTIFY=SUCCESS": func(j *memJob) { j.env.Recipients[0].Notify = "SUCCESS" },
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				sink := &smtptest.Sink{}
				defer sink.Close()
				sink.On("RCPT", "", smtptest.Answer{Reply: "550 5.1.1 No such user"})
				s.mx("there.test", 1)
				s.sink(1, sink)
				s.start()
				j := s.letter("b@there.test")
				change(j)
				s.q.add(j)
				s.after(time.Second)
				s.expect(j.env.ID(), "done: b failed 550")
				if n := len(s.q.stored()); n != 0 {
					s.Errorf("%d notices", n)
				}
				if st := s.d.Stats(); st.Swallowed != 1 {
					s.Errorf("not counted: %+v", st)
				}
			})
		})
	}
}

func TestH5_noticeBeforeSettlement(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "<no@", smtptest.Answer{Reply: "550 5.1.1 No such user"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.q.putErr = errors.New("disk full")
		s.start()
		id := s.send("no@there.test", "yes@there.test")
		s.after(10 * time.Second)
		es := s.expect(id, "wait: no deferred 550 yes delivered 250")
		if next := es[0].next; len(next.Recipients) != 1 || next.Recipients[0].Raw != "no@there.test" {
			s.Errorf("kept: %+v", next.Recipients)
		}
		s.q.mu.Lock()
		s.q.putErr = nil
		s.q.mu.Unlock()
		s.after(10 * time.Minute)
		s.expect(id, "wait: no deferred 550 yes delivered 250", "done: no failed 550")
		ns := s.q.stored()
		if len(ns) != 1 {
			s.Fatalf("%d notices", len(ns))
		}
		n := ns[0]
		if n.m.Origin != fmt.Sprintf("%020d", 1) || !n.m.Sender.IsNull() || len(n.ds) != 1 || n.ds[0].Destination != "here.test" ||
			n.ds[0].Recipients[0].Raw != "a@here.test" || n.ds[0].Expires.IsZero() || n.m.Size != int64(len(n.body)) || len(n.m.ID) != 20 {
			s.Errorf("%+v %+v", n.m, n.ds)
		}
		r := parseReport(s.T, n.body)
		if r.quoted != "From: a@here.test\r\nSubject: hello\r\n" {
			s.Errorf("quoted %q", r.quoted)
		}
	})
}

func TestNoticeIDIsOfTheAttempt(t *testing.T) {
	env := letter(7, time.Unix(0, 0), "b@there.test").env
	a, b, c := noticeID(&env, "failed", 1), noticeID(&env, "failed", 1), noticeID(&env, "failed", 2)
	env.Index = 1
	d := noticeID(&env, "failed", 1)
	if a != b || a == c || a == d || len(a) != 20 || strings.ContainsAny(a, ".") {
		t.Error(a, b, c, d)
	}
}

func TestDelayNoticeOnce(t *testing.T) {
	tell(t, func(s *story) {
		sink := &smtptest.Sink{}
		defer sink.Close()
		sink.On("RCPT", "", smtptest.Answer{Reply: "450 4.2.1 Busy"})
		s.mx("there.test", 1)
		s.sink(1, sink)
		s.start()
		quiet := s.letter("q@there.test")
		quiet.env.Recipients[0].Notify = "FAILURE"
		s.q.add(quiet)
		s.send("b@there.test")
		s.after(3*time.Hour + 50*time.Minute)
		if n := len(s.q.stored()); n != 0 {
			s.Errorf("%d notices before 4 hours", n)
		}
		s.after(4 * 24 * time.Hour)
		ns := s.q.stored()
		if len(ns) != 1 {
			s.Fatalf("%d delay notices, want 1", len(ns))
		}
		r := parseReport(s.T, ns[0].body)
		if r.rcpts[0].Get("Action") != "delayed" || r.rcpts[0].Get("Status") != "4.2.1" || r.rcpts[0].Get("Will-Retry-Until") != "Thu, 06 Jan 2000 00:00:00 +0000" {
			s.Errorf("%v", r.rcpts[0])
		}
	})
}

func TestH6_expiryOnce(t *testing.T) {
	for name, dead := range map[string]bool{"deferred by the host": false, "nobody answers": true} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(s *story) {
				sink := &smtptest.Sink{}
				defer sink.Close()
				sink.On("RCPT", "", smtptest.Answer{Reply: "450 4.2.1 Busy"})
				s.mx("there.test", 1)
				if !dead {
					s.sink(1, sink)
				}
				s.c.DelayNotice = -1
				s.start()
				var ids []string
				for range 5 {
					ids = append(ids, s.send("b@there.test"))
				}
				s.after(5*24*time.Hour - time.Minute)
				if n := len(s.q.stored()); n != 0 {
					s.Errorf("%d notices too early", n)
				}
				s.after(30 * time.Minute) // the gate of a dead host opens every 10 minutes or so
				for _, id := range ids {
					es := attempts(s.q.history(id))
					last := es[len(es)-1]
					if last.how != "done" || last.attempt.Outcomes[0].Reply.Enhanced != (mail.EnhancedCode{4, 4, 7}) {
						s.Errorf("%s ended with %s", id, became(last))
					}
					if late := last.at.Sub(last.attempt.Started); !dead && late > time.Minute {
						s.Errorf("late by %v", late)
					}
				}
				ns := s.q.stored()
				if len(ns) != 5 {
					s.Fatalf("%d notices for 5 deliveries", len(ns))
				}
				r := parseReport(s.T, ns[0].body)
				want := "smtp; 450 4.2.1 Busy"
				if dead {
					want = "x-tarishi; 451 4.4.1 no answer from mx1.test[192.0.2.1]:25: connection refused"
				}
				if got := r.rcpts[0]; got.Get("Status") != "4.4.7" || got.Get("Action") != "failed" || strings.Join(strings.Fields(got.Get("Diagnostic-Code")), " ") != want {
					s.Errorf("%v", got)
				}
				if st := s.d.Stats(); st.Expired != 5 {
					s.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestD4_relayedWhenTheHostKnowsNoDSN(t *testing.T) {
	for _, knows := range []bool{false, true} {
		tell(t, func(s *story) {
			sink := &smtptest.Sink{Extensions: []string{"PIPELINING"}}
			if knows {
				sink.Extensions = append(sink.Extensions, "DSN")
			}
			defer sink.Close()
			s.mx("there.test", 1)
			s.sink(1, sink)
			s.start()
			j := s.letter("b@there.test", "c@there.test")
			j.env.Recipients[0].Notify = "SUCCESS,FAILURE"
			s.q.add(j)
			s.after(time.Second)
			ns := s.q.stored()
			if knows {
				if len(ns) != 0 {
					s.Errorf("%d notices although the host sends its own", len(ns))
				}
				return
			}
			if len(ns) != 1 {
				s.Fatalf("%d notices", len(ns))
			}
			if r := parseReport(s.T, ns[0].body); len(r.rcpts) != 1 || r.rcpts[0].Get("Action") != "relayed" || r.rcpts[0].Get("Status") != "2.1.5" && r.rcpts[0].Get("Status")[0] != '2' {
				s.Errorf("%v", r.rcpts)
			}
		})
	}
}

func TestBounceByOperator(t *testing.T) {
	tell(t, func(s *story) {
		s.start()
		j := s.letter("b@there.test", "c@there.test")
		j.q = s.q
		if err := s.d.Bounce(context.Background(), j, mail.R(451, "4.0.0", "later")); err == nil {
			s.Error("a temporary reply bounced")
		}
		s.q.putErr = errors.New("disk full")
		if err := s.d.Bounce(context.Background(), j, mail.R(554, "5.0.0", "removed by the operator")); err == nil || j.ended {
			s.Error("ended although the notice could not be stored")
		}
		s.q.putErr = nil
		if err := s.d.Bounce(context.Background(), j, mail.R(554, "5.0.0", "removed by the operator")); err != nil {
			s.Error(err)
		}
		s.expect(j.env.ID(), "done: b failed 554 c failed 554")
		if len(s.q.stored()) != 1 {
			s.Error("no notice")
		}
	})
}

// Whatever a host answers to whom, every recipient ends in exactly one state per
// attempt, and no recipient is ever delivered twice, or both delivered and failed.
func TestRandomRepliesEachRecipientOnce(t *testing.T) {
	codes := []string{"", "", "450 4.2.1 Busy", "550 5.1.1 No", "452 4.5.3 Too many", "421 4.3.2 Bye", "cut"}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(rt, "recipients")
		var to []string
		for i := range n {
			to = append(to, fmt.Sprintf("r%d@there.test", i))
		}
		at := rapid.SampledFrom([]string{"RCPT", "MAIL", "DATA", "DOT"}).Draw(rt, "verb")
		all := rapid.SampledFrom(codes).Draw(rt, "answer")
		each := make([]string, n)
		for i := range each {
			each[i] = rapid.SampledFrom(codes).Draw(rt, "to recipient")
		}
		tell(t, func(s *story) {
			sink := &smtptest.Sink{}
			defer sink.Close()
			answer := func(verb, match, reply string) {
				switch reply {
				case "":
				case "cut":
					sink.On(verb, match, smtptest.Answer{Cut: true, Times: 1})
				default:
					sink.On(verb, match, smtptest.Answer{Reply: reply, Times: 2})
				}
			}
			for i := range each {
				answer("RCPT", fmt.Sprintf("<r%d@", i), each[i])
			}
			answer(at, "", all)
			s.mx("there.test", 1)
			s.sink(1, sink)
			s.c.DelayNotice = -1
			s.c.Retry.Schedule = []time.Duration{time.Minute}
			s.start()
			id := s.send(to...)
			s.after(40 * time.Minute)
			es := attempts(s.q.history(id))
			if len(es) == 0 || es[len(es)-1].how != "done" {
				s.Fatalf("not done after 40 minutes: %v", es)
			}
			final := map[string]mail.Status{}
			open := slices.Clone(to)
			for _, e := range es {
				var asked, left []string
				for _, o := range e.attempt.Outcomes {
					asked = append(asked, o.Recipient.Raw)
					if o.Status == mail.Deferred {
						left = append(left, o.Recipient.Raw)
						continue
					}
					if was, twice := final[o.Recipient.Raw]; twice {
						s.Errorf("%s was %v, and is %v", o.Recipient.Raw, was, o.Status)
					}
					final[o.Recipient.Raw] = o.Status
				}
				if !slices.Equal(asked, open) {
					s.Errorf("attempt for %v, open were %v", asked, open)
				}
				open = left
			}
			if len(final) != n {
				s.Errorf("%d of %d recipients have an end", len(final), n)
			}
			failed := 0
			for _, st := range final {
				if st == mail.Failed {
					failed++
				}
			}
			reported := 0
			for _, x := range s.q.stored() {
				reported += len(parseReport(s.T, x.body).rcpts)
			}
			if failed != reported {
				s.Errorf("%d failed, %d reported", failed, reported)
			}
		})
		if t.Failed() {
			rt.FailNow()
		}
	})
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
