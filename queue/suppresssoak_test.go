//go:build soak

package queue

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// A million entries: what they cost to store, to read at start and to keep.
func TestSuppressMillion(t *testing.T) {
	const million, batch = 1_000_000, 2000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	n := open(t, Options{})
	before := heap()
	began := time.Now()
	list := make([]Suppression, batch)
	for i := 0; i < million; i += batch {
		for j := range list {
			list[j] = listed(fmt.Sprintf("recipient%07d@d%d.example.net", i+j, (i+j)%5000), "")
		}
		if err := n.Suppressions().Add(t.Context(), list...); err != nil {
			t.Fatal(err)
		}
	}
	stored := time.Since(began)
	size := func() int {
		places := 0
		for i := range n.suppress.filter.shards {
			places += 8 * len(n.suppress.filter.shards[i].slots)
		}
		return places
	}
	t.Logf("stored %d in %s (%.0f/s); heap +%d MB, of which filter %d MB", million, stored, million/stored.Seconds(), (heap()-before)>>20, size()>>20)
	n.stop()
	began = time.Now()
	n.start()
	opened := time.Since(began)
	<-n.Suppressions().Whole()
	t.Logf("opened in %s, the filter whole after %s; heap +%d MB, filter %.1f B an entry", opened, time.Since(began), (heap()-before)>>20, float64(size())/million)
	if k, all := n.Suppressions().Len(); k != million || !all {
		t.Errorf("%d entries, all %v", k, all)
	}
	nobody, somebody := mail.NewAddress("nobody@example.net"), mail.NewAddress("recipient0500000@d0.example.net")
	began = time.Now()
	for range 100_000 {
		if n.Suppressions().Maybe(nobody, "acme") {
			t.Fatal("not cleared")
		}
	}
	t.Logf("cleared: %s each", time.Since(began)/100_000)
	began = time.Now()
	for range 1000 {
		if _, found, err := n.Suppressions().Look(t.Context(), somebody, "acme"); !found || err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("found: %s each", time.Since(began)/1000)
	began = time.Now()
	seen := 0
	if err := n.Suppressions().Each(t.Context(), SuppressionQuery{Prefix: "recipient09999"}, 0, func(Suppression, uint64) (bool, error) { seen++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	t.Logf("listed %d of all in %s", seen, time.Since(began))
}
