package ingress

import (
	"context"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// whole is a dialogue with one message from a client that may not relay.
func whole(text, reply string) string {
	return "C: EHLO x\nS: 250\nC: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<u@local.test>\nS: 250\nC: DATA\nS: 354\n" + text + "C: .\nS: " + reply
}

const hello = "C: Subject: hello\nC: X-Old: 1\nC:\nC: body\n"

// What plugins make of the message is what is stored, and nothing else of it changes.
func TestHandover_changes(t *testing.T) {
	q := &memory{}
	dialogue{queue: q, policy: with(inForce(t, scripted{"p", at{
		plugin.Mail: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			e.Transaction.Notes.Set("score", 7)
			_ = e.Transaction.AddField("X-Early", "noted at MAIL")
			return plugin.Verdict{}
		},
		plugin.Rcpt: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			if e.Recipient.Raw == "u@local.test" { // an alias
				e.Transaction.DropRecipient()
				e.Transaction.AddRecipient(mail.Recipient{Address: mail.NewAddress("ann@away.test")})
				e.Transaction.AddRecipient(mail.Recipient{Address: mail.NewAddress("bob@Local.test")})
			}
			return plugin.Verdict{Code: plugin.OK}
		},
		plugin.DataPost: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			m := e.Transaction.Message()
			for range 2 { // the body can be read as often as one likes
				r, err := m.Body()
				b, _ := io.ReadAll(r)
				if err != nil || string(b) != "body\r\n" {
					t.Errorf("the body is %q (%v)", b, err)
				}
			}
			if m.Header().Get("subject") != "hello" || !strings.HasPrefix(m.Header().Get("received"), "from x ") {
				t.Errorf("the header is %q", m.Header().Bytes())
			}
			m.Header().Remove("X-Old")
			_ = m.Header().AddLeading("X-First", "yes")
			e.Transaction.SetFrom(mail.NewAddress("bounces@local.test"))
			e.Transaction.SetTenant("acme")
			e.Transaction.SetClass(mail.Bulk)
			return plugin.Verdict{}
		},
		plugin.PreSend: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			_ = e.Transaction.Message().Header().Add("X-Last", "signed")
			return plugin.Verdict{}
		},
	}}))}.run(t, whole(hello, "250 2.0.0 Queued as"))
	if len(q.messages()) != 1 {
		t.Fatalf("%d stored", len(q.messages()))
	}
	s := q.messages()[0]
	head, rest, _ := strings.Cut(s.text, "Received:")
	_, rest, _ = strings.Cut(rest, "\r\nSubject")
	if head != "X-First: yes\r\n" || rest != ": hello\r\nX-Early: noted at MAIL\r\nX-Last: signed\r\n\r\nbody\r\n" {
		t.Errorf("stored\n%s", s.text)
	}
	m := s.message
	if m.Sender.Raw != "bounces@local.test" || m.Tenant != "acme" || m.Class != mail.Bulk || string(m.Notes) != `{"score":7}` {
		t.Errorf("message %+v, notes %s", m, m.Notes)
	}
	if len(s.deliveries) != 2 || s.deliveries[0].Recipients[0].Raw != "ann@away.test" || s.deliveries[1].Destination != "local.test" {
		t.Errorf("deliveries %+v", s.deliveries)
	}
}

// What plugins spoil is put off; nothing of it comes near another server's wire.
func TestHandover_faults(t *testing.T) {
	for _, x := range []struct {
		name  string
		spoil func(*plugin.Transaction)
		reply string
	}{
		{"no recipient", func(tx *plugin.Transaction) { tx.SetRecipients(nil) }, "554 5.5.1"},
		{"a recipient with a command in it", func(tx *plugin.Transaction) {
			tx.AddRecipient(mail.Recipient{Address: mail.NewAddress("u@local.test>\r\nDATA\r\n")})
		}, "451 4.3.5"},
		{"a recipient without a domain", func(tx *plugin.Transaction) { tx.AddRecipient(mail.Recipient{Address: mail.NewAddress("root")}) }, "451 4.3.5"},
		{"a sender that is none", func(tx *plugin.Transaction) { tx.SetFrom(mail.NewAddress("a b@c.test")) }, "451 4.3.5"},
		{"notes that JSON cannot say", func(tx *plugin.Transaction) { tx.Notes.Set("x", func() {}) }, "451 4.3.5"},
		{"notes without end", func(tx *plugin.Transaction) { tx.Notes.Set("x", strings.Repeat("y", plugin.MaxNotes)) }, "451 4.3.5"},
	} {
		for _, hook := range []plugin.Hook{plugin.Data, plugin.DataPost} { // streamed, and spooled
			t.Run(x.name+" at "+string(hook), func(t *testing.T) {
				q := &memory{}
				dialogue{queue: q, policy: with(inForce(t, scripted{"p", at{hook: func(_ context.Context, e *plugin.Event) plugin.Verdict {
					x.spoil(e.Transaction)
					return plugin.Verdict{}
				}}}))}.run(t, whole(hello, x.reply))
				if len(q.messages()) != 0 {
					t.Errorf("stored %+v", q.messages())
				}
			})
		}
	}
}

