package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
)

func TestCanonicalAddress(t *testing.T) {
	for _, x := range []struct{ raw, want string }{
		{"Bob@Example.COM", "bob@example.com"},
		{`"Bob"@example.com`, "bob@example.com"},
		{`"b\ob"@example.com`, "bob@example.com"},
		{`"bo\b smith"@example.com`, `"bob smith"@example.com`},
		{`"a\"b\\"@example.com`, `"a\"b\\"@example.com`},
		{`"bob smith"@example.com`, `"bob smith"@example.com`},
		{`"a@b"@example.com`, `"a@b"@example.com`},
		{`"a..b"@example.com`, `"a..b"@example.com`},
		{`""@example.com`, `""@example.com`},
		{"u@bücher.test", "u@xn--bcher-kva.test"},
		{"Ünal@bücher.test", "ünal@xn--bcher-kva.test"},
		{"postmaster", ""},
		{"", ""},
	} {
		if got := CanonicalAddress(mail.NewAddress(x.raw)); got != x.want {
			t.Errorf("%s: %q, want %q", x.raw, got, x.want)
		}
	}
}

// Keys are stored: they must stay what they are.
func TestSuppressionKeys(t *testing.T) {
	for _, x := range []struct{ address, tenant, want string }{
		{"u@example.net", "", "$KV.SUPPRESS.all.14da256ba7bf4bccb6000509b7334660"},
		{"u@example.net", "Acme.eu+x@b", "$KV.SUPPRESS.tenant.Acme=2eeu=2bx=40b.d55f1ea6f72eb47c83a97a60dcb49ce6"},
	} {
		got := keyOf(x.address, x.tenant).subject()
		if got != x.want {
			t.Errorf("%s of %q: %s", x.address, x.tenant, got)
		}
		if h, ok := hashOf(got); !ok || h != keyOf(x.address, x.tenant).hash() {
			t.Errorf("%s: its hash is read as %x, %v", got, h, ok)
		}
	}
}

// The set against a map, with hashes that collide in their places.
func TestHashSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s hashSet
		m := map[uint64]bool{}
		// Few shards, few homes: runs that go round the end of a table.
		hash := rapid.Custom(func(t *rapid.T) uint64 {
			return uint64(rapid.IntRange(0, 1).Draw(t, "shard"))<<58 | uint64(rapid.IntRange(0, 15).Draw(t, "home"))<<54 | uint64(rapid.IntRange(0, 3).Draw(t, "which"))
		})
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			h := hash.Draw(t, "hash")
			if rapid.Bool().Draw(t, "add") {
				s.add(h)
				m[usable(h)] = true
			} else {
				s.remove(h)
				delete(m, usable(h))
			}
			if s.len() != len(m) {
				t.Fatalf("%d entries, want %d", s.len(), len(m))
			}
		}
		for shard := range uint64(2) {
			for home := range uint64(16) {
				for which := range uint64(4) {
					if h := shard<<58 | home<<54 | which; s.has(h) != m[usable(h)] {
						t.Fatalf("%x: %v", h, s.has(h))
					}
				}
			}
		}
	})
}

func TestHashSetSize(t *testing.T) {
	var s hashSet
	const n = 300_000
	for i := range n {
		s.add(keyOf(fmt.Sprintf("u%d@example.net", i), "").hash())
		if i%50_000 != 49_999 {
			continue
		}
		places := 0
		for j := range s.shards {
			places += len(s.shards[j].slots)
		}
		if per := float64(8*places) / float64(i+1); per > 16 {
			t.Errorf("%d entries: %.1f octets each", i+1, per)
		}
	}
	if s.len() != n {
		t.Errorf("%d of %d", s.len(), n)
	}
}

func listed(address, tenant string) Suppression {
	return Suppression{Address: address, Tenant: tenant, Reason: "Test", Source: SourceAPI, Author: "me", At: time.Now().UTC().Truncate(time.Microsecond)}
}

// on tells which of the addresses a tenant's mail is kept from.
func (n *node) on(tenant string, addresses ...string) (out []string) {
	n.t.Helper()
	for _, a := range addresses {
		s, found, err := n.Suppressions().Look(n.t.Context(), mail.NewAddress(a), tenant)
		if err != nil {
			n.t.Fatal(err)
		}
		if found != n.Suppressions().Maybe(mail.NewAddress(a), tenant) && found {
			n.t.Errorf("the filter clears %s, which is on the list", a)
		}
		if found {
			out = append(out, s.Address)
		}
	}
	return out
}

