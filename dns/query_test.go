package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/dns/dnstest"
	"github.com/tarishi/tarishi/mail"
)

// bubble makes a resolver and a server without sockets; it must be called in a
// synctest bubble, where time passes as soon as all wait for it.
func bubble(t *testing.T, zone string, change ...func(*dns.Config)) (*dns.Resolver, *dnstest.Server) {
	t.Helper()
	srv := dnstest.New(t, zone)
	cfg := dns.Config{Servers: []string{"dnstest:53"}, Dial: srv.Dial, Allow: local, Shuffle: unshuffled}
	for _, f := range change {
		f(&cfg)
	}
	return dns.New(cfg), srv
}

func networks(srv *dnstest.Server) string {
	var out []string
	for _, q := range srv.Queries() {
		out = append(out, q.Network)
	}
	return strings.Join(out, " ")
}

func TestK7_largeAnswersComeOverTCP(t *testing.T) {
	r, srv := start(t, dnstest.MXSet("d.test", 500)+dnstest.MXSet("huge.test", 2800)+"one.test MX 1 mx.one.test")
	for _, tt := range []struct {
		domain mail.Domain
		hosts  int
		asked  string
	}{{"one.test", 1, "udp"}, {"d.test", 500, "udp udp tcp"}, {"huge.test", 2800, "udp udp tcp udp tcp"}} {
		hosts, err := r.MailHosts(t.Context(), tt.domain)
		if err != nil || len(hosts) != tt.hosts {
			t.Fatalf("%s: %d hosts, %v; want %d", tt.domain, len(hosts), err, tt.hosts)
		}
		if got := networks(srv); got != tt.asked {
			t.Errorf("%s: asked over %s, want %s", tt.domain, got, tt.asked)
		}
	}
}

func TestK7_truncated(t *testing.T) {
	zone := dnstest.MXSet("d.test", 2)
	r, srv := start(t, zone)
	srv.Fault("d.test MX", dnstest.Fault{Truncate: true})
	cs, err := r.Candidates(t.Context(), "d.test", dns.SelfInfo{})
	if err != nil || show(cs) != "mx0.d.test=127.1.0.0 mx1.d.test=127.1.0.1" {
		t.Fatalf("got %s, %v", show(cs), err)
	}

	r, srv = start(t, zone)
	srv.Fault("d.test MX", dnstest.Fault{Torn: true})
	if cs, err = r.Candidates(t.Context(), "d.test", dns.SelfInfo{}); err != nil || len(cs) != 2 {
		t.Fatalf("got %s, %v", show(cs), err)
	}

	// What came with TC=1 is half an answer: without TCP there is none.
	r, srv = start(t, dnstest.MXSet("d.test", 500), func(c *dns.Config) { c.Timeout = 100 * time.Millisecond })
	srv.Fault("d.test MX", dnstest.Fault{NoTCP: true})
	_, err = r.Candidates(t.Context(), "d.test", dns.SelfInfo{})
	want(t, err, "451 4.4.3")
}

func TestK7_fiveHundredMailHosts(t *testing.T) {
	r, srv := start(t, dnstest.MXSet("d.test", 500))
	cs, err := r.Candidates(t.Context(), "d.test", dns.SelfInfo{})
	if err != nil || len(cs) != 5 {
		t.Fatalf("got %s, %v", show(cs), err)
	}
	// Of hosts of one preference any may be us, so 50 are looked at, and no more.
	if n := srv.Count("", "A"); n != 50 {
		t.Errorf("%d hosts were looked up, want 50", n)
	}
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, "d.test MX %d mx%d.test\n", i, i)
	}
	r, _ = start(t, b.String())
	_, err = r.Candidates(t.Context(), "d.test", dns.SelfInfo{})
	want(t, err, "451 4.4.4") // the ten that were not looked at may be fine
}

