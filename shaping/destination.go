package shaping

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// Destination is whom an attempt is about: what shares limits and connections. It
// is fixed from the domain and its MX before anything is asked of the scheduler.
type Destination struct {
	Key  string `json:"key"`            // "name:google", "domain:example.net" or "site:mx1.example.net,mx2.example.net"
	Name string `json:"name,omitempty"` // the named destination whose rules hold where a domain: has none; else empty
}

// ByRoute is whom mail is about that a reply has sent by a route of the
// configuration: what it is sent counts together, and not with the domain's own hosts.
func ByRoute(name string) Destination { return Destination{Key: "route:" + name} }

// String is the destination as people are shown it.
func (d Destination) String() string {
	_, s, _ := strings.Cut(d.Key, ":")
	return s
}

// Destination finds whom mail for domain is about. mx are the hosts of its MX; nil
// when a route of ours, or the domain's own address, says where it goes.
func (t *Table) Destination(domain mail.Domain, mx []string) Destination {
	d, _ := t.place(domain, mx)
	return d
}

// place also says why.
func (t *Table) place(domain mail.Domain, mx []string) (Destination, string) {
	self := "domain:" + string(domain)
	name, how := t.nameOf(domain, mx)
	by, owned := t.own.For(domain)
	switch {
	case owned && by == string(domain):
		return Destination{self, name}, "there is a limit or suspension to exactly this domain"
	case name != "":
		return Destination{Key: "name:" + name}, how
	case owned:
		// Apart from its site: the site's other domains are not of the pattern, so
		// they must not be counted by its limits.
		return Destination{Key: self}, fmt.Sprintf("there is a limit or suspension to %s, and each of its domains counts by itself", by)
	case len(mx) > 0:
		return Destination{Key: "site:" + site(mx)}, "all domains with the same MX hosts count together"
	default:
		return Destination{Key: self}, "it has no MX, or a route says where its mail goes"
	}
}

// nameOf finds the named destination of a domain, and why it is that.
func (t *Table) nameOf(domain mail.Domain, mx []string) (name, how string) {
	if m, ok := t.members.For(domain); ok {
		return m.name, fmt.Sprintf("destinations.%s lists %s", m.name, m.pattern)
	}
	// The longest pattern wins, so that the order of the hosts plays no part.
	var best member
	for _, h := range mx {
		m, ok := t.hosts.For(mail.CanonicalDomain(h))
		if !ok || len(m.pattern) < len(best.pattern) || len(m.pattern) == len(best.pattern) && m.name >= best.name {
			continue
		}
		best, how = m, fmt.Sprintf("its MX host %s is of destinations.%s (%s)", h, m.name, m.pattern)
	}
	return best.name, how
}

// site is the name of a set of MX hosts. Preferences play no part: they change
// more often than whose hosts they are.
func site(mx []string) string {
	hosts := make([]string, len(mx))
	for i, h := range mx {
		hosts[i] = string(mail.CanonicalDomain(h))
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	s := strings.Join(hosts, ",")
	// Keys are held in memory by the hundred thousand; a long one is cut to its
	// first host and a digest of all of them.
	const most = 160
	if len(s) <= most {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("%s,+%d#%s", hosts[0], len(hosts)-1, hex.EncodeToString(sum[:12]))
}
