package ingress

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestStory(t *testing.T) {
	q := &memory{}
	h := dialogue{queue: q, client: "127.0.0.1"}.run(t, `
		C: EHLO client.test
		S: 250
		C: MAIL FROM:<a@client.test> BODY=8BITMIME
		S: 250
		C: RCPT TO:<b@Example.ORG>
		S: 250
		C: RCPT TO:<c@other.test>
		S: 250
		C: RCPT TO:<d@example.org>
		S: 250
		C: DATA
		S: 354
		C: Subject: hello
		C:
		C: ..dot
		C: .
		S: 250 2.0.0 Queued as
		C: QUIT
		S: 221`)
	if len(q.messages()) != 1 {
		t.Fatalf("%d messages stored", len(q.messages()))
	}
	m := q.messages()[0]
	if !strings.HasSuffix(m.text, "\r\nSubject: hello\r\n\r\n.dot\r\n") || !strings.HasPrefix(m.text, "Received: from client.test (unknown [127.0.0.1]) by mx.test\r\n\twith ESMTP id "+m.message.ID+"; ") {
		t.Errorf("stored:\n%s", m.text)
	}
	if len(m.deliveries) != 2 || m.deliveries[0].Destination != "example.org" || len(m.deliveries[0].Recipients) != 2 ||
		m.deliveries[1].Destination != "other.test" || m.deliveries[1].Index != 1 {
		t.Errorf("deliveries: %+v", m.deliveries)
	}
	if m.deliveries[0].Recipients[0].Raw != "b@Example.ORG" {
		t.Errorf("the raw address was changed: %q", m.deliveries[0].Recipients[0].Raw)
	}
	if got := m.deliveries[0].Expires.Sub(m.message.Received).Hours(); got != 120 {
		t.Errorf("expires after %v hours", got)
	}
	if m.message.Sender.Raw != "a@client.test" || m.message.Body != "8BITMIME" || m.message.ClientIP != "127.0.0.1" || m.message.Helo != "client.test" || m.message.Size != int64(len(m.text)) {
		t.Errorf("message: %+v", m.message)
	}
	if s := h.Stats(); s.Accepted != 1 || s.Recipients != 3 || s.Deliveries != 2 || s.AcceptedBytes != int64(len(m.text)) || s.Connections != 1 {
		t.Errorf("counts: %+v", s)
	}
	if q.aborted != 0 {
		t.Error("a committed message was aborted")
	}
}

// A4: recipients of a transaction that was given up are not in the next one.
func TestA4_reset(t *testing.T) {
	for _, gone := range []string{"RSET", "EHLO y"} {
		q := &memory{}
		dialogue{queue: q}.run(t, `
			C: EHLO x
			S: 250
			C: MAIL FROM:<first@client.test>
			S: 250
			C: RCPT TO:<first@local.test>
			S: 250
			C: `+gone+`
			S: 250
			C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<second@local.test>
			S: 250
			C: DATA
			S: 354
			C: .
			S: 250
			C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<third@local.test>
			S: 250
			C: DATA
			S: 354
			C: .
			S: 250`)
		for i, want := range []string{"second@local.test", "third@local.test"} {
			if m := q.messages()[i]; len(m.deliveries) != 1 || len(m.deliveries[0].Recipients) != 1 || m.deliveries[0].Recipients[0].Raw != want || !m.message.Sender.IsNull() {
				t.Errorf("%s, message %d: from %q to %+v", gone, i, m.message.Sender.Raw, m.deliveries)
			}
		}
	}
}

