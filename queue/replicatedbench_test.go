package queue

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkReplicated takes mail in and delivers it on three nodes that keep it three
// times, all in this process: what the queue costs, and nothing else.
func BenchmarkReplicated(b *testing.B) { benchReplicated(b, "b") }

// BenchmarkReplicatedRetry defers each delivery once.
func BenchmarkReplicatedRetry(b *testing.B) { benchReplicated(b, "w") }

func benchReplicated(b *testing.B, prefix string) {
	r := startReplicas(b)
	f := fleetOn(b, nil, Options{Replicas: 3, AckWait: 30 * time.Second})
	var ms []*member
	for i := range 3 {
		ms = append(ms, f.joinOn(fmt.Sprint("n", i), r.nats[i]))
		f.give(ms[i], allParts()[i*21:i*21+21+i/2]...)
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
		benchThrough(b, ms, fmt.Sprint(prefix, run), &made)
	}
	stop()
	for _, end := range ended {
		end()
	}
}

// BenchmarkAlone and BenchmarkAloneRetry are the same on a node alone.
func BenchmarkAlone(b *testing.B)      { benchAlone(b, "b") }
func BenchmarkAloneRetry(b *testing.B) { benchAlone(b, "w") }

func benchAlone(b *testing.B, prefix string) {
	n := open(b, Options{})
	m := &member{node: n, name: "alone"}
	ctx, stop := context.WithCancel(b.Context())
	var made atomic.Int64
	end := m.work(ctx, func(*Job) { made.Add(1) })
	run := 0
	for b.Loop() {
		run++
		benchThrough(b, []*member{m}, fmt.Sprint(prefix, run), &made)
	}
	stop()
	end()
}

func benchThrough(b *testing.B, ms []*member, prefix string, made *atomic.Int64) {
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
				id := fmt.Sprintf("%s-%d", prefix, i)
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
