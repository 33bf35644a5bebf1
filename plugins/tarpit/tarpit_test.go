package tarpit_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/internal/trial"
	"github.com/tarishi/tarishi/plugins/tarpit"
)

// marks leaves a note: on the transaction at mail, on the connection otherwise.
type marks struct {
	hook plugin.Hook
	v    any
}

func (marks) Name() string { return "marks" }

func (m marks) Register(r *plugin.Registrar) error {
	r.On(m.hook, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		if m.hook == plugin.Mail {
			e.Transaction.Notes.Set("tarpit", m.v)
		} else {
			e.Connection.Notes.Set("tarpit", m.v)
		}
		return plugin.Verdict{}
	})
	return nil
}

func TestPage(t *testing.T) {
	n, dialogues := trial.Page(t, "tarpit.md", tarpit.Kind)
	n.Own = []plugin.Plugin{marks{plugin.ConnectInit, 5.0}}
	n.Run(t, dialogues[0])
	n.Own = nil
	n.Run(t, strings.ReplaceAll(dialogues[0], "LATE 5s", "LATE 0s"))
}

// Every hook of the list is late once; rcpt and rcpt_ok, like data_post and queue, add up.
func TestDefault(t *testing.T) {
	n := &trial.Node{
		Plugins: []trial.Use{{Kind: tarpit.Kind}}, Own: []plugin.Plugin{marks{plugin.ConnectInit, 2}},
		Policy: func(p *ingress.Policy) { p.LocalDomains = []string{"ours.test"} },
	}
	n.Run(t, `
		LATE 2s 220
		C: EHLO a.test
		LATE 2s 250
		C: MAIL FROM:<a@a.test>
		LATE 2s 250
		C: RCPT TO:<b@ours.test>
		LATE 4s 250
		C: DATA
		LATE 2s 354
		C: Subject: x
		C:
		C: .
		LATE 4s 250
		C: NOOP
		LATE 2s 250
		C: VRFY a
		LATE 2s 252
		C: WHAT
		LATE 2s 500
		C: RSET
		LATE 2s 250
		C: HELO a.test
		LATE 2s 250
		C: QUIT
		LATE 2s 221
	`)
}

// A mark on the transaction ends with it.
func TestTransaction(t *testing.T) {
	n := &trial.Node{Plugins: []trial.Use{{Kind: tarpit.Kind}}, Own: []plugin.Plugin{marks{plugin.Mail, 1.5}}}
	n.Run(t, `
		C: EHLO a.test
		LATE 0s 250
		C: MAIL FROM:<a@a.test>
		LATE 1.5s 250
		C: NOOP
		LATE 1.5s 250
		C: RSET
		LATE 1.5s 250
		C: NOOP
		LATE 0s 250
	`)
}

// A pause beyond the function's time is cut, and is no failure.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := trial.Make(trial.Use{Kind: tarpit.Kind}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := plugin.New(plugin.Options{Timeout: 3 * time.Second}, p)
		if err != nil {
			t.Fatal(err)
		}
		conn := &plugin.Connection{}
		for _, v := range []any{3600.0, 1e300, 90, int64(90), time.Hour} {
			conn.Notes.Set("tarpit", v)
			began := time.Now()
			got := c.Run(t.Context(), &plugin.Event{Hook: plugin.Noop, Connection: conn})
			if took := time.Since(began); got.Code != plugin.Cont || took < 2*time.Second || took >= 3*time.Second {
				t.Errorf("%v: %v after %v", v, got.Code, took)
			}
		}
		for _, v := range []any{nil, "5", -1.0, 0.0, true, map[string]any{}} {
			conn.Notes.Set("tarpit", v)
			began := time.Now()
			c.Run(t.Context(), &plugin.Event{Hook: plugin.Noop, Connection: conn})
			if took := time.Since(began); took != 0 {
				t.Errorf("%v waits %v", v, took)
			}
		}
		// A client that goes away is not waited for.
		conn.Notes.Set("tarpit", 2.0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		c.Run(ctx, &plugin.Event{Hook: plugin.Noop, Connection: conn, Transaction: conn.Begin("1", mail.Address{})})
		if took := time.Since(began); took != 0 {
			t.Errorf("waits %v for nobody", took)
		}
	})
}

func TestNew_refuses(t *testing.T) {
	trial.Refused(t, tarpit.Kind, "hooks_to_delay: [mial]", nil, `no hook "mial"`)
	for _, h := range []string{"disconnect", "deny", "send_email", "bounce"} {
		trial.Refused(t, tarpit.Kind, fmt.Sprintf("hooks_to_delay: [%s]", h), nil, "no client waits")
	}
}