// Who was refused is not among the recipients, whoever refused him, and whatever
// plugins had put in his place.
func TestHandover_refusedIsNoRecipient(t *testing.T) {
	for _, hook := range []plugin.Hook{plugin.Rcpt, plugin.RcptOK} {
		q := &memory{}
		dialogue{queue: q, policy: with(inForce(t,
			scripted{"alias", at{plugin.Rcpt: func(_ context.Context, e *plugin.Event) plugin.Verdict {
				e.Transaction.AddRecipient(mail.Recipient{Address: mail.NewAddress("copy-of-" + e.Recipient.Raw)})
				return plugin.Verdict{}
			}}},
			scripted{"strict", at{hook: func(_ context.Context, e *plugin.Event) plugin.Verdict {
				if e.Address.Raw == "b@local.test" {
					return plugin.Denied("no")
				}
				return plugin.Verdict{}
			}}}))}.run(t, `
			C: EHLO x
			S: 250
			C: MAIL FROM:<>
			S: 250
			C: RCPT TO:<a@local.test>
			S: 250
			C: RCPT TO:<b@local.test>
			S: 550
			C: RCPT TO:<c@away.test>
			S: 550 5.7.1 Relaying denied
			C: DATA
			S: 354
			C: .
			S: 250`)
		if ds := q.messages()[0].deliveries; len(ds) != 1 || len(ds[0].Recipients) != 2 ||
			ds[0].Recipients[0].Raw != "a@local.test" || ds[0].Recipients[1].Raw != "copy-of-a@local.test" {
			t.Errorf("deliveries %+v", ds)
		}
	}
}

func TestHandover_nullSenderStays(t *testing.T) {
	q := &memory{}
	dialogue{queue: q, policy: with(inForce(t, scripted{"p", at{plugin.Mail: says(plugin.Verdict{})}}))}.run(t,
		"C: EHLO x\nS: 250\n"+sendOne("250"))
	if len(q.messages()) != 1 || !q.messages()[0].message.Sender.IsNull() {
		t.Errorf("stored %+v", q.messages())
	}
}

func TestHandover_discard(t *testing.T) {
	for _, hook := range []plugin.Hook{plugin.Rcpt, plugin.DataPost} {
		q := &memory{}
		h := dialogue{queue: q, policy: with(inForce(t, scripted{"p", at{hook: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			e.Transaction.Discard()
			return plugin.Verdict{}
		}}}))}.run(t, whole(hello, "250 2.0.0 Queued as"))
		if s := h.Stats(); len(q.messages()) != 0 || s.Accepted != 1 || s.TakenOver != 1 {
			t.Errorf("at %s: %d stored, %+v", hook, len(q.messages()), s)
		}
	}
}

// A refusal of ours comes before plugins are asked what they make of the message.
func TestHandover_oursFirst(t *testing.T) {
	asked := false
	q := &memory{}
	dialogue{queue: q, policy: with(inForce(t, scripted{"p", at{plugin.DataPost: func(context.Context, *plugin.Event) plugin.Verdict {
		asked = true
		return plugin.Verdict{}
	}}}))}.run(t, whole(strings.Repeat("C: Received: x\n", 101)+"C:\n", "554 5.4.6"))
	if asked || len(q.messages()) != 0 {
		t.Errorf("asked %v, stored %d", asked, len(q.messages()))
	}
}

