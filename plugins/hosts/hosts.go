// Package hosts is the plugin rcpt_to.in_host_list: whose mail is taken here? It
// accepts recipients at the domains of a list, and can refuse strangers who give a
// sender at one of them. It never looks at what stands before the @, except for a
// route hidden there.
package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/lists"
)

// Kind is the plugin by Haraka's name.
var Kind = plugin.Kind{
	Name:  "rcpt_to.in_host_list",
	About: "Accept mail for the domains of host_list and host_list_regex; with host_list.anti_spoof strangers may not send as one of them.",
	New:   New,
}

// Short is the plugin by a shorter name.
var Short = plugin.Kind{Name: "hosts", About: "The same as rcpt_to.in_host_list.", New: New}

type settings struct {
	File      string `yaml:"file" default:"host_list" doc:"File of domains whose mail is taken, one a line; *.example.net is all below example.net."`
	RegexFile string `yaml:"regex_file" default:"host_list_regex" doc:"File of regular expressions of such domains, one a line; each must match the whole domain."`
	Via       string `yaml:"via" doc:"Where mail for the domains goes, whoever sent it: host:port, lmtp:host:port or lmtp:unix:/path. Default: as routes or their MX say."`
	Route     string `yaml:"route" doc:"The same, as the route of this name says, with its TLS and login."`
	AntiSpoof bool   `yaml:"anti_spoof" default:"false" doc:"Refuse senders at one of the domains to all who may not relay. The file host_list.anti_spoof with the line true does the same."`
}

const antiSpoofFile = "host_list.anti_spoof"

// localSender is the note of a transaction whose sender is at one of the domains.
const localSender = "local_sender"

type hosts struct {
	name      string
	list      lists.Domains
	patterns  lists.Patterns
	antiSpoof bool
	via       any // for get_mx; nil: we do not say
}

// New reads the lists. That neither is there is an error: a list that is being
// written anew must not have all mail refused for good.
func New(s plugin.Setup) (plugin.Plugin, error) {
	var o settings
	if err := s.Settings(&o); err != nil {
		return nil, err
	}
	h := &hosts{name: s.Name, antiSpoof: o.AntiSpoof}
	if err := h.readVia(o.Via, o.Route); err != nil {
		return nil, err
	}
	list, err := lists.Read(s.Read, o.File, func(line string) error { return h.list.Add(lists.Plain(line)) })
	regex, err2 := lists.Read(s.Read, o.RegexFile, h.patterns.Add)
	spoof, err3 := flag(s.Read, antiSpoofFile)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, err
	}
	if !list && !regex {
		return nil, fmt.Errorf("there is neither a file %s nor %s; write the domains whose mail is taken into the first, one a line", lists.Place(o.File), lists.Place(o.RegexFile))
	}
	h.antiSpoof = h.antiSpoof || spoof
	return h, nil
}

func (h *hosts) readVia(via, route string) error {
	switch {
	case via != "" && route != "":
		return errors.New("via and route: one of them says where the mail goes; leave out the other")
	case via != "":
		h.via = via
	case route != "":
		h.via = plugin.NextHop{Route: route}
	default:
		return nil
	}
	if _, err := plugin.NextHops(h.via); err != nil {
		return fmt.Errorf("via: %w", err)
	}
	return nil
}

// flag reads a file that says yes or no in its first line.
func flag(read lists.ReadFunc, name string) (yes bool, err error) {
	text, err := read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	first := true
	err = lists.Parse(lists.Place(name), text, func(line string) error {
		if !first {
			return errors.New("is a second line; one says all")
		}
		first = false
		switch strings.ToLower(line) {
		case "true", "yes", "ok", "enabled", "on", "1":
			yes = true
		case "false", "no", "disabled", "off", "0":
		default:
			return errors.New("is neither true nor false")
		}
		return nil
	})
	return yes, err
}

func (h *hosts) Name() string { return h.name }

func (h *hosts) Register(r *plugin.Registrar) error {
	r.On(plugin.Mail, h.mail)
	r.On(plugin.Rcpt, h.rcpt)
	if h.via != nil {
		r.On(plugin.GetMX, h.getMX)
	}
	return nil
}

// has tells whether a domain is one of ours. A literal is none, whatever an
// expression says: it is an order to connect to an address of the client's choice.
func (h *hosts) has(d mail.Domain) bool {
	if d == "" || d[0] == '[' {
		return false
	}
	return h.list.HasDomain(d) || h.patterns.Has(string(d))
}

func (h *hosts) mail(_ context.Context, e *plugin.Event) plugin.Verdict {
	results := &e.Transaction.Results
	switch {
	case e.Address.IsNull():
		results.Add(h.name, plugin.Skip, "mail_from.null")
	case !h.has(e.Address.Domain):
		results.Add(h.name, plugin.Msg, "mail_from!local")
	case h.antiSpoof && !e.Connection.Relaying():
		results.Add(h.name, plugin.Fail, "mail_from.anti_spoof")
		return plugin.Denied("Mail from domain '" + string(e.Address.Domain) + "' is not allowed from your host")
	default:
		results.Add(h.name, plugin.Pass, "mail_from")
		e.Transaction.Notes.Set(localSender, true)
	}
	return plugin.Verdict{}
}

func (h *hosts) rcpt(_ context.Context, e *plugin.Event) plugin.Verdict {
	to, results, relaying := e.Recipient.Address, &e.Transaction.Results, e.Connection.Relaying()
	switch {
	case to.Domain == "":
		results.Add(h.name, plugin.Fail, "rcpt!domain")
	case !relaying && lists.Routes(to):
		results.Add(h.name, plugin.Fail, "rcpt!route")
	case h.has(to.Domain):
		results.Add(h.name, plugin.Pass, "rcpt_to")
		return plugin.Verdict{Code: plugin.OK}
	case relaying && e.Transaction.Notes.Get(localSender) == true:
		results.Add(h.name, plugin.Pass, "relaying local_sender")
		return plugin.Verdict{Code: plugin.OK}
	default:
		results.Add(h.name, plugin.Msg, "rcpt!local")
	}
	return plugin.Verdict{}
}

func (h *hosts) getMX(_ context.Context, e *plugin.Event) plugin.Verdict {
	if h.has(e.Delivery.Destination) {
		return plugin.Verdict{Code: plugin.OK, Value: h.via}
	}
	return plugin.Verdict{}
}
