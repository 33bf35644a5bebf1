package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/tarishi/tarishi/mail"
)

// SelfInfo is what a node knows of itself, to see when mail would come back to it.
type SelfInfo struct {
	Names []string     // host names it takes mail under
	Addrs []netip.Addr // addresses it takes mail on
}

// Candidate is a mail host with the addresses to dial, in order.
type Candidate struct {
	MailHost
	Addrs       []netip.Addr
	Canonical   string // where the host's CNAMEs lead; Host when there are none
	AddrsSecure bool   // the addresses were validated: DANE may apply (RFC 7672 §2.2.2)
}

const (
	// maxHosts is how many hosts of a domain are looked up for one attempt. Real
	// domains have ten at most; hundreds are somebody's joke at the cost of our resolver.
	maxHosts = 50
	// abreast is how many of them are looked up at once.
	abreast = 8
)

// Policy returns the address policy for a node: its own addresses, and what the
// configuration allows. Give its Control to the net.Dialer that dials.
func (r *Resolver) Policy(self SelfInfo) Policy {
	return Policy{Own: self.Addrs, Allow: r.cfg.Allow}
}

// Candidates returns what to dial for a domain, best first: at least one
// candidate with at least one address, at most Config.MaxAddrs addresses in all.
// Hosts without a usable address are left out. When we are among the hosts, only
// those preferred to us remain (RFC 5321 §5.1). The error is a [*Failure].
//
// Equal hosts and the addresses of one host come in another order every time, so
// call it once per attempt.
func (r *Resolver) Candidates(ctx context.Context, d mail.Domain, self SelfInfo) ([]Candidate, error) {
	hosts, err := r.MailHosts(ctx, d)
	if err != nil {
		return nil, err
	}
	return r.CandidatesOf(ctx, d, hosts, self)
}

// CandidatesOf is Candidates for hosts that MailHosts has returned already, so
// that an attempt goes to the very MX set its permits were asked for.
func (r *Resolver) CandidatesOf(ctx context.Context, d mail.Domain, hosts []MailHost, self SelfInfo) ([]Candidate, error) {
	policy := r.Policy(self)
	if ip, ok := literal(d); ok {
		if err := policy.Check(ip); err != nil {
			return nil, failForbidden(d, err)
		}
		return []Candidate{{MailHost: hosts[0], Addrs: []netip.Addr{ip}, Canonical: hosts[0].Host}}, nil
	}

	kept := beforeUs(hosts, self.Names)
	v := verdict{looped: len(kept) < len(hosts)}
	if len(kept) > maxHosts {
		kept, v.unseen = kept[:maxHosts], true
	}
	room := r.cfg.MaxAddrs
	if room < 0 {
		room = int(^uint(0) >> 1)
	}
	var out []Candidate
	for len(kept) > 0 && room > 0 {
		n := 1
		for n < len(kept) && kept[n].Preference == kept[0].Preference {
			n++
		}
		group := r.lookUpAll(ctx, kept[:n])
		kept = kept[n:]
		if slices.ContainsFunc(group, func(f found) bool { return ours(policy, f) }) {
			v.looped = true // RFC 5321 §5.1: hosts equal to us are no better than us
			break
		}
		for _, f := range group {
			if f.err != nil {
				v.err = f.err
				continue
			}
			addrs := r.usable(policy, f.addrs, &v)
			if len(addrs) > room {
				addrs = addrs[:room]
			}
			if room -= len(addrs); len(addrs) == 0 {
				continue
			}
			if f.addrs.Canonical != f.host.Host {
				// RFC 2181 §10.3 forbids an alias as MX target; people do it, so we follow.
				r.cfg.Log.Debug("mail host is an alias", "domain", d, "host", f.host.Host, "canonical", f.addrs.Canonical)
			}
			out = append(out, Candidate{MailHost: f.host, Addrs: addrs, Canonical: f.addrs.Canonical, AddrsSecure: f.addrs.Secure})
		}
	}
	if len(out) == 0 {
		return nil, v.failure(d)
	}
	return out, nil
}

