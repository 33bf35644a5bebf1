package queue

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// BenchmarkReplicated takes mail in and delivers it on three nodes that keep it three
// times, all in this process: what the queue costs, and nothing else.
func BenchmarkReplicated(b *testing.B) {
	r := startReplicas(b)
	f := fleetOn(b, nil, Options{Replicas: 3, AckWait: 30 * time.Second})
	var ms []*member
	for i := range 3 {
		ms = append(ms, f.joinOn(fmt.Sprint("n", i), r.nats[i]))
	}
	ctx, stop := context.WithCancel(b.Context())
	var made atomic.Int64
	var ended []func()
	for _, m := range ms {
		ended = append(ended, m.work(ctx, func(*Job) { made.Add(1) }))
	}
	run := 0
	for b.Loop() {
		run++
		benchThrough(b, ms, run, &made)
	}
	stop()
	for _, end := range ended {
		end()
	}
}

// BenchmarkAlone is the same on one node.
func BenchmarkAlone(b *testing.B) {
	n := open(b, Options{})
	m := &member{node: n, name: "alone"}
	ctx, stop := context.WithCancel(b.Context())
	var made atomic.Int64
	end := m.work(ctx, func(*Job) { made.Add(1) })
	run := 0
	for b.Loop() {
		run++
		benchThrough(b, []*member{m}, run, &made)
	}
	stop()
	end()
}

func benchThrough(b *testing.B, ms []*member, run int, made *atomic.Int64) {
	const count, senders = 20000, 192
	before := made.Load()
	body := make([]byte, 5<<10)
	for i := range body {
		body[i] = 'x'
	}
	began, cpu := time.Now(), cpuTime()
	var next atomic.Int64
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > count {
					return
				}
				id := fmt.Sprintf("b%d-%d", run, i)
				msg, ds := message(id, fmt.Sprintf("u@d%d.test", i%50))
				w := ms[s%len(ms)].NewWriter(id)
				_, _ = w.Write(body)
				if err := w.Commit(b.Context(), msg, ds); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for made.Load()-before < count {
		time.Sleep(time.Millisecond)
	}
	for _, m := range ms {
		flushMember(b, m)
	}
	took := time.Since(began)
	b.ReportMetric(float64(count)/took.Seconds(), "mails/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/count, "CPU-µs/mail")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var _ = io.Discard
var _ = mail.Domain("")
