package relay_test

import (
	"context"
	"testing"

	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/internal/trial"
	"github.com/tarishi/tarishi/plugins/relay"
)

func TestPage(t *testing.T) {
	n, dialogues := trial.Page(t, "relay.md", relay.Kind)
	n.Run(t, dialogues[0])
	n.Client = "198.51.100.20"
	n.Run(t, anywhere)
}

const anywhere = `
	C: EHLO a.test
	S: 250
	C: MAIL FROM:<a@a.test>
	S: 250
	C: RCPT TO:<x@anywhere.test>
	S: 250
`

func TestACL(t *testing.T) {
	n := &trial.Node{
		Plugins: []trial.Use{{Kind: relay.Kind}},
		Files:   trial.Files{"relay_acl_allow": "192.0.2.0/25\n2001:db8::1\n"},
	}
	for client, may := range map[string]bool{"192.0.2.7": true, "::ffff:192.0.2.7": true, "192.0.2.200": false, "2001:db8::1": true, "2001:db8::2": false} {
		n.Client = client
		script := anywhere
		if !may {
			script = script[:len(script)-len("S: 250\n")] + "S: 550 5.7.1 Relaying denied\n"
		}
		n.Run(t, script)
	}
	n.Client, n.Plugins[0].Settings = "192.0.2.7", "acl: false"
	n.Run(t, anywhere[:len(anywhere)-len("S: 250\n")]+"S: 550 5.7.1\n")
}

// A client that may relay is not looked at by those behind at connect.
func TestACL_passes(t *testing.T) {
	c, err := plugin.New(plugin.Options{}, made(t, "acl: true", trial.Files{"relay_acl_allow": "192.0.2.7"}), strict{plugin.Connect})
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]plugin.Code{"192.0.2.7": plugin.OK, "192.0.2.8": plugin.Refuse} {
		conn := connection(ip)
		c.Run(t.Context(), &plugin.Event{Hook: plugin.ConnectInit, Connection: conn})
		if v := c.Run(t.Context(), &plugin.Event{Hook: plugin.Connect, Connection: conn}); v.Code != want {
			t.Errorf("%s: %v", ip, v.Code)
		}
	}
}

// TestF1_destDomains: a recipient that is taken opens nothing for the next.
func TestF1_destDomains(t *testing.T) {
	n := &trial.Node{
		Plugins: []trial.Use{{Kind: relay.Kind, Settings: "dest_domains: true"}},
		Files:   trial.Files{"relay_dest_domains.ini": "; ours\n[domains]\nyes.test = { \"action\": \"accept\" }\nperhaps.test = {\"action\":\"continue\"}\nno.test={\"action\":\"deny\"}\n"},
		Policy:  func(p *ingress.Policy) { p.LocalDomains = []string{"local.test"} },
	}
	script := `
		C: EHLO a.test
		S: 250
		C: MAIL FROM:<a@a.test>
		S: 250
		C: RCPT TO:<x@YES.test>
		S: 250
		C: RCPT TO:<x@away.test>
		S: 550 5.7.1
		C: RCPT TO:<x@perhaps.test>
		S: 250
		C: RCPT TO:<x@away.test>
		S: 550 5.7.1
		C: RCPT TO:<x@no.test>
		S: 550 5.7.1
		C: RCPT TO:<x@local.test>
		S: 550 5.7.1
		C: RCPT TO:<away.test!x@perhaps.test>
		S: 550 5.7.1
		C: RCPT TO:<postmaster>
		S: 250
	`
	n.Run(t, script)
}

// Another plugin has the last word about a domain with continue, and none about one
// with accept.
func TestDestDomains_continue(t *testing.T) {
	files := trial.Files{"relay_dest_domains.ini": "[domains]\nyes.test = {\"action\": \"accept\"}\nperhaps.test = {\"action\": \"continue\"}"}
	c, err := plugin.New(plugin.Options{}, made(t, "dest_domains: true", files), strict{plugin.Rcpt})
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]plugin.Code{"x@yes.test": plugin.OK, "x@perhaps.test": plugin.Refuse} {
		conn := connection("192.0.2.7")
		tx := conn.Begin("1", mail.Address{})
		r := mail.Recipient{Address: mail.NewAddress(to)}
		v := c.Run(t.Context(), &plugin.Event{Hook: plugin.Rcpt, Connection: conn, Transaction: tx, Recipient: &r})
		if v.Code != want || v.Plugin != map[plugin.Code]string{plugin.OK: "relay", plugin.Refuse: "strict"}[want] {
			t.Errorf("%s: %v of %s", to, v.Code, v.Plugin)
		}
	}
}

