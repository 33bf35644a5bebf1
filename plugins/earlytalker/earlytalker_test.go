package earlytalker_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/earlytalker"
	"github.com/tarishi/tarishi/plugins/internal/trial"
)

func local(p *ingress.Policy) { p.LocalDomains = []string{"example.net"} }

func TestPage(t *testing.T) {
	n, dialogues := trial.Page(t, "early_talker.md", earlytalker.Kind)
	n.Policy = local
	n.Run(t, dialogues[0])
	n.Client = "198.51.100.9"
	n.Run(t, strings.ReplaceAll(dialogues[0], "LATE 2s", "LATE 0s"))
}

func TestA13_banner(t *testing.T) {
	n := &trial.Node{Plugins: []trial.Use{{Kind: earlytalker.Kind, Settings: "pause: 1ms"}}, Policy: local}
	n.RunTCP(t, `
		EARLY EHLO a.test
		S: 554 5.5.1 You talk too soon
		CLOSED
	`)
	n.RunTCP(t, `
		S: 220
		C: EHLO a.test
		S: 250
	`)
	n.Plugins[0].Settings = "{pause: 1ms, reject: false}"
	n.RunTCP(t, `
		EARLY EHLO a.test
		S: 220
		S: 250
	`)
}

// Who need not wait is not looked at either.
func TestExempt(t *testing.T) {
	n := &trial.Node{Plugins: []trial.Use{{Kind: earlytalker.Kind}}}
	for _, c := range []struct {
		client string
		own    func(*plugin.Connection)
		waits  bool
	}{
		{client: "192.0.2.7", waits: true},
		{client: "2001:db8::7", waits: true},
		{client: "127.0.0.1"},
		{client: "127.0.0.2"},
		{client: "10.1.2.3"},
		{client: "fe80::1"},
		{client: "fd00::1"},
		{client: "192.0.2.7", own: func(c *plugin.Connection) { c.SetRelaying(true) }},
		{client: "192.0.2.7", own: func(c *plugin.Connection) { c.Results.Set("karma", "good", 2.0) }},
		{client: "192.0.2.7", own: func(c *plugin.Connection) { c.Results.Set("karma", "good", -2.0) }, waits: true},
	} {
		n.Client, n.Own = c.client, nil
		if c.own != nil {
			n.Own = []plugin.Plugin{at{plugin.ConnectInit, c.own}}
		}
		n.Run(t, fmt.Sprintf("LATE %ds 220", map[bool]int{true: 5}[c.waits]))
	}
	n.Plugins[0].Settings, n.Client, n.Own = "pause: 0s", "192.0.2.7", nil
	n.Run(t, "LATE 0s 220")
}

// What comes between DATA and its answer is seen although nobody has read it.
func TestData(t *testing.T) {
	asked, written := make(chan struct{}), make(chan struct{})
	n := &trial.Node{
		Plugins: []trial.Use{{Kind: earlytalker.Kind, Settings: "pause: 1ms"}}, Policy: local,
		Own: []plugin.Plugin{at{plugin.Data, func(c *plugin.Connection) {
			close(asked)
			<-written
			for !c.Spoke() { // loopback: it is on its way
			}
		}}},
	}
	n.Serve(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		say := func(line, want string) {
			fmt.Fprint(conn, line)
			for {
				got, err := in.ReadString('\n')
				if err != nil || !strings.HasPrefix(got, want) {
					t.Errorf("%q, %v; want %s", got, err, want)
					return
				}
				if len(got) > 3 && got[3] != '-' {
					return
				}
			}
		}
		say("", "220")
		say("EHLO a.test\r\n", "250")
		say("MAIL FROM:<a@a.test>\r\n", "250")
		say("RCPT TO:<b@example.net>\r\n", "250")
		fmt.Fprint(conn, "DATA\r\n")
		<-asked
		fmt.Fprint(conn, "Subject: too soon\r\n")
		close(written)
		say("", "554 5.5.1 You talk too soon")
		if _, err := in.ReadByte(); err == nil {
			t.Error("the connection goes on")
		}
	})
	if m := n.Mail(); len(m) != 0 {
		t.Error("the message was taken")
	}
}

func TestNew_refuses(t *testing.T) {
	trial.Refused(t, earlytalker.Kind, "ip_whitelist: [192.0.2.1/24, x]", nil, "ip_whitelist[0]", "192.0.2.0/24", "ip_whitelist[1]")
	trial.Refused(t, earlytalker.Kind, "pause: 10", nil, "tarishi.yaml:1", "pause")
}

// at is a plugin of one function.
type at struct {
	hook plugin.Hook
	fn   func(*plugin.Connection)
}

func (at) Name() string { return "first" }

func (a at) Register(r *plugin.Registrar) error {
	r.On(a.hook, func(_ context.Context, e *plugin.Event) plugin.Verdict {
		a.fn(e.Connection)
		return plugin.Verdict{}
	})
	return nil
}
