package queue

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

// parkAndDrain stores count small messages, moves all of them to WAIT, and takes
// them out again. It returns the heap before, while all wait, and after, in octets.
func parkAndDrain(t testing.TB, count int) (before, waiting, after uint64) {
	n := open(t, Options{Sync: noSync})
	before = heapInUse()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < count; i += 16 {
				n.accept(fmt.Sprintf("m%d", i), "Subject: x\r\n\r\nhello\r\n", fmt.Sprintf("u@d%d.test", i%50))
			}
		})
	}
	fetch, enough := context.WithCancel(t.Context())
	fetched := make(chan struct{})
	go func() { // some go to WAIT at once, when it is seen that all of them come back
		defer close(fetched)
		for fetch.Err() == nil {
			js, _ := n.Fetch(fetch, 1000)
			for _, j := range js {
				j.Wait(j.Delivery, nil)
			}
		}
	}()
	wg.Wait()
	eventually(t, "all of it waits", func() bool { return n.Stats().Waiting == int64(count) })
	enough()
	<-fetched
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting = heapInUse()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := 0
	_ = n.Drain(ctx, func(mail.Line) int { return 20 }, func(j *Job) {
		j.Done(Attempt{})
		if done++; done == count {
			cancel()
		}
	})
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := n.Stats(); done != count || st.Waiting != 0 || st.Active != 0 {
		t.Errorf("%d of %d came out; %+v", done, count, st)
	}
	return before, waiting, heapInUse()
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What waits costs no memory to speak of, and what has gone none. The bounds are
// generous: JetStream keeps blocks of 8 MiB in its cache for a few seconds.
func TestMemoryOfWaiting(t *testing.T) {
	const count, bound = 10000, 96 << 20
	before, waiting, after := parkAndDrain(t, count)
	t.Logf("heap: %d KiB at first, %d while %d wait, %d at the end", before>>10, waiting>>10, count, after>>10)
	if waiting > before+bound || after > before+bound {
		t.Errorf("heap: %d MiB at first, %d while %d wait, %d at the end", before>>20, waiting>>20, count, after>>20)
	}
}

// BenchmarkParkAndDrain is the same with 200,000, to be looked at.
func BenchmarkParkAndDrain(b *testing.B) {
	for b.Loop() {
		before, waiting, after := parkAndDrain(b, 200000)
		b.ReportMetric(float64(waiting-min(before, waiting))/200000, "heap-B/waiting")
		b.ReportMetric(float64(after-min(before, after))/(1<<20), "heap-MiB/after")
	}
}
