package access_test

import (
	"context"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/access"
	"github.com/tarishi/tarishi/plugins/internal/trial"
)

func TestPage(t *testing.T) {
	n, dialogues := trial.Page(t, "access.md", access.Kind)
	n.Run(t, dialogues[0])
	n.Client = "203.0.113.77"
	n.Run(t, "S: 554 5.7.1 [203.0.113.77] You are not allowed to connect\nCLOSED")
	n.Client, n.Names = "192.0.2.7", map[string]string{"192.0.2.7": "7.dyn.example.org"}
	n.Run(t, "S: 554 5.7.1 7.dyn.example.org [192.0.2.7] You are not allowed to connect\nCLOSED")
}

func node(files trial.Files) *trial.Node {
	return &trial.Node{
		Plugins: []trial.Use{{Kind: access.Kind}}, Files: files,
		Policy: func(p *ingress.Policy) { p.LocalDomains = []string{"ours.test"} },
	}
}

// TestConn_precedence: whitelist, whitelist_regex, blacklist, blacklist_regex.
func TestConn_precedence(t *testing.T) {
	n := node(trial.Files{
		"connect.rdns_access.whitelist":       "192.0.2.5\nfriend.dyn.test\n2001:db8:1::/48\n",
		"connect.rdns_access.whitelist_regex": "192\\.0\\.2\\.6\nmail\\d+\\.dyn\\.test\n",
		"connect.rdns_access.blacklist":       "192.0.2.0/24 # all of it\n2001:db8::/32\nfoe.test\n",
		"connect.rdns_access.blacklist_regex": ".*\\.dyn\\.test\n198\\.51\\.100\\..*\n",
	})
	n.Names = map[string]string{
		"203.0.113.1": "friend.dyn.test", "203.0.113.2": "mail1.dyn.test", "203.0.113.3": "other.DYN.test.",
		"203.0.113.4": "foe.test", "203.0.113.5": "a.foe.test", "192.0.2.9": "friend.dyn.test",
	}
	for client, welcome := range map[string]bool{
		"192.0.2.5": true, "192.0.2.6": true, "192.0.2.7": false, "::ffff:192.0.2.7": false, "198.51.100.1": false,
		"2001:db8:1::5": true, "2001:db8:2::5": false, "203.0.113.1": true, "203.0.113.2": true, "203.0.113.3": false,
		"203.0.113.4": false, "203.0.113.5": true, "203.0.113.6": true, "192.0.2.9": true,
	} {
		n.Client = client
		if welcome {
			n.Run(t, "S: 220")
		} else {
			n.Run(t, "S: 554 5.7.1 \nCLOSED")
		}
	}
}

func TestHelo(t *testing.T) {
	n := node(trial.Files{
		"helo.access.whitelist":       "good.foe.test\n",
		"helo.access.blacklist":       "*.foe.test\nlocalhost\n[192.0.2.7]\n[IPv6:2001:db8::1]\nours.test\n",
		"helo.access.blacklist_regex": "\\d+-\\d+\\.pool\\.test\n",
	})
	n.Run(t, `
		C: EHLO a.foe.test
		S: 550 5.7.1 a.foe.test That name cannot send mail here
		C: HELO LOCALHOST
		S: 550 5.7.1
		C: EHLO [192.0.2.7]
		S: 550 5.7.1
		C: EHLO [IPv6:2001:DB8:0::1]
		S: 550 5.7.1
		C: EHLO 1-2.POOL.test
		S: 550 5.7.1
		C: EHLO ours.test.
		S: 550 5.7.1
		C: MAIL FROM:<a@a.test>
		S: 503
		C: EHLO good.foe.test
		S: 250
		C: EHLO [192.0.2.8]
		S: 250
	`)
}

func TestMailRcpt(t *testing.T) {
	n := node(trial.Files{
		"mail_from.access.whitelist":       "friend@foe.test\n",
		"mail_from.access.whitelist_regex": "list-.*@foe\\.test\n",
		"mail_from.access.blacklist":       "@foe.test\nbad@a.test\n@*.foe.test\n",
		"mail_from.access.blacklist_regex": ".*spam.*@a\\.test\n",
		"rcpt_to.access.whitelist":         "ann@ours.test\n",
		"rcpt_to.access.blacklist":         "@ours.test\n",
	})
	n.Run(t, `
		C: EHLO a.test
		S: 250
		C: MAIL FROM:<x@foe.test>
		S: 550 5.7.1 x@foe.test That sender cannot send mail here
		C: MAIL FROM:<x@sub.foe.test>
		S: 550 5.7.1
		C: MAIL FROM:<"BAD"@A.test>
		S: 550 5.7.1
		C: MAIL FROM:<nospamhere@a.test>
		S: 550 5.7.1
		# what no reply can show is not shown
		C: MAIL FROM:<spämspam@a.test> SMTPUTF8
		S: 550 5.7.1 That sender cannot send mail here
		C: MAIL FROM:<list-7@foe.test>
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<Friend@foe.test>
		S: 250
		C: RCPT TO:<bob@ours.test>
		S: 550 5.7.1 bob@ours.test That recipient is not allowed
		C: RCPT TO:<ANN@ours.test>
		S: 250
		# he is always somebody
		C: RCPT TO:<postmaster>
		S: 250
		# a whitelist accepts nobody by itself
		C: RCPT TO:<x@away.test>
		S: 550 5.7.1 Relaying denied
	`)
}

