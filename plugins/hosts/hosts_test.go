package hosts_test

import (
	"testing"

	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/hosts"
	"github.com/tarishi/tarishi/plugins/internal/trial"
)

func TestPage(t *testing.T) {
	n, dialogues := trial.Page(t, "hosts.md", hosts.Short)
	n.Run(t, dialogues[0])
}

func node() *trial.Node {
	return &trial.Node{
		Plugins: []trial.Use{{Kind: hosts.Kind}},
		Files: trial.Files{
			"host_list":       "Ours.test\nbücher.test # the shop\n",
			"host_list_regex": "mx\\d\\.ours\\.test|odd",
		},
	}
}

func TestF1_hosts(t *testing.T) {
	n := node()
	n.Run(t, `
		C: EHLO a.test
		S: 250
		C: MAIL FROM:<ann@away.test> SMTPUTF8
		S: 250
		C: RCPT TO:<bob@OURS.test>
		S: 250
		C: RCPT TO:<bob@mx1.ours.test>
		S: 250
		C: RCPT TO:<bob@xn--bcher-kva.test>
		S: 250
		C: RCPT TO:<bob@BÜCHER.test>
		S: 250
		C: RCPT TO:<bob@mx12.ours.test>
		S: 550 5.7.1
		C: RCPT TO:<bob@mx1.ours.test.evil>
		S: 550 5.7.1
		C: RCPT TO:<bob@[127.0.0.1]>
		S: 550 5.
		# F1: nobody is relayed to by a trick with the local part
		C: RCPT TO:<bob%away.test@ours.test>
		S: 550 5.7.1
		C: RCPT TO:<away.test!bob@ours.test>
		S: 550 5.7.1
		C: RCPT TO:<"bob@away.test"@ours.test>
		S: 550 5.7.1
		C: DATA
		S: 354
		C: Subject: hello
		C:
		C: .
		S: 250
	`)
	if m := n.Mail(); len(m) != 1 || len(m[0].Recipients) != 3 {
		t.Errorf("%d messages, %v", len(m), m) // the shop's address was named twice, in two notations
	}
}

// The configuration goes on accepting what it accepts; a client that may relay goes on
// relaying.
func TestRcpt_beside(t *testing.T) {
	n := node()
	n.Policy = func(p *ingress.Policy) { p.LocalDomains = []string{"local.test"} }
	n.Run(t, `
		C: EHLO a.test
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<bob@local.test>
		S: 250
		C: RCPT TO:<bob@ours.test>
		S: 250
		C: RCPT TO:<postmaster>
		S: 250
		C: RCPT TO:<bob@away.test>
		S: 550 5.7.1
	`)
}

func TestMail_antiSpoof(t *testing.T) {
	n := node()
	n.Files["host_list.anti_spoof"] = "true\n"
	script := `
		C: EHLO a.test
		S: 250
		C: MAIL FROM:<ann@ours.test>
		S: %
		C: RSET
		S: 250
		C: MAIL FROM:<ann@ours.test.away>
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<>
		S: 250
	`
	n.Run(t, replace(script, "550 5.7.1 Mail from domain 'ours.test' is not allowed"))
	n.Own = []plugin.Plugin{relaying{}}
	n.Run(t, replace(script, "250"))

	n.Own, n.Files["host_list.anti_spoof"] = nil, "0\n"
	n.Run(t, replace(script, "250"))
}

// TestReload: a list that changes counts from the next message on, and no connection
// is dropped for it.
func TestReload(t *testing.T) {
	n := node()
	n.Run(t, `
		C: EHLO a.test
		S: 250
		C: MAIL FROM:<ann@away.test>
		S: 250
		C: RCPT TO:<bob@new.test>
		S: 550
		FILE host_list
			new.test
		END
		RELOAD
		# the open transaction keeps the list that it began with
		C: RCPT TO:<bob@new.test>
		S: 550
		C: RCPT TO:<bob@ours.test>
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<ann@away.test>
		S: 250
		C: RCPT TO:<bob@new.test>
		S: 250
		C: RCPT TO:<bob@ours.test>
		S: 550
	`)
}

