package dns_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/dns/dnstest"
	"github.com/tarishi/tarishi/mail"
)

func TestK7_thousandLookupsOneQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := bubble(t, "d.test MX 1 a.test")
		srv.Fault("d.test", dnstest.Fault{Delay: time.Second})
		var wg sync.WaitGroup
		errs := make(chan error, 1000)
		for range 1000 {
			wg.Go(func() {
				hosts, err := r.MailHosts(t.Context(), "d.test")
				if err == nil && (len(hosts) != 1 || hosts[0].Host != "a.test") {
					err = fmt.Errorf("got %+v", hosts)
				}
				errs <- err
			})
		}
		wg.Wait()
		for range 1000 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		if n := srv.Count("", ""); n != 1 {
			t.Errorf("%d questions, want 1", n)
		}
		if st := r.Stats(); st.Queries != 1 || st.Joined+st.Hits != 999 || st.Answered != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestK7_TTL(t *testing.T) {
	zone := `
		zero.test    0          MX 1 a.test
		top.test     2147483648 MX 1 a.test
		minute.test  60         MX 1 a.test
		years.test   99999999   MX 1 a.test
		alias.test   10         CNAME years.test
		cut.test     10         CNAME years.test
		exists.test             TXT x
	`
	for _, tt := range []struct {
		name string
		ttl  time.Duration
	}{
		{"zero.test", 0},
		{"top.test", 0}, // RFC 2181 §8
		{"minute.test", time.Minute},
		{"years.test", 24 * time.Hour},
		{"alias.test", 10 * time.Second},
		{"cut.test", 10 * time.Second}, // the target comes in an answer of its own
		{"exists.test", time.Minute},   // the SOA's minimum, less than its TTL of 900 s
		{"nothing.test", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, srv := bubble(t, zone)
				srv.Fault("cut.test", dnstest.Fault{BareCut: true})
				ask := func(queries int) {
					t.Helper()
					if _, err := r.LookupMX(t.Context(), mail.Domain(tt.name)); err != nil {
						t.Fatal(err)
					}
					if n := srv.Count(tt.name, "MX"); n != queries {
						t.Errorf("%d questions, want %d", n, queries)
					}
				}
				ask(1)
				if tt.ttl > 0 {
					time.Sleep(tt.ttl - time.Nanosecond)
					ask(1)
					time.Sleep(time.Nanosecond)
				}
				ask(2)
			})
		})
	}
}

func TestK7_negativeTTLHasALimitOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := bubble(t, "d.test MX 1 a.test\nexists.test TXT x", func(c *dns.Config) { c.MaxNegativeTTL = 30 * time.Second })
		for name, want := range map[string]time.Duration{"d.test": 300 * time.Second, "exists.test": 30 * time.Second, "nothing.test": 30 * time.Second} {
			a, err := r.Query(t.Context(), name, dns.TypeMX)
			if err != nil || time.Until(a.Expires) != want {
				t.Errorf("%s: expires in %v, want %v (%v)", name, time.Until(a.Expires), want, err)
			}
		}
	})
}

func TestK7_negativeWithoutSOAIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := bubble(t, "d.test TXT x")
		srv.Fault("", dnstest.Fault{NoSOA: true})
		for _, d := range []mail.Domain{"d.test", "d.test", "nothing.test", "nothing.test"} {
			if _, err := r.LookupMX(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if n := srv.Count("", ""); n != 4 {
			t.Errorf("%d questions, want 4", n)
		}
	})
}

func TestFailuresAreRememberedBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := bubble(t, "d.test MX 1 a.test")
		srv.Fault("d.test", dnstest.Fault{Rcode: dnstest.ServFail, Times: 1})
		_, err := r.MailHosts(t.Context(), "d.test")
		want(t, err, "451 4.4.3")
		time.Sleep(5*time.Second - time.Nanosecond)
		_, err = r.MailHosts(t.Context(), "d.test")
		want(t, err, "451 4.4.3")
		time.Sleep(time.Nanosecond)
		if _, err = r.MailHosts(t.Context(), "d.test"); err != nil {
			t.Error(err)
		}
		if n := srv.Count("", ""); n != 2 {
			t.Errorf("%d questions, want 2", n)
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var zone strings.Builder
		for i := range 30 {
			fmt.Fprintf(&zone, "d%d.test MX 1 a.test\n", i)
		}
		for _, tt := range []struct {
			name           string
			entries, bytes int
		}{{"entries", 10, 0}, {"bytes", 0, 5000}} {
			r, srv := bubble(t, zone.String(), func(c *dns.Config) { c.CacheEntries, c.CacheBytes = tt.entries, tt.bytes })
			ask := func(i int) {
				if _, err := r.Query(t.Context(), fmt.Sprintf("d%d.test", i), dns.TypeMX); err != nil {
					t.Fatal(err)
				}
				st := r.Stats()
				if tt.entries > 0 && st.Entries > tt.entries || tt.bytes > 0 && st.Bytes > tt.bytes {
					t.Fatalf("%s: %+v", tt.name, st)
				}
			}
			for i := range 30 {
				ask(i)
				ask(0) // in use, so it stays
			}
			if n := srv.Count("d0.test", ""); n != 1 {
				t.Errorf("%s: what is in use was asked for %d times", tt.name, n)
			}
			ask(1)
			if n := srv.Count("d1.test", ""); n != 2 {
				t.Errorf("%s: what was unused longest was asked for %d times, want 2", tt.name, n)
			}
		}
	})
}

func TestAnswersAreTheCallersOwn(t *testing.T) {
	r, _ := start(t, "d.test TXT v=spf1 \"with \\\"quotes\\\" \" \"and \\200\"\n_25._tcp.mx.test TLSA 3 1 1 "+strings.Repeat("ab", 32)+"\n1.2.0.192.in-addr.arpa PTR Host.test.")
	for range 3 { // from the server, and twice from the cache
		a, err := r.Query(t.Context(), "D.Test.", dns.TypeTXT)
		if err != nil || !slices.Equal(a.Texts, []string{"v=spf1with \"quotes\" and \xc8"}) {
			t.Fatalf("got %q, %v", a.Texts, err)
		}
		a.Texts[0] = "overwritten"
	}
	a, err := r.Query(t.Context(), "_25._tcp.mx.test", dns.TypeTLSA)
	if err != nil || len(a.TLSA) != 1 || a.TLSA[0] != (dns.TLSA{Usage: 3, Selector: 1, Matching: 1, Data: strings.Repeat("ab", 32)}) {
		t.Errorf("got %+v, %v", a, err)
	}
	a, err = r.LookupPTR(t.Context(), mustIP("::ffff:192.0.2.1"))
	if err != nil || !slices.Equal(a.Names, []string{"host.test"}) {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestCacheKeepsWhatFits(t *testing.T) {
	r, srv := start(t, dnstest.MXSet("big.test", 100)+"d.test MX 1 a.test", func(c *dns.Config) { c.CacheBytes = 2000 })
	for _, d := range []mail.Domain{"d.test", "big.test", "d.test"} {
		if _, err := r.MailHosts(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if n := srv.Count("d.test", "MX"); n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
}
