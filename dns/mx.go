package dns

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// MailHost is one host that a domain's mail may go to.
type MailHost struct {
	Host       string // lower case, no trailing dot; "[192.0.2.1]" for an address literal
	Preference uint16 // lower is better
	Implicit   bool   // no MX: the domain itself (RFC 5321 §5.1), or an address literal
	Secure     bool   // the MX answer, or the answer that there is none, was validated
}

// MailHosts returns where a domain's mail may go, best preference first and
// equal ones in random order (RFC 5321 §5.1), each host once. There is at least
// one, or else the error, a [*Failure], says why. Whether the hosts have
// addresses is not known yet; see Candidates.
func (r *Resolver) MailHosts(ctx context.Context, d mail.Domain) ([]MailHost, error) {
	if strings.HasPrefix(string(d), "[") {
		if _, ok := literal(d); !ok || !r.cfg.Literals {
			return nil, failLiteral(d)
		}
		return []MailHost{{Host: string(d), Implicit: true}}, nil
	}
	if !isHost(string(d)) {
		return nil, failNoDomain(d) // no zone can hold it; the question would only leak
	}
	a, err := r.LookupMX(ctx, d)
	if err != nil {
		// RFC 5321 §5.1: an error must not be read as "no MX", or mail would go
		// to the A record of a domain whose DNS is merely slow.
		return nil, failLookup(d, err)
	}
	hosts, failure := mailHosts(d, a)
	if failure != nil {
		return nil, failure
	}
	order(hosts, r.cfg.Shuffle)
	return hosts, nil
}

// mailHosts makes hosts of an MX answer, in no particular order.
func mailHosts(d mail.Domain, a Answer) ([]MailHost, *Failure) {
	switch a.Status {
	case NXDomain:
		return nil, failNoDomain(d)
	case NoData:
		// The implicit MX: the domain's own addresses, preference 0. Where the
		// domain is an alias its addresses are those of the alias' target.
		return []MailHost{{Host: bare(string(d)), Implicit: true, Secure: a.Secure}}, nil
	}
	best := make(map[string]uint16, len(a.MX))
	null := false
	for _, mx := range a.MX {
		if mx.Host == "." {
			null = true // RFC 7505 §3: means something only when it stands alone
			continue
		}
		if p, ok := best[mx.Host]; !ok || mx.Preference < p {
			best[mx.Host] = mx.Preference
		}
	}
	if null && len(best) == 0 {
		return nil, failNull(d)
	}
	hosts := make([]MailHost, 0, len(best))
	for host, p := range best {
		if isHost(host) {
			hosts = append(hosts, MailHost{Host: host, Preference: p, Secure: a.Secure})
		}
	}
	if len(hosts) == 0 {
		return nil, fail(d, 550, "5.4.4", "the mail hosts of %s have no valid names", nil)
	}
	return hosts, nil
}

// order sorts by preference, after a shuffle that leaves equal ones in chance order.
func order(hosts []MailHost, shuffle func(int, func(i, j int))) {
	// By name first: the map gave them in an order that an injected shuffle cannot know.
	slices.SortFunc(hosts, func(a, b MailHost) int { return strings.Compare(a.Host, b.Host) })
	shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b MailHost) int { return cmp.Compare(a.Preference, b.Preference) })
}
