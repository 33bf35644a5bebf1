package ingress

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

// at says what a plugin does at one hook.
type at map[plugin.Hook]plugin.Func

// scripted is a plugin of such.
type scripted struct {
	name string
	at   at
}

func (p scripted) Name() string { return p.name }

func (p scripted) Register(r *plugin.Registrar) error {
	for _, h := range plugin.Hooks {
		if f := p.at[h]; f != nil {
			r.On(h, f)
		}
	}
	return nil
}

func chainOf(t *testing.T, ps ...plugin.Plugin) *plugin.Chain {
	t.Helper()
	ch, err := plugin.New(plugin.Options{}, ps...)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func inForce(t *testing.T, ps ...plugin.Plugin) *plugin.Current {
	t.Helper()
	c := &plugin.Current{}
	c.Swap(chainOf(t, ps...))
	return c
}

// with is defaults and plugins.
func with(c *plugin.Current) Policy {
	p := defaults()
	p.Plugins = c
	return p
}

func says(v plugin.Verdict) plugin.Func {
	return func(context.Context, *plugin.Event) plugin.Verdict { return v }
}

// Every moment of a visit comes, in Haraka's order, with what it is about.
func TestHooks_order(t *testing.T) {
	var seen []string
	p := scripted{"witness", at{}}
	for _, h := range plugin.Hooks {
		p.at[h] = func(_ context.Context, e *plugin.Event) plugin.Verdict {
			about := e.Name + e.Verb + e.Address.Raw
			if e.Recipient != nil {
				about += "/" + e.Recipient.Raw
			}
			for _, q := range e.Params {
				about += " " + q.Key + "=" + q.Value
			}
			if (e.Transaction != nil) != (e.Connection.Transaction() != nil) {
				t.Errorf("%s: the event and the connection do not have the same transaction", e.Hook)
			}
			seen = append(seen, strings.TrimRight(string(e.Hook)+" "+about, " "))
			return plugin.Verdict{}
		}
	}
	q := &memory{}
	h := dialogue{queue: q, client: "127.0.0.1", policy: with(inForce(t, p))}.run(t, `
		C: HELO x
		S: 250
		C: EHLO y
		S: 250
		C: FROB a b
		S: 500
		C: VRFY someone@a.test
		S: 252
		C: NOOP
		S: 250
		C: MAIL FROM:<a@client.test> SIZE=100 BODY=8BITMIME
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<a@client.test>
		S: 250
		C: RCPT TO:<b@example.org> NOTIFY=NEVER
		S: 250
		C: DATA
		S: 354
		C: Subject: x
		C:
		C: body
		C: .
		S: 250 2.0.0 Queued as
		C: QUIT
		S: 221`)
	want := []string{
		"connect_init", "lookup_rdns", "connect", "helo x", "ehlo y", "capabilities", "unrecognized_command a bFROB",
		"vrfy someone@a.testsomeone@a.test", "noop", "mail a@client.test BODY=8BITMIME SIZE=100", "rset", "reset_transaction", "mail a@client.test",
		"rcpt b@example.org/b@example.org NOTIFY=NEVER", "rcpt_ok b@example.org/b@example.org", "data", "data_post", "queue_outbound",
		"pre_send_trans_email", "queue_ok", "reset_transaction", "quit", "disconnect",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("asked\n%q\nwant\n%q", seen, want)
	}
	if n := len(q.messages()); n != 1 || h.Stats().ByPlugins != 0 {
		t.Errorf("%d stored, %+v", n, h.Stats())
	}
}

// What a refusal at each hook does: the reply, by its class and its text, and whether
// the connection and the transaction go on.
func TestHooks_refusals(t *testing.T) {
	to := func(r string) string { return "C: EHLO x\nS: 250\n" + r }
	begun := to("C: MAIL FROM:<>\nS: 250\n")
	whole := begun + "C: RCPT TO:<u@local.test>\nS: 250\nC: DATA\nS: "
	sent := whole + "354\nC: Subject: x\nC:\nC: body\nC: .\nS: "
	for _, x := range []struct {
		hook   plugin.Hook
		v      plugin.Verdict
		script string
	}{
		{plugin.Helo, plugin.Verdict{Code: plugin.Refuse}, "C: HELO x\nS: 550 5.7.1\nC: MAIL FROM:<>\nS: 503"},
		{plugin.Ehlo, plugin.DeniedSoft("later"), "C: EHLO x\nS: 450 4.7.1 later\nC: MAIL FROM:<>\nS: 503"},
		{plugin.UnknownCommand, plugin.Verdict{Code: plugin.OK, Reply: mail.R(250, "2.0.0", "frobbed")}, to("C: FROB\nS: 250 2.0.0 frobbed")},
		{plugin.UnknownCommand, plugin.Verdict{Code: plugin.NextHook}, to("C: FROB\nS: 500 5.5.2")},
		{plugin.UnknownCommand, plugin.Verdict{Code: plugin.RefuseDisconnect}, to("C: FROB\nS: 500 5.5.1\nGONE")},
		{plugin.Mail, plugin.Denied("not you"), to("C: MAIL FROM:<>\nS: 550 5.7.1 not you\nC: RCPT TO:<u@local.test>\nS: 503\nC: NOOP\nS: 250")},
		{plugin.Mail, plugin.Verdict{Code: plugin.Refuse, Reply: mail.R(450, "4.7.1", "mixed up")}, to("C: MAIL FROM:<>\nS: 550 5.7.1 mixed up")},
		{plugin.Mail, plugin.Verdict{Code: plugin.Defer}, to("C: MAIL FROM:<>\nS: 450 4.7.1")},
		{plugin.Mail, plugin.Verdict{Code: plugin.Hangup}, to("C: MAIL FROM:<>\nGONE")},
		{plugin.Mail, plugin.Verdict{Code: plugin.DeferDisconnect}, to("C: MAIL FROM:<>\nS: 450\nGONE")},
		{plugin.Rcpt, plugin.Denied("no such user"), begun + "C: RCPT TO:<u@local.test>\nS: 550 5.7.1 no such user\nC: DATA\nS: 554"},
		{plugin.RcptOK, plugin.DeniedSoft("greylisted"), begun + "C: RCPT TO:<u@local.test>\nS: 450 4.7.1 greylisted\nC: DATA\nS: 554"},
		{plugin.Rcpt, plugin.Verdict{Code: plugin.OK}, begun + "C: RCPT TO:<u@elsewhere.test>\nS: 250"},
		{plugin.Rcpt, plugin.Verdict{Code: plugin.OK, Reply: mail.R(250, "2.1.5", "him we know")}, begun + "C: RCPT TO:<u@elsewhere.test>\nS: 250 2.1.5 him we know"},
		{plugin.Rcpt, plugin.Verdict{}, begun + "C: RCPT TO:<u@elsewhere.test>\nS: 550 5.7.1 Relaying denied"},
		{plugin.Rcpt, plugin.Verdict{Code: plugin.OK}, begun + "C: RCPT TO:<u%away.test@elsewhere.test>\nS: 550 5.7.1 Relaying denied"},
		{plugin.Rcpt, plugin.Verdict{Code: plugin.OK}, begun + "C: RCPT TO:<u@[192.0.2.1]>\nS: 550 5.1.2"},
		{plugin.Data, plugin.Verdict{Code: plugin.Refuse}, whole + "554 5.7.1"},
		{plugin.Data, plugin.Verdict{Code: plugin.Defer}, whole + "451 4.7.1"},
		{plugin.DataPost, plugin.Denied("spam"), sent + "550 5.7.1 spam\nC: NOOP\nS: 250"},
		{plugin.DataPost, plugin.Verdict{Code: plugin.RefuseDisconnect}, sent + "550\nGONE"},
		{plugin.Queue, plugin.Verdict{Code: plugin.Defer}, sent + "450 4.7.1"},
		{plugin.Queue, plugin.Verdict{Code: plugin.OK, Reply: mail.R(250, "2.0.0", "mine now")}, sent + "250 2.0.0 mine now"},
		{plugin.PreSend, plugin.Verdict{Code: plugin.Refuse}, sent + "550 5.7.1"},
		{plugin.Noop, plugin.Denied("no"), to("C: NOOP\nS: 550 5.7.1 no")},
		{plugin.Vrfy, plugin.Verdict{Code: plugin.OK, Reply: mail.R(250, "2.1.5", "u@local.test")}, to("C: VRFY u\nS: 250 2.1.5 u@local.test")},
		{plugin.Rset, plugin.DeniedSoft("no"), begun + "C: RSET\nS: 450\nC: RCPT TO:<u@local.test>\nS: 503"},
		{plugin.Quit, plugin.Verdict{Code: plugin.OK, Reply: mail.R(221, "2.0.0", "so long")}, to("C: QUIT\nS: 221 2.0.0 so long\nGONE")},
	} {
		t.Run(fmt.Sprintf("%s %s", x.hook, x.v.Code), func(t *testing.T) {
			q, over := &memory{}, 0
			dialogue{queue: q, policy: with(inForce(t, scripted{"p", at{
				x.hook: says(x.v),
				plugin.Disconnect: func(context.Context, *plugin.Event) plugin.Verdict {
					over++
					return plugin.Verdict{}
				},
			}}))}.run(t, x.script)
			if over != 1 {
				t.Errorf("disconnect was asked %d times", over)
			}
			if len(q.messages()) != 0 {
				t.Error("stored")
			}
		})
	}
}

// The banner's turn, which a dialogue cannot wait for.
func TestHooks_connect(t *testing.T) {
	for _, x := range []struct {
		hook plugin.Hook
		v    plugin.Verdict
		want string
	}{
		{plugin.Connect, plugin.Denied("go away"), "554"}, // see below
		{plugin.Connect, plugin.Verdict{Code: plugin.Defer}, "421 4.7.1 Not now"},
		{plugin.LookupRDNS, plugin.Verdict{Code: plugin.Refuse}, "554 5.7.1 Your host is not welcome"},
		{plugin.Connect, plugin.Verdict{Code: plugin.Hangup}, ""},
		{plugin.Connect, plugin.Verdict{}, "220 "},
	} {
		if x.want == "554" { // the text is the plugin's, and so is its code
			x.want = "550 5.7.1 go away"
		}
		h := New(with(inForce(t, scripted{"p", at{x.hook: says(x.v)}})), (&memory{}).store())
		got := visit(t, h, func(c net.Conn) string {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			b := make([]byte, 512)
			n, _ := c.Read(b)
			return string(b[:n])
		})
		if !strings.HasPrefix(got, x.want) || x.want == "" && got != "" {
			t.Errorf("%s %s: %q; want %q", x.hook, x.v.Code, got, x.want)
		}
	}
}

// visit has client talk to h over a pipe, outside any bubble.
func visit(t *testing.T, h *Handler, client func(net.Conn) string) string {
	t.Helper()
	ours, theirs := net.Pipe()
	srv := &smtp.Server{Hostname: "mx.test", Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.ServeConn(from{theirs, net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:4711"))}, false)
	}()
	got := client(ours)
	_ = ours.Close()
	<-done
	return got
}

// delay_deny's way: what a plugin overrules has not happened.
func TestHooks_denyOverrules(t *testing.T) {
	var overruled []string
	dialogue{policy: with(inForce(t,
		scripted{"strict", at{plugin.Ehlo: says(plugin.Denied("name")), plugin.Mail: says(plugin.Denied("sender"))}},
		scripted{"mild", at{plugin.Deny: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			overruled = append(overruled, string(e.At)+" "+e.Refused.Plugin+" "+e.Refused.Reply.Text)
			return plugin.Verdict{Code: plugin.OK}
		}}},
	))}.run(t, "C: EHLO x\nS: 250\nC: MAIL FROM:<>\nS: 250")
	if want := []string{"ehlo strict name", "mail strict sender"}; !slices.Equal(overruled, want) {
		t.Errorf("overruled %q; want %q", overruled, want)
	}
}

// A plugin that never comes back, and one that panics, cost their client one try.
func TestHooks_faults(t *testing.T) {
	q := &memory{}
	dialogue{queue: q, policy: with(inForce(t, scripted{"p", at{
		plugin.Mail: func(_ context.Context, e *plugin.Event) plugin.Verdict {
			if e.Address.Raw == "sleep@a.test" {
				time.Sleep(40 * time.Second) // in the bubble's time, of which it has 30 s
			}
			return plugin.Verdict{}
		},
		plugin.Noop: func(context.Context, *plugin.Event) plugin.Verdict {
			time.Sleep(15 * time.Second) // until the one above is back
			return plugin.Verdict{}
		},
		plugin.DataPost: func(context.Context, *plugin.Event) plugin.Verdict { panic("at the disco") },
	}}))}.run(t, `
		C: EHLO x
		S: 250
		C: MAIL FROM:<sleep@a.test>
		S: 451 4.3.0 Plugin p did not answer
		C: MAIL FROM:<a@a.test>
		S: 250
		C: RCPT TO:<u@local.test>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 451 4.3.0 Plugin p did not answer
		C: NOOP
		S: 250`)
	if len(q.messages()) != 0 {
		t.Error("stored")
	}
}

// The chain of MAIL is asked to the end of the transaction, whatever is loaded
// meanwhile; and notes of the connection outlive the change.
func TestHooks_reload(t *testing.T) {
	c := &plugin.Current{}
	seen := ""
	witness := func(name string, swap func()) scripted {
		note := func(_ context.Context, e *plugin.Event) plugin.Verdict {
			seen += name + ":" + string(e.Hook) + " "
			e.Connection.Notes.Set("last", name)
			return plugin.Verdict{}
		}
		return scripted{name, at{plugin.Ehlo: note, plugin.Rcpt: note, plugin.Data: note, plugin.ResetTransaction: note,
			plugin.Mail: func(ctx context.Context, e *plugin.Event) plugin.Verdict {
				if swap != nil {
					swap()
				}
				seen += fmt.Sprint(e.Connection.Notes.Get("last"), "|")
				return note(ctx, e)
			}}}
	}
	second := chainOf(t, witness("two", nil))
	c.Swap(chainOf(t, witness("one", func() { c.Swap(second) })))
	q := &memory{}
	h := New(with(c), q.store())
	one := "MAIL FROM:<>\r\nRCPT TO:<u@local.test>\r\nDATA\r\n"
	visit(t, h, func(conn net.Conn) string {
		for _, s := range []string{"", "EHLO x\r\n", one, ".\r\n", one, ".\r\n", "QUIT\r\n"} {
			go func() { _, _ = io.WriteString(conn, s) }()
			for range map[string]int{"": 1, "EHLO x\r\n": 1, one: 3, ".\r\n": 1, "QUIT\r\n": 1}[s] {
				readReply(t, conn)
			}
		}
		return ""
	})
	want := "one:ehlo one|one:mail one:rcpt one:data one:reset_transaction one|two:mail two:rcpt two:data two:reset_transaction "
	if seen != want || len(q.messages()) != 2 {
		t.Errorf("asked %s\nwant  %s\n%d stored", seen, want, len(q.messages()))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("somebody keeps a chain: %v", err)
	}
}

// readReply reads one reply, an octet at a time: nothing behind it.
func readReply(t *testing.T, c net.Conn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("no reply: %v", err)
		}
		if line = append(line, b[0]); b[0] == '\n' {
			if line[3] == ' ' {
				return string(line)
			}
			line = line[:0]
		}
	}
}
