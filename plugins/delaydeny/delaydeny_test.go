package delaydeny_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/auth"
	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/access"
	"github.com/tarishi/tarishi/plugins/delaydeny"
	"github.com/tarishi/tarishi/plugins/internal/trial"
)

func policy(domain string) func(*ingress.Policy) {
	return func(p *ingress.Policy) {
		u, err := auth.ParseUsers("users", []byte("old:{CLEAR}secret\n"))
		if err != nil {
			panic(err)
		}
		p.LocalDomains = []string{domain}
		p.Auth = &ingress.Auth{Users: func() *auth.Users { return u }, Mechanisms: []auth.Mechanism{auth.Plain}, Insecure: true}
	}
}

func TestPage(t *testing.T) {
	n, dialogues := trial.Page(t, "delay_deny.md", access.Kind, delaydeny.Kind)
	n.Policy = policy("example.net")
	n.Run(t, dialogues[0])
}

// refuses is a plugin that refuses at a hook, whom it is told to.
type refuses struct {
	hook plugin.Hook
	v    plugin.Verdict
	whom string // recipient; empty: everybody
}

func (refuses) Name() string { return "strict" }

func (x refuses) Register(r *plugin.Registrar) error {
	r.Hook(x.hook, 0, "judge", func(_ context.Context, e *plugin.Event) plugin.Verdict {
		if x.whom != "" && e.Recipient.Raw != x.whom {
			return plugin.Verdict{}
		}
		return x.v
	})
	return nil
}

const (
	hello    = "S: 220\nC: EHLO a.test\nS: 250\n"
	from     = "C: MAIL FROM:<a@a.test>\nS: 250\n"
	rcptFail = "C: RCPT TO:<b@ours.test>\nS: 550 5.7.1 no\n"
	rcptOK   = "C: RCPT TO:<b@ours.test>\nS: 250\n"
)

func TestHooks(t *testing.T) {
	no := plugin.Denied("no")
	for _, c := range []struct {
		name, settings string
		own            refuses
		script         string
	}{
		{"connect", "", refuses{plugin.Connect, no, ""}, hello + from + rcptFail + rcptFail + "C: RSET\nS: 250\n" + from + rcptFail},
		{"lookup_rdns", "", refuses{plugin.LookupRDNS, no, ""}, hello + from + rcptFail},
		{"ehlo", "", refuses{plugin.Ehlo, no, ""}, hello + from + rcptFail},
		{"helo", "", refuses{plugin.Helo, no, ""}, "S: 220\nC: HELO a.test\nS: 250\n" + from + rcptFail},
		{"mail", "", refuses{plugin.Mail, no, ""}, hello + from + rcptFail + rcptFail},
		{"rcpt", "", refuses{plugin.Rcpt, no, "b@ours.test"}, hello + from + rcptFail + strings.ReplaceAll(rcptOK, "b@", "c@")},
		{"rcpt_ok", "", refuses{plugin.RcptOK, no, "b@ours.test"}, hello + from + strings.ReplaceAll(rcptOK, "b@", "c@") + rcptFail},
		{"softly", "", refuses{plugin.Mail, plugin.DeniedSoft("wait"), ""}, hello + from + "C: RCPT TO:<b@ours.test>\nS: 450 4.7.1 wait\n"},
		{"and hang up", "", refuses{plugin.Mail, plugin.Verdict{Code: plugin.RefuseDisconnect, Reply: mail.R(550, "5.7.1", "go")}, ""},
			hello + from + "C: RCPT TO:<b@ours.test>\nS: 550 5.7.1 go\nCLOSED\n"},
		{"without a word", "", refuses{plugin.Mail, plugin.Verdict{Code: plugin.Hangup}, ""}, hello + "C: MAIL FROM:<a@a.test>\nCLOSED\n"},
		{"data is not put off", "", refuses{plugin.Data, no, ""}, hello + from + rcptOK + "C: DATA\nS: 550 5.7.1 no\n"},
		// A recipient that nobody takes is told so, and not what was put off.
		{"nobody's recipient", "", refuses{plugin.Mail, no, ""}, hello + from + "C: RCPT TO:<b@away.test>\nS: 550 5.7.1 Relaying denied\n" + rcptFail},
		// What was put off for one recipient is not said to another, even if the first was not taken.
		{"each his own", "", refuses{plugin.Rcpt, no, "b@away.test"}, hello + from + "C: RCPT TO:<b@away.test>\nS: 550\n" + rcptOK},
		{"sender forgotten with his message", "", refuses{plugin.Mail, no, ""}, hello + from + "C: RSET\nS: 250\n" + from + rcptFail},
		{"excluded", "excluded_plugins: [strict]", refuses{plugin.Mail, no, ""}, hello + "C: MAIL FROM:<a@a.test>\nS: 550 5.7.1 no\n"},
		{"excluded at the hook", `excluded_plugins: ["strict:mail"]`, refuses{plugin.Mail, no, ""}, hello + "C: MAIL FROM:<a@a.test>\nS: 550 5.7.1 no\n"},
		{"excluded at another", `excluded_plugins: ["strict:ehlo"]`, refuses{plugin.Mail, no, ""}, hello + from + rcptFail},
		{"excluded by function", `excluded_plugins: ["strict:mail:judge"]`, refuses{plugin.Mail, no, ""}, hello + "C: MAIL FROM:<a@a.test>\nS: 550 5.7.1 no\n"},
		{"included", `included_plugins: ["strict:mail:judge"]`, refuses{plugin.Mail, no, ""}, hello + from + rcptFail},
		{"not included", `included_plugins: [other]`, refuses{plugin.Mail, no, ""}, hello + "C: MAIL FROM:<a@a.test>\nS: 550 5.7.1 no\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &trial.Node{Plugins: []trial.Use{{Kind: delaydeny.Kind, Settings: c.settings}}, Own: []plugin.Plugin{c.own}, Policy: policy("ours.test")}
			n.Run(t, c.script)
		})
	}
}