func TestRcpt_accept(t *testing.T) {
	n := node(trial.Files{"rcpt_to.access.whitelist": "ann@away.test\n@vouched.test\n"})
	n.Plugins[0].Settings = "rcpt: {accept: true}"
	n.Run(t, `
		C: EHLO a.test
		S: 250
		C: MAIL FROM:<a@a.test>
		S: 250
		C: RCPT TO:<ann@away.test>
		S: 250
		C: RCPT TO:<x@vouched.test>
		S: 250
		C: RCPT TO:<bob@away.test>
		S: 550
		# F1
		C: RCPT TO:<x%away.test@vouched.test>
		S: 550
	`)
}

func TestAny(t *testing.T) {
	n := node(trial.Files{"access.domains": "mail.foe.test\nshop.foe.co.uk\nsingle@a.test\n!good.foe.test\n!friend@foe.test\n!@pals.foe.test\n"})
	for client, name := range map[string]string{"192.0.2.1": "x.foe.test", "192.0.2.2": "good.foe.test", "192.0.2.3": "foe.co.uk", "192.0.2.4": "other.co.uk"} {
		n.Client, n.Names = client, map[string]string{client: name}
		n.Run(t, map[bool]string{true: "S: 554 5.7.1 You are not welcome here.", false: "S: 220"}[client == "192.0.2.1" || client == "192.0.2.3"])
	}
	n.Client, n.Names = "", nil
	n.Run(t, `
		C: EHLO www.foe.test
		S: 550 5.7.1 You are not welcome here.
		C: EHLO [192.0.2.1]
		S: 250
		C: EHLO localhost
		S: 250
		C: EHLO good.foe.test
		S: 250
		C: MAIL FROM:<x@foe.test>
		S: 550 5.7.1
		C: MAIL FROM:<single@a.test>
		S: 550 5.7.1
		C: MAIL FROM:<x@pals.foe.test>
		S: 250
		C: RSET
		S: 250
		C: MAIL FROM:<friend@foe.test>
		S: 250
		C: RCPT TO:<x@foe.test>
		S: 550 5.7.1
		C: RCPT TO:<x@ours.test>
		S: 250
		C: DATA
		S: 354
		C: From: friend@foe.test,
		C:  "x@y.test" <Someone@News.FOE.test>
		C:
		C: .
		S: 550 5.7.1 Email from that domain is not accepted here.
		C: MAIL FROM:<friend@foe.test>
		S: 250
		C: RCPT TO:<x@ours.test>
		S: 250
		C: DATA
		S: 354
		C: From: =?utf-8?q?Foe?= <friend@foe.test>
		C:
		C: .
		S: 250
		C: MAIL FROM:<friend@foe.test>
		S: 250
		C: RCPT TO:<x@ours.test>
		S: 250
		C: DATA
		S: 354
		C: From: who is that
		C:
		C: .
		S: 250
	`)
	if m := n.Mail(); len(m) != 2 {
		t.Errorf("%d messages were taken", len(m))
	}
}

// TestResults: other plugins can see what was found, and where.
func TestResults(t *testing.T) {
	c := trial.Chain(t, trial.Files{"mail_from.access.blacklist_regex": ".*@foe\\.test", "connect.rdns_access.whitelist": "192.0.2.7"}, trial.Use{Kind: access.Kind})
	conn := &plugin.Connection{}
	tx := conn.Begin("1", address("x@foe.test"))
	v := c.Run(context.Background(), &plugin.Event{Hook: plugin.Mail, Connection: conn, Transaction: tx, Address: address("x@foe.test")})
	r, _ := tx.Results.Get("access")
	if v.Code != plugin.Refuse || strings.Join(r.Fail, " ") != "mail_from.access.blacklist_regex" {
		t.Errorf("%v: %v", v.Code, r)
	}
	// Nothing is asked where no list says anything.
	for _, h := range []plugin.Hook{plugin.Helo, plugin.Ehlo, plugin.Rcpt, plugin.DataPost} {
		if c.Has(h) {
			t.Errorf("it is asked at %s for nothing", h)
		}
	}
}

func TestNew_refuses(t *testing.T) {
	for file, c := range map[string][2]string{
		"connect.rdns_access.blacklist":       {"192.0.2.0/24\n10.0.0/8\n", "config/connect.rdns_access.blacklist:2:"},
		"connect.rdns_access.whitelist":       {"192.0.2.999", "is no IP address"},
		"connect.rdns_access.blacklist_regex": {"(a", "config/connect.rdns_access.blacklist_regex:1:"},
		"mail_from.access.blacklist":          {"\n\nexample.net", "config/mail_from.access.blacklist:3: \"example.net\" has no @"},
		"rcpt_to.access.whitelist":            {"*@example.net", "write @example.net"},
		"helo.access.blacklist":               {"[192.0.2]", "is no address literal"},
		"access.domains":                      {"co.uk", "is a public suffix"},
	} {
		trial.Refused(t, access.Kind, "", trial.Files{file: c[0]}, c[1])
	}
	trial.Refused(t, access.Kind, "check: {con: false}", nil, `did you mean "conn"?`)
	trial.Refused(t, access.Kind, "deny_msg: {conn: \"geh weg, Schäfer\"}", nil, "ASCII")
}

// A range of addresses is no host name, and would never match as one.
func TestRangeIsNoName(t *testing.T) {
	trial.Refused(t, access.Kind, "", trial.Files{"connect.rdns_access.blacklist": "192.0.2.0-192.0.2.9"}, "config/connect.rdns_access.blacklist:1:")
}
