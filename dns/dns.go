// Package dns answers one question: where does mail for this domain go?
//
// A [Resolver] asks the recursive servers it was given, remembers what they
// said for as long as they allow, and asks only once when many ask at the same
// time. On top of it stand the rules of RFC 5321 §5.1 and RFC 7505, in three
// steps that a caller may take one by one:
//
//	hosts, err := r.MailHosts(ctx, "example.net")          // the MX set, in order
//	site := dns.Site(hosts)                                // its name, for limits
//	cands, err := r.Candidates(ctx, "example.net", self)   // what to dial, in order
//
// The errors of MailHosts and Candidates are always a [*Failure], whose Reply
// says whether the domain will never take mail (5yz) or could not be looked up
// now (4yz): an answer that did not come is never a reason to bounce.
//
// It never connects to a mail host, and never validates DNSSEC itself: it keeps
// the AD bit of a resolver that is trusted to have done so.
package dns

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Family says which addresses of a mail host are used, and which come first.
// Where both are used they alternate, so that a dead family costs every other
// try and not all of them.
type Family int

const (
	PreferIPv4 Family = iota // both, IPv4 first
	PreferIPv6               // both, IPv6 first
	IPv4Only                 // AAAA is not even asked
	IPv6Only                 // A is not even asked
)

// Config says whom to ask and what to make of it. The zero Config works: it
// asks the servers of /etc/resolv.conf.
type Config struct {
	// Servers are recursive resolvers, "host:port" or a bare address (port 53),
	// in order. Empty: those of /etc/resolv.conf, or 127.0.0.1 when it names none.
	Servers []string
	// Timeout is how long one server may take over one question. Default 5 s,
	// or the timeout option of resolv.conf.
	Timeout time.Duration
	// Attempts is how often the list of servers is gone through while they do
	// not answer. Default 2, or the attempts option of resolv.conf.
	Attempts int
	// TrustAD believes the AD bit of every server. Without it only that of
	// servers on a loopback address counts, because the path to any other can
	// be forged (RFC 7672 §2.1); resolv.conf's trust-ad option sets it too.
	TrustAD bool
	// Parallel bounds the questions under way at once. Default 256.
	Parallel int

	// CacheEntries and CacheBytes bound the cache; the answer unused for longest
	// goes first. Defaults 100,000 and 64 MiB.
	CacheEntries int
	CacheBytes   int
	// MaxTTL is the longest an answer is believed, whatever its TTL. Default 24 h.
	MaxTTL time.Duration
	// MaxNegativeTTL is the same for "no such name" and "no such record"
	// (RFC 2308 §5). Default 1 h.
	MaxNegativeTTL time.Duration
	// FailureTTL is how long a question that found no answer is not asked again
	// (RFC 9520 §3.2: between 1 s and 5 min). Default 5 s.
	FailureTTL time.Duration

	// Family says which addresses are used, and which first. Default PreferIPv4.
	Family Family
	// MaxAddrs is the most addresses offered for one attempt, over all hosts of
	// the domain. Default 5 (RFC 5321 §5.1 wants at least two). Negative: no limit.
	MaxAddrs int
	// Allow lists networks that may be dialled although they are special-use; see [Policy].
	Allow []netip.Prefix
	// Literals accepts user@[192.0.2.1]. Default: refused with 5.1.2.
	Literals bool

	// Dial opens the connection to a server; network is "udp" or "tcp". A
	// connection that is not a net.PacketConn is framed as on TCP (RFC 1035
	// §4.2.2), so that tests may use net.Pipe. Default: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock of the cache. Default time.Now.
	Now func() time.Time
	// Shuffle orders hosts of equal preference and the addresses of a host; it
	// has the signature of rand.Shuffle, which is the default.
	Shuffle func(n int, swap func(i, j int))
	// Log gets debug lines only. Default: none.
	Log *slog.Logger
}

// Resolver asks and remembers. Use it from any number of goroutines.
//
// A question runs in a goroutine of its own, so that a caller who gives up does
// not take the answer away from the others; it ends by itself after at most
// Timeout × Attempts × servers (times three, where a server needs to be asked
// without EDNS and over TCP). Nothing else runs: there is nothing to close.
type Resolver struct {
	cfg       Config
	trusted   []bool // by server: its AD bit counts
	preferred atomic.Int32
	slots     chan struct{}
	store     store

	queries, answered, failed, hits, joined atomic.Uint64
}

// New makes a Resolver. It does not fail: servers that cannot be reached show
// as temporary failures of the questions.
func New(cfg Config) *Resolver {
	if len(cfg.Servers) == 0 {
		sys := systemServers("/etc/resolv.conf")
		cfg.Servers = sys.servers
		cfg.TrustAD = cfg.TrustAD || sys.trustAD
		setDefault(&cfg.Timeout, sys.timeout)
		setDefault(&cfg.Attempts, sys.attempts)
	}
	setDefault(&cfg.Timeout, 5*time.Second)
	setDefault(&cfg.Attempts, 2)
	setDefault(&cfg.Parallel, 256)
	setDefault(&cfg.CacheEntries, 100_000)
	setDefault(&cfg.CacheBytes, 64<<20)
	setDefault(&cfg.MaxTTL, 24*time.Hour)
	setDefault(&cfg.MaxNegativeTTL, time.Hour)
	setDefault(&cfg.FailureTTL, 5*time.Second)
	if cfg.MaxAddrs == 0 {
		cfg.MaxAddrs = 5
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Shuffle == nil {
		cfg.Shuffle = rand.Shuffle
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Servers = slices.Clone(cfg.Servers)
	r := &Resolver{cfg: cfg, slots: make(chan struct{}, cfg.Parallel)}
	for i, s := range cfg.Servers {
		cfg.Servers[i] = withPort(s)
		r.trusted = append(r.trusted, cfg.TrustAD || isLoopback(cfg.Servers[i]))
	}
	r.store.init(cfg.CacheEntries, cfg.CacheBytes)
	return r
}

// setDefault puts d where nothing usable was given.
func setDefault[T int | time.Duration](p *T, d T) {
	if *p <= 0 {
		*p = d
	}
}

// Servers returns the servers that are asked, in order, as "host:port".
func (r *Resolver) Servers() []string { return slices.Clone(r.cfg.Servers) }

// Stats counts what the resolver did since it was made.
type Stats struct {
	Hits     uint64 // questions answered from the cache, remembered failures included
	Joined   uint64 // questions that waited for the same question of somebody else
	Queries  uint64 // packets sent to servers: retries, failovers and TCP included
	Answered uint64 // questions the servers answered
	Failed   uint64 // questions no server answered usefully
	Entries  int    // answers in the cache
	Bytes    int    // their size, roughly
}

// Stats returns the counters, for metrics.
func (r *Resolver) Stats() Stats {
	entries, bytes := r.store.size()
	return Stats{
		Hits: r.hits.Load(), Joined: r.joined.Load(), Queries: r.queries.Load(),
		Answered: r.answered.Load(), Failed: r.failed.Load(), Entries: entries, Bytes: bytes,
	}
}