func TestSuppressions(t *testing.T) {
	n := open(t, Options{})
	l := n.Suppressions()
	ctx := t.Context()
	if err := l.Add(ctx, listed("all@x.test", ""), listed("acme@x.test", "acme"), listed("both@x.test", ""), listed("both@x.test", "acme")); err != nil {
		t.Fatal(err)
	}
	short := listed("short@x.test", "")
	short.Expires = time.Now().Add(-time.Second)
	long := listed("long@x.test", "")
	long.Expires = time.Now().Add(time.Hour)
	if err := l.Add(ctx, short, long); err != nil {
		t.Fatal(err)
	}
	all := []string{"All@X.test", "acme@x.test", "both@x.test", "short@x.test", "long@x.test", "nobody@x.test", "postmaster"}
	check := func(when string) {
		t.Helper()
		for tenant, want := range map[string]string{
			"": "all@x.test both@x.test long@x.test", "acme": "all@x.test acme@x.test both@x.test long@x.test", "other": "all@x.test both@x.test long@x.test",
		} {
			if got := strings.Join(n.on(tenant, all...), " "); got != want {
				t.Errorf("%s, for %q: %s; want %s", when, tenant, got, want)
			}
		}
	}
	check("stored")
	<-l.Whole()
	check("with the filter")
	if s, _, _ := l.Look(ctx, mail.NewAddress("acme@x.test"), "acme"); s.Reason != "Test" || s.Source != SourceAPI || s.Author != "me" || s.At.IsZero() {
		t.Errorf("entry %+v", s)
	}
	n.crash()
	n.start()
	l = n.Suppressions()
	check("after a crash")
	<-l.Whole()
	check("after a crash, with the filter")
	if l.Maybe(mail.NewAddress("nobody@x.test"), "acme") {
		t.Error("the filter does not clear anybody")
	}

	gone, err := l.Remove(ctx, "both@x.test", "")
	if err != nil || !gone {
		t.Fatal(gone, err)
	}
	if gone, err = l.Remove(ctx, "both@x.test", ""); err != nil || gone {
		t.Error("removed twice", err)
	}
	if got := n.on("", "both@x.test"); len(got) != 0 {
		t.Errorf("removed, and still there: %v", got)
	}
	if got := n.on("acme", "both@x.test"); len(got) != 1 {
		t.Error("the tenant's own entry went with it")
	}
	// The filter hears of it, too.
	until(t, "the filter forgets what was removed", func() bool { return !l.Maybe(mail.NewAddress("both@x.test"), "") })
	if err := l.Add(ctx, listed("both@x.test", "")); err != nil {
		t.Fatal(err)
	}
	if got := n.on("", "both@x.test"); len(got) != 1 {
		t.Error("it does not come back")
	}
}

// until waits for what other goroutines are about to do.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

func TestSuppressionsByBounces(t *testing.T) {
	n := open(t, Options{})
	l := n.Suppressions()
	ctx := t.Context()
	mine := listed("mine@x.test", "")
	if err := l.Add(ctx, mine); err != nil {
		t.Fatal(err)
	}
	bounce := func(address string, life time.Duration) Suppression {
		s := listed(address, "")
		s.Source, s.Event, s.Class = SourceBounce, "M.0/1", "InvalidRecipient"
		s.Expires = time.Now().Add(life)
		return s
	}
	l.AddSoon(bounce("mine@x.test", time.Hour))
	l.AddSoon(bounce("new@x.test", time.Hour))
	until(t, "the bounce is noted", func() bool { return len(n.on("", "new@x.test")) == 1 })
	l.AddSoon(bounce("new@x.test", 2*time.Hour)) // it lasts longer
	until(t, "the later bounce is noted", func() bool {
		s, _, err := l.Look(ctx, mail.NewAddress("new@x.test"), "")
		return err == nil && time.Until(s.Expires) > 90*time.Minute
	})
	if s, _, err := l.Look(ctx, mail.NewAddress("mine@x.test"), ""); err != nil || s.Source != SourceAPI || !s.Expires.IsZero() {
		t.Errorf("an operator's entry became %+v, %v", s, err)
	}
}

