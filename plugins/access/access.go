// Package access is the plugin of that name: does the operator know this client, name,
// sender or recipient, and how does he like it? It goes by lists that he writes. It
// never asks DNS or anybody else.
//
// At each phase the whitelists are asked before the blacklists, and lists of entries
// before lists of expressions; who is on a whitelist is not looked for further in that
// phase. See precise.go, and any.go for the list of domains that counts in all of them.
package access

import (
	"errors"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/lists"
)

// Kind is the plugin.
var Kind = plugin.Kind{
	Name:  "access",
	About: "Allow and refuse clients (address, network, rDNS), HELO names, senders and recipients by list files.",
	New:   New,
}

type settings struct {
	Check   checks   `yaml:"check" doc:"Which lists are asked."`
	DenyMsg messages `yaml:"deny_msg" doc:"What the refused are told."`
	Rcpt    rcpt     `yaml:"rcpt" doc:"About recipients."`
}

type checks struct {
	Any  bool `yaml:"any" default:"true" doc:"access.domains, in every phase."`
	Conn bool `yaml:"conn" default:"true" doc:"connect.rdns_access.*: the client's address and host name."`
	Helo bool `yaml:"helo" default:"true" doc:"helo.access.*: the name given in HELO or EHLO."`
	Mail bool `yaml:"mail" default:"true" doc:"mail_from.access.*: the sender."`
	Rcpt bool `yaml:"rcpt" default:"true" doc:"rcpt_to.access.*: the recipients."`
}

type messages struct {
	Conn string `yaml:"conn" default:"You are not allowed to connect" doc:"To clients."`
	Helo string `yaml:"helo" default:"That name cannot send mail here" doc:"To HELO names."`
	Mail string `yaml:"mail" default:"That sender cannot send mail here" doc:"To senders."`
	Rcpt string `yaml:"rcpt" default:"That recipient is not allowed" doc:"To recipients."`
}

type rcpt struct {
	Accept bool `yaml:"accept" default:"false" doc:"Take mail for recipients on a whitelist; otherwise it only keeps them off the blacklists."`
}

type access struct {
	name string
	o    settings

	conn, helo, mail, rcpt lists4
	any                    domains
}

// New reads the lists. Those that are not there are empty.
func New(s plugin.Setup) (plugin.Plugin, error) {
	a := &access{name: s.Name}
	if err := s.Settings(&a.o); err != nil {
		return nil, err
	}
	lists.Unread(s.Read, s.Log, "access.ini")
	for _, m := range []string{a.o.DenyMsg.Conn, a.o.DenyMsg.Helo, a.o.DenyMsg.Mail, a.o.DenyMsg.Rcpt} {
		if strings.ContainsFunc(m, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, errors.New("deny_msg: a reply is one line of ASCII text")
		}
	}
	var faults []error
	load := func(on bool, l *lists4, phase string, newList func() list) {
		if on {
			faults = append(faults, l.read(s.Read, phase, newList))
		}
	}
	load(a.o.Check.Conn, &a.conn, "connect.rdns_access", func() list { return &clients{} })
	load(a.o.Check.Helo, &a.helo, "helo.access", func() list { return &names{} })
	load(a.o.Check.Mail, &a.mail, "mail_from.access", func() list { return &mailboxes{} })
	load(a.o.Check.Rcpt, &a.rcpt, "rcpt_to.access", func() list { return &mailboxes{} })
	if a.o.Check.Any {
		faults = append(faults, a.any.read(s.Read))
	}
	return a, errors.Join(faults...)
}

func (a *access) Name() string { return a.name }

// Register takes the hooks at which there is something to look up: a message whose
// From nobody asks for need not be kept aside, nor a client's name be looked up.
func (a *access) Register(r *plugin.Registrar) error {
	on := func(l *lists4, fn plugin.Func, label string, hooks ...plugin.Hook) {
		for _, h := range hooks {
			if !l.empty() {
				r.Hook(h, 0, label, fn)
			}
		}
	}
	on(&a.conn, a.rdnsAccess, "rdns_access", plugin.Connect)
	on(&a.helo, a.heloAccess, "helo_access", plugin.Helo, plugin.Ehlo)
	on(&a.mail, a.mailFromAccess, "mail_from_access", plugin.Mail)
	on(&a.rcpt, a.rcptToAccess, "rcpt_to_access", plugin.Rcpt)
	if !a.any.empty() {
		for _, h := range []plugin.Hook{plugin.Connect, plugin.Helo, plugin.Ehlo, plugin.Mail, plugin.Rcpt} {
			r.Hook(h, 0, "any", a.anyAccess)
		}
		r.Hook(plugin.DataPost, 0, "data_any", a.dataAny)
	}
	return nil
}

// says makes a refusal of who is refused and why. What cannot stand in a reply is not
// repeated there.
func says(who, why string) string {
	if strings.ContainsFunc(who, func(r rune) bool { return r <= ' ' || r > '~' }) || len(who) > 200 || who == "" {
		return why
	}
	return who + " " + why
}

func denied(enhanced, text string) plugin.Verdict {
	return plugin.Verdict{Code: plugin.Refuse, Reply: mail.R(550, enhanced, text)}
}