func TestA5_postmaster(t *testing.T) {
	for _, x := range []struct {
		who, postmaster string
		local           []string
		client          string
		reply, to       string
	}{
		{"stranger, postmaster set", "admin@away.test", []string{"local.test"}, "192.0.2.7", "250", "admin@away.test"},
		{"stranger, local domain only", "", []string{"local.test"}, "192.0.2.7", "250", "postmaster@local.test"},
		{"relay client, nothing set", "", nil, "127.0.0.1", "250", "postmaster@mx.test"},
		{"stranger, nothing set", "", nil, "192.0.2.7", "550 5.1.1", ""},
	} {
		t.Run(x.who, func(t *testing.T) {
			for _, name := range []string{"postmaster", "PostMaster"} {
				q, p := &memory{}, defaults()
				p.Postmaster, p.LocalDomains = x.postmaster, x.local
				script := fmt.Sprintf("C: EHLO x\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<%s>\nS: %s\n", name, x.reply)
				if x.to != "" {
					script += "C: DATA\nS: 354\nC: .\nS: 250"
				}
				dialogue{queue: q, policy: p, client: x.client}.run(t, script)
				if x.to != "" && q.messages()[0].deliveries[0].Recipients[0].Raw != x.to {
					t.Errorf("%s goes to %+v, want %s", name, q.messages()[0].deliveries[0].Recipients, x.to)
				}
			}
		})
	}
	// In a local domain postmaster needs nobody's permission, in any case.
	dialogue{}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<PostMaster@local.test>
		S: 250`)
}

// G3: 100 recipients always, one over the limit is put off and the rest kept, and
// the same one twice is one.
func TestG3_recipients(t *testing.T) {
	q, p := &memory{}, defaults()
	p.MaxRecipients = 1 // never below 100
	h := dialogue{queue: q, policy: p}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		`+strings.Repeat("C: RCPT TO:<u@local.test>\nS: 250\n", 1)+manyRcpt(99)+`
		C: RCPT TO:<one-more@local.test>
		S: 452 4.5.3
		C: DATA
		S: 354
		C: .
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<one-more@local.test>
		S: 250`)
	if ds := q.messages()[0].deliveries; len(ds) != 1 || len(ds[0].Recipients) != 100 {
		t.Errorf("%d deliveries, %d recipients", len(ds), len(ds[0].Recipients))
	}
	if s := h.Stats(); s.TooMany != 1 {
		t.Errorf("counts: %+v", s)
	}

	q = &memory{}
	dialogue{queue: q}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: RCPT TO:<u@LOCAL.TEST>
		S: 250
		C: RCPT TO:<U@local.test>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250`)
	// RFC 5321 §2.4: u and U may be two people.
	if r := q.messages()[0].deliveries[0].Recipients; len(r) != 2 || r[0].Raw != "u@local.test" || r[1].Raw != "U@local.test" {
		t.Errorf("recipients: %+v", r)
	}
}

func manyRcpt(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "C: RCPT TO:<u%d@local.test>\nS: 250\n", i)
	}
	return b.String()
}

// D1, M1: no room and no store are the client's "later", never its fault.
func TestD1_M1_later(t *testing.T) {
	wrapped := fmt.Errorf("publish: %w", errFull)
	for _, x := range []struct {
		name, script string
		q            *memory
	}{
		{"full at MAIL", "C: MAIL FROM:<>\nS: 452 4.3.1\nC: RCPT TO:<u@local.test>\nS: 503", &memory{room: wrapped}},
		{"unavailable at MAIL", "C: MAIL FROM:<>\nS: 451 4.3.0", &memory{room: errors.New("no quorum")}},
		{"full at write", sendOne("452 4.3.1"), &memory{write: wrapped}},
		{"unavailable at write", sendOne("451 4.3.0"), &memory{write: errors.New("x")}},
		{"full at commit", sendOne("452 4.3.1"), &memory{commit: wrapped}},
		{"unavailable at commit", sendOne("451 4.3.0"), &memory{commit: errors.New("x")}},
	} {
		t.Run(x.name, func(t *testing.T) {
			h := dialogue{queue: x.q}.run(t, "C: EHLO x\nS: 250\n"+x.script+"\nC: NOOP\nS: 250")
			if s := h.Stats(); len(x.q.stored) != 0 || s.Full+s.Unavailable != 1 || s.Accepted != 0 {
				t.Errorf("stored %d, counts %+v", len(x.q.stored), s)
			}
			if strings.Contains(x.script, "DATA") && x.q.aborted != 1 {
				t.Errorf("aborted %d times", x.q.aborted)
			}
		})
	}
}

func sendOne(reply string) string {
	return "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<u@local.test>\nS: 250\nC: DATA\nS: 354\nC: Subject: x\nC:\nC: body\nC: .\nS: " + reply
}

// B11: 250 comes after Commit has returned, not before.
func TestB11_promise(t *testing.T) {
	q := &memory{gate: make(chan struct{})}
	dialogue{queue: q}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: hello
		C: .
		NOTHING
		GO
		S: 250 2.0.0 Queued as `)
}