func TestK7_compressionLoop(t *testing.T) {
	r, srv := start(t, "d.test MX 1 a.test\na.test A 127.0.0.2")
	srv.Fault("d.test", dnstest.Fault{Loop: true})
	_, err := r.Candidates(t.Context(), "d.test", dns.SelfInfo{})
	want(t, err, "451 4.4.3")
	if !strings.Contains(err.Error(), "malformed") {
		t.Errorf("the log does not say what is wrong: %v", err)
	}
}

func TestK7_deadResolverBouncesNothing(t *testing.T) {
	silent := dnstest.Fault{Drop: true}
	servfail := dnstest.Fault{Rcode: dnstest.ServFail}
	for name, fault := range map[string]*dnstest.Fault{"silent": &silent, "SERVFAIL": &servfail, "unreachable": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, srv := bubble(t, dnstest.MXSet("d.test", 2)+"nx.test A 127.0.0.1\nnull.test MX 0 .", func(c *dns.Config) {
					c.Servers = []string{"one:53", "two:53"}
					if fault == nil {
						c.Dial = func(context.Context, string, string) (net.Conn, error) {
							return nil, errors.New("network is unreachable")
						}
					}
				})
				if fault != nil {
					srv.Fault("", *fault)
				}
				for i := range 50 {
					for _, d := range []mail.Domain{"d.test", "null.test", mail.Domain(fmt.Sprintf("no%d.test", i))} {
						_, err := r.Candidates(t.Context(), d, dns.SelfInfo{Names: []string{"mx0.d.test"}})
						want(t, err, "451 4.4.3")
					}
				}
			})
		})
	}
}

// Time to live: how long an answer is believed.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := "a.test MX 1 m.test\nb.test MX 1 m.test"
		one, two := dnstest.New(t, zone), dnstest.New(t, zone)
		var dialled []string
		r := dns.New(dns.Config{Servers: []string{"one", "two"}, Timeout: 3 * time.Second,
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				dialled = append(dialled, addr)
				if addr == "one:53" {
					return one.Dial(ctx, network, addr)
				}
				return two.Dial(ctx, network, addr)
			}})
		step := func(d mail.Domain, took time.Duration, want string) {
			t.Helper()
			dialled = nil
			began := time.Now()
			if _, err := r.MailHosts(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(dialled, " "); got != want || time.Since(began) != took {
				t.Errorf("asked %s in %v, want %s in %v", got, time.Since(began), want, took)
			}
		}
		one.Fault("", dnstest.Fault{Drop: true})
		step("a.test", 3*time.Second, "one:53 two:53")
		step("b.test", 0, "two:53") // whoever answered last is asked first
		time.Sleep(time.Hour)
		two.Fault("", dnstest.Fault{Rcode: dnstest.ServFail})
		one.Fault("", dnstest.Fault{Drop: true, Times: 1})
		step("a.test", 3*time.Second, "two:53 one:53 one:53") // SERVFAIL is not asked for twice, silence is
	})
}

