package daemon

import (
	"fmt"
	"strings"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// Destination is a group of receivers, known by their domains or by the names of
// their MX hosts.
type Destination struct {
	MX      []string `yaml:"mx" check:"pattern" doc:"Names of MX hosts: \"*.google.com\" or a host. A domain with one such host belongs to the group."`
	Domains []string `yaml:"domains" check:"pattern" doc:"Domains that belong to it whatever their MX: \"gmail.com\" or \"*.example.net\"."`
}

// Limit bounds what one destination is sent. A key that is left out says nothing;
// the next less specific limit that gives it decides.
type Limit struct {
	To             string   `yaml:"to" check:"limit" required:"yes" doc:"A named destination, a domain, \"*.domain\" or \"*\"."`
	Per            []string `yaml:"per" enum:"source,tenant" doc:"[]: the whole cluster counts together; [source], [tenant], [source, tenant]: each apart."`
	Messages       []Window `yaml:"messages" doc:"Messages (transactions) begun: [{max: 1000, window: 1h}, {max: 20, window: 1s}], in any such stretch of time; max 0 suspends."`
	Recipients     []Window `yaml:"recipients" doc:"Recipients, likewise."`
	NewConnections []Window `yaml:"new_connections" doc:"Connections begun, likewise."`
	Connections    *int     `yaml:"connections" doc:"Connections at a time; 0 suspends."`
	PerConnection  *int     `yaml:"per_connection" doc:"Messages over one connection."`
	Shadow         bool     `yaml:"shadow" doc:"Count what it would hold, and hold nothing."`
	Note           string   `yaml:"note" doc:"Why, for people."`
}

// Window is so many in such a time.
type Window struct {
	Max    *int          `yaml:"max" required:"yes" doc:"How many."`
	Window time.Duration `yaml:"window" required:"yes" min:"1s" max:"30d" doc:"In how long, 1s to 30d."`
}

// Groups are the named destinations: those of the configuration, then those that
// came with rules about replies and have a name and patterns that are free.
func (c *Config) Groups() map[string]shaping.Group {
	groups := groupsOf(c.Destinations)
	if c.replies != nil {
		groups = mergeGroups(groups, c.replies.groups)
	}
	return groups
}

func groupsOf(ds map[string]Destination) map[string]shaping.Group {
	out := make(map[string]shaping.Group, len(ds))
	for name, d := range ds {
		out[name] = shaping.Group{MX: d.MX, Domains: d.Domains}
	}
	return out
}

// Rules are the limits of the file, in its order.
func (c *Config) Rules() []shaping.Rule { return rulesOf(c.Limits) }

func rulesOf(limits []Limit) []shaping.Rule {
	out := make([]shaping.Rule, len(limits))
	for i, l := range limits {
		p, _ := shaping.ParsePer(l.Per) // its enum has been checked
		out[i] = shaping.Rule{
			To: l.To, Per: p, Messages: windowsOf(l.Messages), Recipients: windowsOf(l.Recipients),
			NewConnections: windowsOf(l.NewConnections), Connections: l.Connections, PerConnection: l.PerConnection, Shadow: l.Shadow, Note: l.Note,
		}
	}
	return out
}

func windowsOf(ws []Window) []shaping.Window {
	if ws == nil {
		return nil
	}
	out := make([]shaping.Window, len(ws))
	for i, w := range ws {
		out[i].Length = w.Window
		if w.Max != nil {
			out[i].Max = *w.Max
		}
	}
	return out
}

func (l *loader) checkLimits(c *Config) {
	for _, e := range shaping.CheckGroups(groupsOf(c.Destinations)) {
		l.fault("destinations."+e.Field, e.What, e.Mend)
	}
	l.checkRules("limits", c.Groups(), rulesOf(c.Limits))
}

// checkRules lays the faults of rules at the places in the file where they are
// written; under is the path of their list.
func (l *loader) checkRules(under string, groups map[string]shaping.Group, rules []shaping.Rule) {
	for _, f := range shaping.Check(groups, rules) {
		path := fmt.Sprintf("%s[%d]", under, f.Index)
		if f.Field != "" {
			path += "." + f.Field
		}
		l.fault(path, f.What, f.Mend)
	}
}

// ParseRules reads a file of limits, as `tarishi limits apply` takes it: a YAML or
// JSON list as it stands under limits in a configuration, or a document whose only
// key is limits. Whether their named destinations exist only the cluster knows.
// The error is a Problems.
func ParseRules(file string, src []byte) ([]shaping.Rule, error) {
	var limits []Limit
	l := &loader{file: file, where: map[string]string{}}
	l.decodeRules(src, &limits)
	rules := rulesOf(limits)
	if len(l.problems) == 0 {
		// A name without a dot is taken for a destination that is defined there.
		groups := map[string]shaping.Group{}
		for _, r := range rules {
			if !strings.ContainsAny(r.To, ".*") && r.To != "" {
				groups[r.To] = shaping.Group{}
			}
		}
		l.checkRules("limits", groups, rules)
	}
	if len(l.problems) > 0 {
		l.problems.sort()
		return nil, l.problems
	}
	return rules, nil
}