// B10: a message that is cut off is not queued; neither is one with a bare CR.
func TestB10_cut(t *testing.T) {
	q := &memory{}
	dialogue{queue: q}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: hello
		CUT`)
	if len(q.messages()) != 0 || q.aborted != 1 {
		t.Errorf("stored %d, aborted %d", len(q.messages()), q.aborted)
	}
	q = &memory{}
	dialogue{queue: q}.run(t, "C: EHLO x\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<u@local.test>\nS: 250\nC: DATA\nS: 354\nC: a{\\r*1}b\nC: .\nS: 5\nC: NOOP\nS: 250")
	if len(q.messages()) != 0 || q.aborted != 1 {
		t.Errorf("bare CR: stored %d, aborted %d", len(q.messages()), q.aborted)
	}
}

// C3: message octets behind DATA are for clients we trust.
func TestC3_trusted(t *testing.T) {
	const early = `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		C: RCPT TO:<u@local.test>
		C: DATA
		C: hello
		C: .
		S: 250
		S: 250
		S: `
	dialogue{}.run(t, early+"503 5.5.0")
	dialogue{client: "127.0.0.1"}.run(t, early+"354\nS: 250 2.0.0")
}

// D4: what the client asks of notices goes to the queue octet for octet, and with
// its recipient and its message only.
func TestD4_dsnOptionsAreKept(t *testing.T) {
	q := &memory{}
	dialogue{queue: q, client: "127.0.0.1"}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@client.test> RET=HDRS ENVID=QQ+2B1
		S: 250
		C: RCPT TO:<b@one.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B+2Bx@old.test
		S: 250
		C: RCPT TO:<c@one.test>
		S: 250
		C: RCPT TO:<d@two.test> NOTIFY=NEVER
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250
		C: MAIL FROM:<a@client.test>
		S: 250
		C: RCPT TO:<b@one.test>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250`)
	m := q.messages()[0]
	if m.message.Ret != "HDRS" || m.message.EnvelopeID != "QQ+2B1" {
		t.Errorf("message: %+v", m.message)
	}
	one, two := m.deliveries[0].Recipients, m.deliveries[1].Recipients
	if one[0].Notify != "SUCCESS,DELAY" || one[0].ORcpt != "rfc822;B+2Bx@old.test" || one[1].Notify != "" || one[1].ORcpt != "" || two[0].Notify != "NEVER" {
		t.Errorf("recipients: %+v, %+v", one, two)
	}
	if m := q.messages()[1]; m.message.Ret != "" || m.message.EnvelopeID != "" || m.deliveries[0].Recipients[0].Notify != "" {
		t.Errorf("the next one: %+v, %+v", m.message, m.deliveries)
	}
}

// B10: a client that is gone before it has heard the 250 finds its message stored
// once, whole, or not at all; and it is not aborted behind the store's back.
func TestB10_cutBehindTheDot(t *testing.T) {
	q := &memory{gate: make(chan struct{})}
	dialogue{queue: q}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: hello
		C: .
		NOTHING
		HANG UP
		GO`)
	if len(q.messages()) != 1 || q.aborted != 0 || !strings.HasSuffix(q.messages()[0].text, "\r\n\r\nhello\r\n") {
		t.Errorf("stored %d, aborted %d", len(q.messages()), q.aborted)
	}
}

// F5: VRFY and EXPN say the same about everybody, whether they exist, are
// suppressed, or could not be mailed to at all; and RCPT makes no difference
// between the mailboxes of a local domain.
func TestF5_verify(t *testing.T) {
	p := defaults()
	for _, who := range []string{"u", "nobody", "u@local.test", "postmaster", "u@other.test", "<u@local.test>"} {
		dialogue{policy: p}.run(t, `
			C: EHLO x
			S: 250
			C: VRFY `+who+`
			S: 252 2.5.0 Cannot VRFY, but will take a message and try
			C: EXPN `+who+`
			S: 502 5.5.1 Command not implemented`)
	}
	dialogue{policy: p}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250 2.1.5 OK
		C: RCPT TO:<who-is-this@local.test>
		S: 250 2.1.5 OK`)
}