func TestSuppressionPages(t *testing.T) {
	n := open(t, Options{})
	l := n.Suppressions()
	ctx := t.Context()
	var list []Suppression
	for i := range 1000 {
		s := listed(fmt.Sprintf("u%03d@d%d.test", i, i%10), []string{"", "acme", "b.c"}[i%3])
		if i%100 == 0 {
			s.Reason, s.Source = "550 5.1.1 No Such User", SourceBounce
		}
		list = append(list, s)
	}
	if err := l.Add(ctx, list...); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Remove(ctx, "u001@d1.test", "acme"); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		f    SuppressionQuery
		want int
	}{
		{"all", SuppressionQuery{}, 999},
		{"everybody's", SuppressionQuery{Global: true}, 334},
		{"a tenant's", SuppressionQuery{Tenant: "acme"}, 332},
		{"another's", SuppressionQuery{Tenant: "b.c"}, 333},
		{"nobody's", SuppressionQuery{Tenant: "b"}, 0},
		{"by prefix", SuppressionQuery{Prefix: "U01"}, 10},
		{"by domain", SuppressionQuery{Prefix: "@D3.test"}, 100},
		{"by reason", SuppressionQuery{Reason: "no such user"}, 10},
		{"by source", SuppressionQuery{Source: SourceBounce, Prefix: "u5"}, 1},
	} {
		got, pages, after := map[string]bool{}, 0, uint64(0)
		for {
			page, next, err := l.Page(ctx, x.f, after, 70)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page {
				got[s.Address+" "+s.Tenant] = true
			}
			pages++
			if after = next; next == 0 {
				break
			}
		}
		if len(got) != x.want || pages > x.want/70+1 {
			t.Errorf("%s: %d in %d pages, want %d", x.name, len(got), pages, x.want)
		}
	}
	var stopped []string
	err := l.Each(ctx, SuppressionQuery{}, 0, func(s Suppression, _ uint64) (bool, error) {
		stopped = append(stopped, s.Address)
		return len(stopped) < 3, nil
	})
	if err != nil || !slices.Equal(stopped, []string{"u000@d0.test", "u002@d2.test", "u003@d3.test"}) {
		t.Errorf("%v %v", stopped, err)
	}
}

// What one node puts on the list, or takes off it, the others hear of.
func TestSuppressionsOfATeam(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b := f.join("a"), f.join("b")
	<-a.Suppressions().Whole()
	<-b.Suppressions().Whole()
	u := mail.NewAddress("u@x.test")
	if err := a.Suppressions().Add(t.Context(), listed("u@x.test", "")); err != nil {
		t.Fatal(err)
	}
	until(t, "the other node's filter knows it", func() bool { return b.Suppressions().Maybe(u, "acme") })
	if s, found, err := b.Suppressions().Look(t.Context(), u, "acme"); err != nil || !found || s.Address != "u@x.test" {
		t.Errorf("%+v, %v, %v", s, found, err)
	}
	if gone, err := b.Suppressions().Remove(t.Context(), "u@x.test", ""); err != nil || !gone {
		t.Fatal(gone, err)
	}
	if _, found, err := a.Suppressions().Look(t.Context(), u, ""); err != nil || found {
		t.Errorf("removed by the other node: %v, %v", found, err)
	}
	until(t, "both filters forget it", func() bool { return !a.Suppressions().Maybe(u, "") && !b.Suppressions().Maybe(u, "") })
}

// The store drops what has expired, and the marks of what was removed, by itself.
func TestSuppressionsExpire(t *testing.T) {
	n := open(t, Options{})
	l := n.Suppressions()
	<-l.Whole()
	s := listed("u@x.test", "")
	s.Expires = time.Now()
	k, _, frame, err := s.record(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.publish(t.Context(), k.subject(), lifetime(0), frame); err != nil { // 1 s
		t.Fatal(err)
	}
	until(t, "the filter knows it", func() bool { return l.Maybe(mail.NewAddress("u@x.test"), "") })
	until(t, "the filter forgets it", func() bool { return !l.Maybe(mail.NewAddress("u@x.test"), "") })
}

// A removal that is heard of behind an entry of our own that came after it must not
// clear the address, not even for a moment.
func TestOwnEntryAfterARemoval(t *testing.T) {
	l := newSuppressionList(nil)
	l.whole.Store(true)
	k := keyOf("u@x.test", "")
	u := mail.NewAddress("u@x.test")
	l.note(k.subject(), false)
	l.own.Store(k.hash(), nil) // as put does, while the removal is on its way to us
	l.note(k.subject(), true)
	if !l.Maybe(u, "") {
		t.Fatal("an entry of our own is cleared by an older removal")
	}
	l.note(k.subject(), false)
	l.note(k.subject(), true)
	if l.Maybe(u, "") {
		t.Error("a later removal is not heard")
	}
}