// Addresses returns the addresses of one host that self may dial, in the order
// and number that Candidates uses. The error is a [*Failure] that speaks of the host.
func (r *Resolver) Addresses(ctx context.Context, host string, self SelfInfo) ([]netip.Addr, error) {
	d := mail.Domain(bare(host))
	c, err := r.CandidatesOf(ctx, d, []MailHost{{Host: string(d), Implicit: true}}, self)
	if err != nil {
		return nil, err
	}
	return c[0].Addrs, nil
}

// verdict gathers, while hosts drop out, why none may be left.
type verdict struct {
	looped    bool  // we are among the hosts
	unseen    bool  // there were too many to look at all
	err       error // one could not be looked up
	forbidden error // one has an address that may not be dialled
}

// failure chooses what to say. What we do not know comes first: as long as a
// host might have an address, the mail must not bounce.
func (v verdict) failure(d mail.Domain) *Failure {
	switch {
	case v.err != nil:
		return failLookup(d, v.err)
	case v.unseen:
		return fail(d, 451, "4.4.4", fmt.Sprintf("none of %d mail hosts of %%s can be used; it has more", maxHosts), nil)
	case v.looped:
		return failLoop(d)
	case v.forbidden != nil:
		return failForbidden(d, v.forbidden)
	default:
		return fail(d, 550, "5.4.4", "no mail host of %s has an address", nil)
	}
}

func failForbidden(d mail.Domain, err error) *Failure {
	var a *AddrError
	if errors.As(err, &a) && a.Own {
		return failLoop(d)
	}
	return fail(d, 550, "5.4.4", "the mail hosts of %s have only addresses that mail is not sent to", err)
}

// beforeUs returns the hosts that are preferred to the best one that bears a name of ours.
func beforeUs(hosts []MailHost, names []string) []MailHost {
	for _, h := range hosts { // in order of preference
		if slices.ContainsFunc(names, func(n string) bool { return bare(n) == h.Host }) {
			return hosts[:slices.IndexFunc(hosts, func(x MailHost) bool { return x.Preference == h.Preference })]
		}
	}
	return hosts
}

// found is a host with what DNS said of it.
type found struct {
	host  MailHost
	addrs Addrs
	err   error
}

// lookUpAll looks hosts up, a few abreast, and keeps their order.
func (r *Resolver) lookUpAll(ctx context.Context, hosts []MailHost) []found {
	out := make([]found, len(hosts))
	turns := make(chan struct{}, abreast)
	var wg sync.WaitGroup
	for i, h := range hosts {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			a, err := r.LookupAddrs(ctx, h.Host)
			out[i] = found{h, a, err}
		})
	}
	wg.Wait()
	return out
}

// ours tells whether one of a host's addresses is our own.
func ours(p Policy, f found) bool {
	for _, ip := range slices.Concat(f.addrs.V4, f.addrs.V6) {
		var a *AddrError
		if errors.As(p.Check(ip), &a) && a.Own {
			return true
		}
	}
	return false
}

// usable returns the addresses that may be dialled, families alternating.
func (r *Resolver) usable(p Policy, a Addrs, v *verdict) []netip.Addr {
	pick := func(all []netip.Addr) (out []netip.Addr) {
		for _, ip := range all {
			if err := p.Check(ip); err != nil {
				v.forbidden = err
				continue
			}
			if !slices.Contains(out, ip) {
				out = append(out, ip)
			}
		}
		// The servers rotate addresses so that load spreads; the cache stopped that.
		r.cfg.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out
	}
	first, second := pick(a.V4), pick(a.V6)
	if r.cfg.Family == PreferIPv6 {
		first, second = second, first
	}
	out := make([]netip.Addr, 0, len(first)+len(second))
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(second) {
			out = append(out, second[i])
		}
	}
	return out
}
