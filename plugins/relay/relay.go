// Package relay is the plugin of that name: may this client send to any domain, and
// to which may everybody? It goes by networks and by a list of destination domains,
// which can also name their next hops. It never lets one recipient's right be used for
// another one.
package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/lists"
)

// Kind is the plugin.
var Kind = plugin.Kind{
	Name:  "relay",
	About: "Let clients of some networks send to any domain (relay_acl_allow), and everybody to some domains (relay_dest_domains.ini).",
	New:   New,
}

type settings struct {
	ACL          bool `yaml:"acl" default:"true" doc:"Clients in the networks of relay_acl_allow may send to any domain."`
	ForceRouting bool `yaml:"force_routing" default:"true" doc:"Mail goes to the nexthop that relay_dest_domains.ini names for its domain, whoever sent it."`
	DestDomains  bool `yaml:"dest_domains" default:"false" doc:"Who may not relay may send to the domains of relay_dest_domains.ini as their action says, and to no others."`
	All          bool `yaml:"all" default:"false" doc:"Everybody may send to any domain: an open relay, for spam traps whose mail goes nowhere."`
}

const (
	aclFile  = "relay_acl_allow"
	destFile = "relay_dest_domains.ini"
)

type relay struct {
	name  string
	o     settings
	allow lists.Networks
	dests dests
}

// New reads the lists.
func New(s plugin.Setup) (plugin.Plugin, error) {
	r := &relay{name: s.Name}
	if err := s.Settings(&r.o); err != nil {
		return nil, err
	}
	lists.Unread(s.Read, s.Log, "relay.ini")
	var faults []error
	if r.o.ACL {
		_, err := lists.Read(s.Read, aclFile, func(line string) error { return r.add(lists.Plain(line)) })
		faults = append(faults, err)
	}
	if r.o.ForceRouting || r.o.DestDomains {
		there, err := lists.Read(s.Read, destFile, r.dests.add)
		if err == nil && !there && r.o.DestDomains {
			err = fmt.Errorf("dest_domains is set, and there is no file %s; without it nobody could send anything", lists.Place(destFile))
		}
		faults = append(faults, err)
	}
	if r.o.All {
		s.Log.Warn("this host is an open relay: the plugin has the setting all; anybody may send to anybody")
	}
	return r, errors.Join(faults...)
}

func (r *relay) Name() string { return r.name }

func (r *relay) Register(reg *plugin.Registrar) error {
	if r.allow.Len() > 0 {
		reg.Hook(plugin.ConnectInit, 0, "acl", r.acl)
		reg.Hook(plugin.Connect, 0, "pass_relaying", passRelaying)
	}
	if r.o.DestDomains {
		reg.Hook(plugin.Rcpt, 0, "dest_domains", r.destDomains)
		reg.Hook(plugin.Rcpt, plugin.Last, "dest_domains_continue", r.destContinue)
	}
	if r.o.All {
		reg.Hook(plugin.Rcpt, 0, "all", r.all)
	}
	if r.o.ForceRouting && r.dests.routes {
		reg.Hook(plugin.GetMX, 0, "force_routing", r.forceRouting)
	}
	return nil
}

// add refuses what is everybody: nobody means an open relay, and who does says so
// otherwise.
func (r *relay) add(network string) error {
	if p, err := lists.ParseNetwork(network); err == nil && p.Bits() == 0 {
		return errors.New("is everybody, so that any stranger could relay; list your own networks (an open relay is settings: {all: true})")
	}
	return r.allow.Add(network)
}

// acl lets the clients in the list relay.
func (r *relay) acl(_ context.Context, e *plugin.Event) plugin.Verdict {
	c := e.Connection
	if !r.allow.Has(c.Remote.Addr()) {
		c.Results.Add(r.name, plugin.Skip, "acl(unlisted)")
		return plugin.Verdict{}
	}
	c.Results.Add(r.name, plugin.Pass, "acl")
	c.SetRelaying(true)
	return plugin.Verdict{}
}

// passRelaying spares clients that may relay what other plugins check at connect.
func passRelaying(_ context.Context, e *plugin.Event) plugin.Verdict {
	if e.Connection.Relaying() {
		return plugin.Verdict{Code: plugin.OK}
	}
	return plugin.Verdict{}
}

func (r *relay) destDomains(_ context.Context, e *plugin.Event) plugin.Verdict {
	results, to := &e.Transaction.Results, e.Recipient.Address
	switch {
	case e.Connection.Relaying():
		results.Add(r.name, plugin.Skip, "relay_dest_domain(relay)")
		return plugin.Verdict{}
	case lists.BarePostmaster(e.Address):
		results.Add(r.name, plugin.Skip, "relay_dest_domain(postmaster)")
		return plugin.Verdict{}
	}
	d, _ := r.dests.by.For(to.Domain)
	if lists.Routes(to) {
		d.Action = deny
	}
	switch d.Action {
	case accept:
		results.Add(r.name, plugin.Pass, "relay_dest_domain")
		return plugin.Verdict{Code: plugin.OK}
	case continues:
		results.Add(r.name, plugin.Pass, "relay_dest_domain")
		return plugin.Verdict{}
	}
	results.Add(r.name, plugin.Fail, "relay_dest_domain")
	return plugin.Denied("You are not allowed to relay")
}

// destContinue takes mail for a domain whose action is continue when no other plugin
// has had anything against it. For this recipient only: were the client as a whole
// allowed to relay, its next recipient could be anybody's.
func (r *relay) destContinue(_ context.Context, e *plugin.Event) plugin.Verdict {
	to := e.Recipient.Address
	if d, _ := r.dests.by.For(to.Domain); d.Action == continues && !e.Connection.Relaying() && !lists.Routes(to) {
		return plugin.Verdict{Code: plugin.OK}
	}
	return plugin.Verdict{}
}

func (r *relay) all(_ context.Context, e *plugin.Event) plugin.Verdict {
	e.Transaction.Results.Add(r.name, plugin.Pass, "all")
	return plugin.Verdict{Code: plugin.OK}
}

func (r *relay) forceRouting(_ context.Context, e *plugin.Event) plugin.Verdict {
	if hop := r.dests.nextHop(e.Delivery.Destination); hop != "" {
		return plugin.Verdict{Code: plugin.OK, Value: hop}
	}
	return plugin.Verdict{}
}
