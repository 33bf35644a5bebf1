// Package earlytalker is the plugin early_talker: has the client waited for its turn?
// It lets strangers wait before the banner and before the answer to DATA, and turns
// away who speaks in the meantime, as programs do that read no replies. It never
// looks at what they say.
package earlytalker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/lists"
)

// Kind is the plugin.
var Kind = plugin.Kind{
	Name:  "early_talker",
	About: "Pause before the banner and before the answer to DATA, and turn away who talks in the meantime.",
	New:   New,
}

type settings struct {
	Pause       time.Duration `yaml:"pause" default:"5s" min:"0s" max:"5m" doc:"How long strangers wait, each time; keep it below the plugin's timeout. 0: nobody waits, and nobody is looked at."`
	Reject      bool          `yaml:"reject" default:"true" doc:"Turn early talkers away; false: only note in the results that they are."`
	IPWhitelist []string      `yaml:"ip_whitelist" default:"127.0.0.1,::1" doc:"Addresses and networks (CIDR) whose clients do not wait."`
}

type earlyTalker struct {
	name   string
	o      settings
	exempt lists.Networks
}

// New reads the settings.
func New(s plugin.Setup) (plugin.Plugin, error) {
	t := &earlyTalker{name: s.Name}
	if err := s.Settings(&t.o); err != nil {
		return nil, err
	}
	lists.Unread(s.Read, s.Log, "early_talker.ini")
	var faults []error
	for i, n := range t.o.IPWhitelist {
		if err := t.exempt.Add(n); err != nil {
			faults = append(faults, fmt.Errorf("ip_whitelist[%d]: %q %w", i, n, err))
		}
	}
	return t, errors.Join(faults...)
}

func (t *earlyTalker) Name() string { return t.name }

// Register has the client wait at connect_init, before it costs a look-up or another
// plugin's time; nothing can be refused there, so that is done at connect, first of all.
func (t *earlyTalker) Register(r *plugin.Registrar) error {
	if t.o.Pause == 0 {
		return nil
	}
	r.Hook(plugin.ConnectInit, 0, "pause", t.pause)
	r.Hook(plugin.Connect, plugin.First, "early_talker", t.judge)
	r.Hook(plugin.Data, 0, "early_talker", func(ctx context.Context, e *plugin.Event) plugin.Verdict {
		t.pause(ctx, e)
		return t.judge(ctx, e)
	})
	return nil
}

func (t *earlyTalker) pause(ctx context.Context, e *plugin.Event) plugin.Verdict {
	if why := t.exempted(e.Connection); why != "" {
		e.Connection.Results.Add(t.name, plugin.Skip, why)
		return plugin.Verdict{}
	}
	timer := time.NewTimer(t.o.Pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return plugin.Verdict{}
}

func (t *earlyTalker) judge(_ context.Context, e *plugin.Event) plugin.Verdict {
	switch c := e.Connection; {
	case t.exempted(c) != "":
	case !c.EarlyTalker() && (c.Spoke == nil || !c.Spoke()):
		c.Results.Add(t.name, plugin.Pass, "early")
	default:
		c.SetEarlyTalker()
		c.Results.Add(t.name, plugin.Fail, "early")
		if t.o.Reject {
			return plugin.Verdict{Code: plugin.RefuseDisconnect, Reply: mail.R(554, "5.5.1", "You talk too soon")}
		}
	}
	return plugin.Verdict{}
}

// exempted says why a client does not wait; empty: it does.
func (t *earlyTalker) exempted(c *plugin.Connection) string {
	ip := c.Remote.Addr().Unmap()
	switch {
	case c.User() != "":
		return "authed"
	case c.Relaying():
		return "relay"
	case t.exempt.Has(ip):
		return "whitelist"
	case goodKarma(c):
		return "+karma"
	case !ip.IsValid() || ip.IsLoopback() || ip.IsUnspecified():
		return "local_ip"
	case private(ip):
		return "private_ip"
	}
	return ""
}

// goodKarma tells whether a plugin karma thinks well of the client.
func goodKarma(c *plugin.Connection) bool {
	r, ok := c.Results.Get("karma")
	if !ok {
		return false
	}
	good, _ := r.Values["good"].(float64)
	return good > 0
}

// private tells whether an address is one of a network that is somebody's own.
func private(ip netip.Addr) bool { return ip.IsPrivate() || ip.IsLinkLocalUnicast() }
