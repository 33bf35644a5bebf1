package dns

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// QueryError says that a question has no answer at present: the servers are
// silent, or say SERVFAIL, REFUSED or something that cannot be read. It is
// always temporary, and says nothing about the name.
type QueryError struct {
	Name string
	Type Type
	Err  error // per server, what went wrong
}

func (e *QueryError) Error() string {
	return fmt.Sprintf("looking up %s of %s: %v", e.Type, e.Name, e.Err)
}

func (e *QueryError) Unwrap() error { return e.Err }

// Query returns what DNS says of a name, from the cache or from the servers.
// The name is absolute, with or without its trailing dot; one that cannot be a
// domain name does not exist (NXDomain). An error is always a [*QueryError];
// when ctx ends first it wraps ctx's error, and the question goes on for the
// benefit of the next who asks.
func (r *Resolver) Query(ctx context.Context, name string, t Type) (Answer, error) {
	k := key{bare(name), t}
	if !isName(k.name) {
		return Answer{Name: k.name, Type: t, Canonical: k.name, Status: NXDomain}, nil
	}
	e, f, mine := r.store.begin(k, r.cfg.Now())
	if e != nil {
		r.hits.Add(1)
		return e.answer.clone(), e.err
	}
	if mine {
		go r.fly(k, f)
	} else {
		r.joined.Add(1)
	}
	select {
	case <-f.done:
		return f.answer.clone(), f.err
	case <-ctx.Done():
		return Answer{}, &QueryError{k.name, t, ctx.Err()}
	}
}

// fly finds the answer to k and lands f with it.
func (r *Resolver) fly(k key, f *flight) {
	a, err := r.resolve(k)
	now := r.cfg.Now()
	switch {
	case err != nil:
		r.failed.Add(1)
		a, err = Answer{}, &QueryError{k.name, k.typ, err}
		r.store.end(k, f, a, err, now, now.Add(r.cfg.FailureTTL))
	default:
		r.answered.Add(1)
		most := r.cfg.MaxTTL
		if a.Status != Found {
			most = r.cfg.MaxNegativeTTL
		}
		a.Expires = now.Add(min(a.ttl, most))
		r.store.end(k, f, a, nil, now, a.Expires)
	}
}

// resolve asks the servers, once more for every alias whose target they left out.
func (r *Resolver) resolve(k key) (Answer, error) {
	whole := Answer{Secure: true, ttl: maxDuration}
	name, hops := k.name, 0
	for {
		m, err := r.exchange(key{name, k.typ})
		if err != nil {
			return Answer{}, err
		}
		a, next, n, err := read(m, name, k.typ, hops)
		if err != nil {
			return Answer{}, err
		}
		secure, ttl := whole.Secure && a.Secure, min(whole.ttl, a.ttl)
		whole = a
		whole.Name, whole.Secure, whole.ttl = k.name, secure, ttl
		if next == "" {
			return whole, nil
		}
		name, hops = next, n
	}
}

// LookupMX returns the MX records of a domain as they stand in DNS; MailHosts
// is what makes a route of them.
func (r *Resolver) LookupMX(ctx context.Context, d mail.Domain) (Answer, error) {
	return r.Query(ctx, string(d), TypeMX)
}

// LookupPTR returns the names of an address.
func (r *Resolver) LookupPTR(ctx context.Context, ip netip.Addr) (Answer, error) {
	return r.Query(ctx, reverseName(ip), TypePTR)
}

// Addrs are the addresses of a host, in the order the servers gave.
type Addrs struct {
	V4, V6    []netip.Addr
	Canonical string    // where the host's CNAMEs lead; the host itself when there are none
	Status    Status    // NXDomain when the name does not exist, NoData when it has no address
	Secure    bool      // of at least one family there are addresses, and they were validated (RFC 7672 §2.2.2)
	Expires   time.Time // of the answer that expires first
}

// LookupAddrs returns the A and AAAA records of a host, those of the
// configured families. A family that cannot be looked up is an error only when
// the other has no address: half an answer is enough to deliver.
func (r *Resolver) LookupAddrs(ctx context.Context, host string) (Addrs, error) {
	type result struct {
		a   Answer
		err error
	}
	v6 := make(chan result, 1)
	go func() {
		if r.cfg.Family == IPv4Only {
			v6 <- result{}
			return
		}
		a, err := r.Query(ctx, host, TypeAAAA)
		v6 <- result{a, err}
	}()
	var r4 result
	if r.cfg.Family != IPv6Only {
		r4.a, r4.err = r.Query(ctx, host, TypeA)
	}
	r6 := <-v6

	out := Addrs{V4: r4.a.Addrs, V6: r6.a.Addrs, Canonical: bare(host), Status: NoData}
	for _, x := range []result{r4, r6} {
		if x.err != nil || x.a.Name == "" {
			continue
		}
		out.Canonical = x.a.Canonical
		if out.Expires.IsZero() || x.a.Expires.Before(out.Expires) {
			out.Expires = x.a.Expires
		}
		switch x.a.Status {
		case Found:
			out.Secure = out.Secure || x.a.Secure
		case NXDomain:
			out.Status = NXDomain
		}
	}
	if len(out.V4)+len(out.V6) > 0 {
		out.Status = Found
		return out, nil
	}
	if r4.err != nil {
		return Addrs{}, r4.err
	}
	if r6.err != nil {
		return Addrs{}, r6.err
	}
	return out, nil
}