// A message that is too big has a hook of its own.
func TestHooks_maxDataExceeded(t *testing.T) {
	for code, reply := range map[plugin.Code]string{plugin.Cont: "552 5.3.4", plugin.Refuse: "552 5.3.4 no room", plugin.Defer: "452 4.3.4 no room"} {
		v := plugin.Verdict{Code: code}
		if code != plugin.Cont {
			v.Reply = mail.Reply{Text: "no room"}
		}
		dialogue{size: 1000, policy: with(inForce(t, scripted{"p", at{plugin.MaxDataExceeded: says(v)}}))}.run(t,
			whole("C: {x*2000}\n", reply))
	}
}

// A plugin may let a client relay, and forbid it to one that the configuration knows;
// its word stands until the configuration's changes.
func TestHooks_relaying(t *testing.T) {
	for _, x := range []struct {
		client string
		yes    bool
		reply  string
	}{{"192.0.2.7", true, "250"}, {"127.0.0.1", false, "550 5.7.1"}} {
		dialogue{client: x.client, policy: with(inForce(t, scripted{"relay", at{plugin.Connect: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			e.Connection.SetRelaying(x.yes)
			return plugin.Verdict{}
		}}}))}.run(t, "C: EHLO x\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<u@away.test>\nS: "+x.reply)
	}
}

func TestHooks_capabilities(t *testing.T) {
	n := 0
	dialogue{allLines: true, policy: with(inForce(t, scripted{"p", at{plugin.Capabilities: func(_ context.Context, e *plugin.Event) plugin.Verdict {
		if n++; n == 1 {
			e.Connection.AddCapability("XFROB 1")
		}
		return plugin.Verdict{}
	}}}))}.run(t, "C: EHLO x\nS: 250-mx.test\nHAS XFROB 1\nC: EHLO y\nS: 250-mx.test\nHASNOT XFROB 1")
}

// The reverse name is asked for before plugins may want it, and theirs goes before ours.
func TestHooks_hostName(t *testing.T) {
	for _, own := range []string{"", "plugin.test"} {
		p := with(nil)
		p.ReverseName = func(context.Context, netip.Addr) string { return "dns.test" }
		want := "dns.test"
		a := at{plugin.Connect: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			if got := e.Connection.Host(); got != want {
				t.Errorf("the host is %q; want %q", got, want)
			}
			return plugin.Verdict{}
		}}
		if own != "" {
			want = own
			a[plugin.LookupRDNS] = says(plugin.Verdict{Code: plugin.OK, Value: own})
		}
		p.Plugins = inForce(t, scripted{"p", a})
		q := &memory{}
		dialogue{queue: q, policy: p}.run(t, whole(hello, "250"))
		if got := q.messages()[0].text; !strings.Contains(got, "from x ("+want+" [192.0.2.7])") {
			t.Errorf("the trace field says\n%s", got)
		}
	}
}

// Whatever the pieces and wherever the file begins, what was written is read.
func TestSpool(t *testing.T) {
	folder := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		head := "Received: x\r\n" + rapid.SampledFrom([]string{"", "A: b\r\n", "A: b\r\n\tc\r\nD: e\r\n"}).Draw(t, "head")
		body := rapid.SampledFrom([]string{"", "\r\n", "x\r\n", "\r\n\r\n", "a\r\n\r\nb\r\n"}).Draw(t, "body")
		body = strings.Repeat(body, rapid.IntRange(0, 8).Draw(t, "times"))
		text, over := head+"\r\n"+body, true
		if body == "" && rapid.Bool().Draw(t, "no body") {
			text, over = head, false
		}
		s := &spool{folder: folder, inMem: rapid.IntRange(0, 20).Draw(t, "memory")}
		defer s.close()
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			if _, err := s.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		s.done()
		var out strings.Builder
		if err := s.copyTo(&out); err != nil || out.String() != text {
			t.Fatalf("%q became %q (%v)", text, out.String(), err)
		}
		r, err := s.Body()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || string(b) != body || s.Size() != int64(len(text)) || s.over != over {
			t.Fatalf("body %q, size %d (%v)", b, s.Size(), err)
		}
		if s.file != nil != (len(body) > s.inMem) {
			t.Fatalf("%d octets, %d in memory: in a file: %v", len(body), s.inMem, s.file != nil)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
			t.Fatalf("the folder holds %v (%v)", left, err)
		}
	})
}
