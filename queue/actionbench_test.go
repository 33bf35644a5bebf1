package queue

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// benchWaiting is how much waits in the benchmarks of what operators do: a tenth of the
// bar of a million, unless TARISHI_WAITING says otherwise.
func benchWaiting(b *testing.B) int {
	if s := os.Getenv("TARISHI_WAITING"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	return 100_000
}

// BenchmarkOperator asks what operators ask while very much waits for one destination,
// and then removes it. The times are of single questions.
func BenchmarkOperator(b *testing.B) {
	count := benchWaiting(b)
	n := open(b, Options{Sync: noSync, MaxBytes: 60 << 30})
	began := time.Now()
	took := func(name string, f func() error) {
		b.Helper()
		t := time.Now()
		if err := f(); err != nil {
			b.Fatal(name, err)
		}
		b.ReportMetric(float64(time.Since(t).Microseconds())/1000, name+"-ms")
	}
	for range b.N {
		ctx := b.Context()
		ids := n.fill(count, mail.Line{Destination: "d.test"}, later())
		n.fill(1000, mail.Line{Destination: "e.test", Tenant: "acme"}, later())
		took("lanes", func() error { _, err := n.Lanes(ctx, 100); return err })
		took("summary", func() error { _, err := n.Summary(ctx); return err })
		took("page", func() error { _, err := n.FindPage(ctx, Filter{Destination: "d.test"}, Page{Max: 100}); return err })
		took("other-page", func() error {
			_, err := n.FindPage(ctx, Filter{Tenant: "acme"}, Page{Max: 100, For: 2 * time.Second})
			return err
		})
		for name, id := range map[string]string{"id-first": ids[0], "id-middle": ids[count/2], "id-last": ids[count-1], "id-none": mail.NewID(began)} {
			took(name, func() error { _, err := n.FindPage(ctx, Filter{ID: id}, Page{}); return err })
		}
		took("rm", func() error {
			st, err := n.Act(ctx, Action{Verb: Remove, Filter: Filter{Destination: "d.test"}}, nil)
			if err == nil && st.Changed != count {
				b.Errorf("%+v", st)
			}
			return err
		})
	}
}

// BenchmarkHold holds what waits in a line, each delivery being stored anew, and
// releases it.
func BenchmarkHold(b *testing.B) {
	count := benchWaiting(b) / 2
	n := open(b, Options{Sync: noSync, MaxBytes: 60 << 30})
	n.fill(count, mail.Line{Destination: "d.test"}, later())
	for b.Loop() {
		for _, v := range []Verb{Hold, Release} {
			if st, err := n.Act(b.Context(), Action{Verb: v, Filter: Filter{Destination: "d.test"}}, nil); err != nil || st.Changed != count {
				b.Fatalf("%+v, %v", st, err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(2*count*b.N), "µs/delivery")
}