func TestWhatIsAsked(t *testing.T) {
	r, srv := start(t, "d.test MX 1 a.test")
	if _, err := r.MailHosts(t.Context(), "d.test"); err != nil {
		t.Fatal(err)
	}
	want := []dnstest.Query{{Network: "udp", Name: "d.test", Type: "MX", EDNS: 1232, AD: true}}
	if got := srv.Queries(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestServerFromBeforeEDNS(t *testing.T) {
	r, srv := start(t, dnstest.MXSet("d.test", 40)) // more than 512 octets
	srv.Fault("d.test", dnstest.Fault{NoEDNS: true})
	hosts, err := r.MailHosts(t.Context(), "d.test")
	if err != nil || len(hosts) != 40 {
		t.Fatalf("%d hosts, %v", len(hosts), err)
	}
	if got := networks(srv); got != "udp udp tcp" {
		t.Errorf("asked over %s", got)
	}
}

func TestForgedAnswersAreIgnored(t *testing.T) {
	r, srv := start(t, "d.test MX 1 a.test")
	srv.Fault("d.test", dnstest.Fault{Forge: true})
	hosts, err := r.MailHosts(t.Context(), "d.test")
	if err != nil || len(hosts) != 1 || hosts[0].Host != "a.test" {
		t.Fatalf("got %+v, %v", hosts, err)
	}
}

func TestSecure(t *testing.T) {
	zone := `
		d.test      MX 1 mx.test
		mx.test     A  127.0.0.2
		half.test   CNAME open.test
		other.test  CNAME d.test
		open.test   MX 1 mx.test
	`
	for _, tt := range []struct {
		name    string
		server  string
		trust   bool
		domain  string
		missing bool // the target of the alias comes in an answer of its own
		want    bool
	}{
		{name: "loopback", server: "127.0.0.1:53", domain: "d.test", want: true},
		{name: "loopback IPv6", server: "::1", domain: "d.test", want: true},
		{name: "elsewhere", server: "192.0.2.53", domain: "d.test", want: false},
		{name: "by name", server: "localhost:53", domain: "d.test", want: false},
		{name: "elsewhere, trusted", server: "192.0.2.53", trust: true, domain: "d.test", want: true},
		{name: "not signed", server: "127.0.0.1", domain: "open.test", want: false},
		{name: "half of a chain", server: "127.0.0.1", domain: "half.test", want: false},
		{name: "half of a chain, in two answers", server: "127.0.0.1", domain: "half.test", missing: true, want: false},
		{name: "the other half of a chain, in two answers", server: "127.0.0.1", domain: "other.test", missing: true, want: false},
		{name: "no MX, and that is certain", server: "127.0.0.1", domain: "mx.test", want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, srv := bubble(t, zone, func(c *dns.Config) { c.Servers, c.TrustAD = []string{tt.server}, tt.trust })
				srv.Secure("d.test", "mx.test", "half.test")
				srv.Fault("half.test", dnstest.Fault{BareCut: tt.missing})
				srv.Fault("other.test", dnstest.Fault{BareCut: tt.missing})
				cs, err := r.Candidates(t.Context(), mail.Domain(tt.domain), dns.SelfInfo{})
				if err != nil || cs[0].Secure != tt.want {
					t.Fatalf("got %+v, %v; want Secure %v", cs, err, tt.want)
				}
				if trusted := tt.trust || !strings.Contains(tt.name, "elsewhere") && tt.name != "by name"; cs[0].AddrsSecure != trusted {
					t.Errorf("AddrsSecure %v, want %v", cs[0].AddrsSecure, trusted)
				}
			})
		})
	}
}

// An answer larger than the whole cache is used and forgotten; it pushes nobody out.
// Who gives up takes nothing away from those who wait, nor from the next.
func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := bubble(t, "d.test MX 1 a.test")
		srv.Fault("d.test", dnstest.Fault{Delay: 2 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.MailHosts(ctx, "d.test")
		want(t, err, "451 4.4.3")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the cause is lost: %v", err)
		}
		began := time.Now()
		if _, err := r.MailHosts(t.Context(), "d.test"); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if n := srv.Count("", ""); n != 1 {
			t.Errorf("%d questions, want 1", n)
		}
	})
}

// Whatever many ask, only so many questions are under way.
func TestParallelIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := bubble(t, "d.test TXT x", func(c *dns.Config) { c.Parallel = 3 })
		srv.Fault("", dnstest.Fault{Delay: time.Second})
		for i := range 9 {
			go func() { _, _ = r.Query(t.Context(), fmt.Sprintf("d%d.test", i), dns.TypeMX) }()
		}
		for round := 1; round <= 3; round++ {
			synctest.Wait()
			if n := srv.Count("", ""); n != 3*round {
				t.Errorf("round %d: %d questions", round, n)
			}
			time.Sleep(time.Second)
		}
	})
}