func TestGetMX(t *testing.T) {
	files := trial.Files{"host_list": "ours.test", "host_list_regex": ".*\\.ours\\.test"}
	for settings, want := range map[string]plugin.NextHop{
		`via: "lmtp:unix:/run/lmtp"`: {Path: "/run/lmtp", LMTP: true},
		`via: "lmtp:192.0.2.1:24"`:   {Host: "192.0.2.1", Port: 24, LMTP: true},
		`via: "mail.test:587"`:       {Host: "mail.test", Port: 587},
		`route: boxes`:               {Route: "boxes"},
	} {
		c := trial.Chain(t, files, trial.Use{Kind: hosts.Kind, Settings: settings})
		for domain, here := range map[mail.Domain]bool{"ours.test": true, "a.ours.test": true, "away.test": false} {
			v := c.Run(t.Context(), &plugin.Event{Hook: plugin.GetMX, Name: string(domain), Delivery: &mail.Delivery{Destination: domain}})
			hops, err := plugin.NextHops(v.Value)
			if (v.Code == plugin.OK) != here || here && (err != nil || len(hops) != 1 || hops[0] != want) {
				t.Errorf("%s: %s goes to %v, %v", settings, domain, hops, err)
			}
		}
	}
	if trial.Chain(t, files, trial.Use{Kind: hosts.Kind}).Has(plugin.GetMX) {
		t.Error("it is asked where mail goes, and has nothing to say")
	}
	trial.Refused(t, hosts.Kind, "{via: \"a:25\", route: b}", files, "leave out the other")
	trial.Refused(t, hosts.Kind, `via: "lmtp:unix:run"`, files, "whole path")
	trial.Refused(t, hosts.Kind, `via: "a b"`, files, "via:")
}

func TestNew_refuses(t *testing.T) {
	trial.Refused(t, hosts.Kind, "", nil, "neither a file config/host_list nor config/host_list_regex")
	trial.Refused(t, hosts.Kind, "", trial.Files{"host_list": "a.test\n\nann@a.test\n"}, "host_list:3:", "is an address where a domain is wanted")
	trial.Refused(t, hosts.Kind, "", trial.Files{"host_list_regex": "*.a.test\n"}, "host_list_regex:1:", "write .*")
	trial.Refused(t, hosts.Kind, "", trial.Files{"host_list": "a.test", "host_list.anti_spoof": "maybe"}, "host_list.anti_spoof:1:", "neither true nor false")
	trial.Refused(t, hosts.Kind, "files: x", trial.Files{"host_list": "a.test"}, "tarishi.yaml:1", `did you mean "file"?`)
}

// By itself, too, it vouches for no route and no literal: ingress looks again, but
// another plugin may ask first what it says.
func TestRcpt_byItself(t *testing.T) {
	c := trial.Chain(t, trial.Files{"host_list": "ours.test", "host_list_regex": ".*"}, trial.Use{Kind: hosts.Kind})
	for to, want := range map[string]plugin.Code{
		"a@ours.test": plugin.OK, "a@any.test": plugin.OK, "a%b@ours.test": plugin.Cont, "b!a@ours.test": plugin.Cont,
		`"a@b"@ours.test`: plugin.Cont, "a@[192.0.2.1]": plugin.Cont, "a@[IPv6:::1]": plugin.Cont, "postmaster": plugin.Cont,
	} {
		conn := &plugin.Connection{}
		r := mail.Recipient{Address: mail.NewAddress(to)}
		v := c.Run(t.Context(), &plugin.Event{Hook: plugin.Rcpt, Connection: conn, Transaction: conn.Begin("1", mail.Address{}), Address: r.Address, Recipient: &r})
		if v.Code != want {
			t.Errorf("%s: %v", to, v.Code)
		}
	}
}