// Who proves who he is has nothing to fear, and his neighbours have.
func TestAuth(t *testing.T) {
	word := base64.StdEncoding.EncodeToString([]byte("\x00old\x00secret"))
	for _, h := range []plugin.Hook{plugin.Connect, plugin.Ehlo, plugin.Mail, plugin.Rcpt} {
		n := &trial.Node{Plugins: []trial.Use{{Kind: delaydeny.Kind}}, Own: []plugin.Plugin{refuses{h, plugin.Denied("no"), ""}}, Policy: policy("ours.test")}
		n.Run(t, hello+"C: AUTH PLAIN "+word+"\nS: 235\n"+from+"C: RCPT TO:<x@anywhere.test>\nS: 250\n"+rcptOK+
			"C: DATA\nS: 354\nC: Subject: x\nC:\nC: .\nS: 250\n")
		if m := n.Mail(); len(m) != 1 || len(m[0].Recipients) != 2 {
			t.Errorf("%s: %v", h, m)
		}
	}
}

// What is remembered can be said in JSON, and is bounded.
func TestNotes(t *testing.T) {
	c := trial.Chain(t, nil, trial.Use{Kind: delaydeny.Kind})
	conn := &plugin.Connection{}
	tx := conn.Begin("1", mail.Address{})
	put := 0
	for i := range 300 {
		r := mail.Recipient{Address: mail.NewAddress(fmt.Sprintf("u%d@ours.test", i))}
		v := plugin.Denied("no")
		v.Plugin, v.Function = "strict", "judge"
		if c.Run(t.Context(), &plugin.Event{Hook: plugin.Deny, At: plugin.Rcpt, Refused: &v, Connection: conn, Transaction: tx, Recipient: &r}).Code == plugin.OK {
			put++
		}
	}
	b, err := tx.Notes.Pack()
	if err != nil || put != 100 {
		t.Fatalf("%d put off, %v", put, err)
	}
	// From another process, or a script that has had it in its hands.
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for k, v := range all {
		tx.Notes.Set(k, v)
	}
	r := mail.Recipient{Address: mail.NewAddress("u7@ours.test")}
	v := c.Run(t.Context(), &plugin.Event{Hook: plugin.RcptOK, Connection: conn, Transaction: tx, Recipient: &r})
	if v.Code != plugin.Refuse || v.Reply != mail.R(550, "5.7.1", "no") {
		t.Errorf("%v %v", v.Code, v.Reply)
	}
	tx.Notes.Set("delay_deny_pre", []any{"x", 7.0, map[string]any{"code": "OK"}, map[string]any{"code": 1e9}, map[string]any{"code": "DISCONNECT"}})
	if v := c.Run(t.Context(), &plugin.Event{Hook: plugin.RcptOK, Connection: conn, Transaction: tx, Recipient: &r}); v.Code != plugin.Cont {
		t.Errorf("notes of somebody else's making refuse: %v", v)
	}
}

func TestNew_refuses(t *testing.T) {
	trial.Refused(t, delaydeny.Kind, "{included_plugins: [a], excluded_plugins: [b]}", nil, "leave out the other")
	trial.Refused(t, delaydeny.Kind, `excluded_plugins: ["a:b:c:d"]`, nil, "names no plugin")
	trial.Refused(t, delaydeny.Kind, `excluded_plugins: ["spf:data"]`, nil, "refusals at data are not put off")
}