func TestForceRouting(t *testing.T) {
	c := trial.Chain(t, trial.Files{"relay_dest_domains.ini": "[domains]\na.test = {\"nexthop\": \"mx.b.test\"}\nb.test = {\"action\": \"accept\"}\n*.c.test = {\"nexthop\": \"[2001:db8::1]:2525\"}\nd.test = {\"nexthop\": \"2001:db8::1\"}\ne.test = {\"nexthop\": \"lmtp:127.0.0.1:24\"}\nf.test = {\"nexthop\": \"lmtp:unix:/run/lmtp\"}\nany = {\"nexthop\": \"192.0.2.1:26\"}"},
		trial.Use{Kind: relay.Kind})
	for domain, want := range map[mail.Domain]string{
		"a.test": "mx.b.test:25", "b.test": "192.0.2.1:26", "x.c.test": "[2001:db8::1]:2525", "c.test": "192.0.2.1:26", "d.test": "[2001:db8::1]:25", "e.test": "lmtp:127.0.0.1:24", "f.test": "lmtp:unix:/run/lmtp",
	} {
		v := c.Run(t.Context(), &plugin.Event{Hook: plugin.GetMX, Name: string(domain), Delivery: &mail.Delivery{Destination: domain}})
		if v.Code != plugin.OK || v.Value != want {
			t.Errorf("%s goes to %v", domain, v.Value)
		}
		hops, err := plugin.NextHops(v.Value)
		if err != nil || len(hops) != 1 || (hops[0].Port == 0) != (domain == "f.test") || hops[0].LMTP != (domain == "e.test" || domain == "f.test") {
			t.Errorf("%s: a deliverer reads %v, %v", domain, hops, err)
		}
	}
	c = trial.Chain(t, trial.Files{"relay_dest_domains.ini": "[domains]\na.test = {\"nexthop\": \"mx.b.test\"}"}, trial.Use{Kind: relay.Kind, Settings: "{force_routing: false, dest_domains: true}"})
	if c.Has(plugin.GetMX) {
		t.Error("routes are followed although nobody has asked for them")
	}
}

func TestAll(t *testing.T) {
	n := &trial.Node{Plugins: []trial.Use{{Kind: relay.Kind, Settings: "all: true"}}}
	n.Run(t, anywhere)
}

func TestNew_refuses(t *testing.T) {
	trial.Refused(t, relay.Kind, "", trial.Files{"relay_acl_allow": "10.0.0.0/8\n0.0.0.0/0\n"}, "config/relay_acl_allow:2:", "is everybody")
	trial.Refused(t, relay.Kind, "", trial.Files{"relay_acl_allow": "10.0.0.0/8\n10.0.0.1/8\n"}, "config/relay_acl_allow:2:", "10.0.0.0/8, or 10.0.0.1")
	trial.Refused(t, relay.Kind, "dest_domains: true", nil, "there is no file config/relay_dest_domains.ini")
	for text, word := range map[string]string{
		"a.test = {}":                "before the line [domains]",
		"[domain]":                   "there is [domains]",
		"[domains]\na.test":          "config/relay_dest_domains.ini:2:",
		"[domains]\na.test = accept": "an object in JSON",
		"[domains]\na.test = {\"action\": \"allow\"}":                                 `has the action "allow"`,
		"[domains]\na.test = {\"aktion\": \"deny\"}":                                  "unknown field",
		"[domains]\na.test = {}":                                                      "says nothing",
		"[domains]\na b = {\"action\": \"deny\"}":                                     "is no domain",
		"[domains]\na.test = {\"action\":\"deny\"} x":                                 "behind its object",
		"[domains]\na.test = {\"nexthop\": \"x:y\"}":                                  "write a host or an address",
		"[domains]\na.test = {\"nexthop\": \"lmtp:x\"}":                               "lmtp:127.0.0.1:24",
		"[domains]\na.test = {\"nexthop\": \"a b\"}":                                  "write a host",
		"[domains]\nany = {\"action\": \"accept\"}":                                   "nexthop alone",
		"[domains]\na.test = {\"action\":\"deny\"}\nA.test = {\"action\":\"accept\"}": "given twice",
	} {
		trial.Refused(t, relay.Kind, "", trial.Files{"relay_dest_domains.ini": text}, word)
	}
}

func made(t *testing.T, settings string, files trial.Files) plugin.Plugin {
	t.Helper()
	p, err := trial.Make(trial.Use{Kind: relay.Kind, Settings: settings}, files)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// strict refuses everything at a hook.
type strict struct{ hook plugin.Hook }

func (strict) Name() string { return "strict" }

func (s strict) Register(r *plugin.Registrar) error {
	r.On(s.hook, func(context.Context, *plugin.Event) plugin.Verdict { return plugin.Denied("no") })
	return nil
}
