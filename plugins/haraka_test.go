package plugins_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/access"
	"github.com/tarishi/tarishi/plugins/aliases"
	"github.com/tarishi/tarishi/plugins/delaydeny"
	"github.com/tarishi/tarishi/plugins/earlytalker"
	"github.com/tarishi/tarishi/plugins/hosts"
	"github.com/tarishi/tarishi/plugins/internal/trial"
	"github.com/tarishi/tarishi/plugins/relay"
	"github.com/tarishi/tarishi/plugins/tarpit"
)

func kinds() []plugin.Kind {
	return []plugin.Kind{relay.Kind, access.Kind, earlytalker.Kind, tarpit.Kind, aliases.Kind, hosts.Kind, hosts.Short, delaydeny.Kind}
}

// The page that says what becomes of Haraka's plugins says "built in" of those that
// are, by their names there, and of no others.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../docs/plugins/haraka.md")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for line := range strings.Lines(string(page)) {
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` | [built in]("); ok {
			said = append(said, name)
			file, _, _ := strings.Cut(rest, ")")
			if _, err := os.Stat("../docs/plugins/" + file); err != nil {
				t.Error(err)
			}
		}
	}
	var are []string
	for _, k := range kinds() {
		if k.Name != hosts.Short.Name {
			are = append(are, k.Name)
		}
	}
	slices.Sort(are)
	slices.Sort(said)
	if !slices.Equal(said, are) {
		t.Errorf("the page says %q, there are %q", said, are)
	}
}

// Haraka's list and files, as they are, make a node that does what that one did.
func TestTakenOver(t *testing.T) {
	const list = "# CONNECT\nrelay\naccess\n\n# HELO\nearly_talker\ntarpit\n\n# RCPT TO\naliases\nrcpt_to.in_host_list\n\ndelay_deny\n"
	n := &trial.Node{Files: trial.Files{
		"host_list":                        "# add hosts in here we want to accept mail for\nharaka.local\n",
		"host_list_regex":                  "# Add regexes in here we want to accept mail for.\n.*\\.haraka\\.local\n",
		"host_list.anti_spoof":             "1\n",
		"relay_acl_allow":                  "127.0.0.1/32\n192.0.2.9 # the office\n",
		"relay_dest_domains.ini":           "[domains]\n",
		"connect.rdns_access.blacklist":    "# Hostnames and IPs are matched exactly as written on each line.\n198.51.100.1\n",
		"mail_from.access.blacklist_regex": "# Each line is a regex.\n.*spamexperts.com\n",
		"mail_from.access.whitelist":       "haraka@harakamail.com\n",
		"access.domains":                   "; comment\nfoo.com\n!friend@foo.com\n",
		"aliases":                          `{ "test1" : { "action" : "drop" }, "test3" : { "action" : "alias", "to" : "test3-works" } }`,
	}}
	yaml := "plugins:\n  run:\n"
	for line := range strings.Lines(list) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			yaml += "    - " + line + "\n"
		}
	}
	c, err := daemon.Parse("tarishi.yaml", []byte(yaml), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Plugins.Run {
		i := slices.IndexFunc(kinds(), func(k plugin.Kind) bool { return k.Name == r.Name })
		if i < 0 {
			t.Fatalf("there is no %s", r.Name)
		}
		n.Plugins = append(n.Plugins, trial.Use{Kind: kinds()[i], Settings: r.Settings.String()})
	}
	n.Run(t, `
		LATE 5s 220
		C: EHLO mail.test
		S: 250
		C: MAIL FROM:<x@spamexperts.com>
		S: 250
		C: RCPT TO:<test3+x@haraka.local>
		S: 550 5.7.1 x@spamexperts.com That sender cannot send mail here
		C: RSET
		S: 250
		C: MAIL FROM:<friend@foo.com>
		S: 250
		C: RCPT TO:<test3+x@haraka.local>
		S: 250
		C: RCPT TO:<test1@a.haraka.local>
		S: 250
		C: RCPT TO:<x@elsewhere.test>
		S: 550 5.7.1 Relaying denied
		C: DATA
		LATE 5s 354
		C: From: friend@foo.com
		C:
		C: .
		S: 250
	`)
	if m := n.Mail(); len(m) != 1 || m[0].To() != "test3-works@haraka.local" {
		t.Errorf("%v", m)
	}
	n.Client = "192.0.2.9"
	n.Run(t, `
		LATE 0s 220
		C: EHLO office.test
		S: 250
		C: MAIL FROM:<boss@haraka.local>
		S: 250
		C: RCPT TO:<x@elsewhere.test>
		S: 250
	`)
}
