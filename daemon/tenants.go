package daemon

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// Tenant is one of those whose mail this is. One that is not listed has weight 1.
type Tenant struct {
	Weight int    `yaml:"weight" min:"1" max:"100" doc:"Its part where the tenants' mail does not all go at once, against the others' weights. Default: 1."`
	Class  string `yaml:"class" enum:"high,normal,bulk" doc:"The class of its mail where neither the message nor its client says another. Default: normal."`
	Hours  string `yaml:"hours" check:"hours" doc:"In which hours its mail may be attempted where the message says none: Mon-Fri 09:00-18:00 Europe/Berlin. For what is accepted from then on. Default: always."`
}

// Classes are the three, as far as there is something to say of them.
type Classes struct {
	High HighClass `yaml:"high" doc:"Mail that goes first."`
}

// HighClass is what mail that goes first has to itself.
type HighClass struct {
	Share Percent `yaml:"share" default:"0%" max:"90%" doc:"Part of every window of every limit that only high mail may use, such as 20%. What it does not use stays unused."`
}

// Client says whose mail the clients of some networks bring.
type Client struct {
	From   []netip.Prefix `yaml:"from" required:"yes" doc:"Networks (CIDR) within relay_from. Of several entries the one with the smallest network around a client is its."`
	Tenant string         `yaml:"tenant" check:"tenant" doc:"Whose mail it is, unless the message says so in tenant_header. Default: nobody's in particular."`
	Class  string         `yaml:"class" enum:"high,normal,bulk" doc:"Its class, unless the message says so. Default: the tenant's."`
}

// Percent is a part of a whole: "20%".
type Percent int

// String is what parsePercent reads back.
func (p Percent) String() string { return strconv.Itoa(int(p)) + "%" }

func parsePercent(s string) (Percent, error) {
	digits, ok := strings.CutSuffix(s, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || !ok && n != 0 {
		return 0, errors.New("wants a share such as 20%")
	}
	return Percent(n), nil
}

var errTenant = fmt.Errorf("is no name of a tenant: up to %d letters, digits, dots, dashes, underscores, @ or +", mail.MaxTenant)

func checkTenant(s string) error {
	if !mail.ValidTenant(s) {
		return errTenant
	}
	return nil
}

// Shares are who gets how much where not all mail can go.
func (c *Config) Shares() shaping.Shares {
	s := shaping.Shares{High: int(c.Classes.High.Share)}
	for name, t := range c.Tenants {
		if t.Weight > 1 {
			if s.Tenants == nil {
				s.Tenants = map[string]int{}
			}
			s.Tenants[name] = t.Weight
		}
	}
	return s
}

// TenantClasses are those of the tenants that have one of their own.
func (c *Config) TenantClasses() map[string]mail.Class {
	out := map[string]mail.Class{}
	for name, t := range c.Tenants {
		if t.Class != "" {
			out[name], _ = mail.ParseClass(t.Class) // its enum has been checked
		}
	}
	return out
}

func (l *loader) checkTenants(c *Config) {
	for _, e := range shaping.CheckShares(c.Shares()) { // what its own rules have let through
		l.fault(e.Field, e.What, e.Mend)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Tenants)) {
		if err := checkTenant(name); err != nil {
			l.fault(join("tenants", name), fmt.Sprintf("%q %s", name, err), "")
		}
	}
	seen := map[netip.Prefix]string{}
	for i, x := range c.SMTP.Clients {
		at := fmt.Sprintf("smtp.clients[%d]", i)
		if x.Tenant == "" && x.Class == "" {
			l.fault(at, "says nothing of its clients", "give a tenant or a class, or take it away")
		}
		if len(x.From) == 0 {
			l.fault(at+".from", "is empty", "list the networks of the clients")
		}
		for k, n := range x.From {
			path := fmt.Sprintf("%s.from[%d]", at, k)
			if first, twice := seen[n]; twice {
				l.fault(path, fmt.Sprintf("%s stands in %s already", n, first), "keep one")
			}
			seen[n] = path
			if !slices.ContainsFunc(c.SMTP.RelayFrom, func(r netip.Prefix) bool { return r.Bits() <= n.Bits() && r.Contains(n.Addr()) }) {
				l.fault(path, fmt.Sprintf("%s is not within smtp.relay_from", n), "only clients there are believed; add it there")
			}
		}
	}
}
