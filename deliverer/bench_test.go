package deliverer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/tarishi/tarishi/smtp/smtptest"
)

// BenchmarkDeliver sends 5 KiB messages over loopback to a sink in this process,
// with the log line of each attempt written to nowhere; the figures hold the
// sink's work too.
func BenchmarkDeliver(b *testing.B) {
	for _, destinations := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d destinations", destinations), func(b *testing.B) {
			sink := &smtptest.Sink{Discard: true}
			defer sink.Close()
			at := sink.Listen(b)
			q := newMemQueue(b)
			routes, err := NewRoutes([]Route{{To: "*", Via: at}})
			if err != nil {
				b.Fatal(err)
			}
			d, err := New(Config{Hostname: "us.test", Queue: q, Store: q, Routes: routes,
				Log: slog.New(slog.NewJSONHandler(io.Discard, nil))})
			if err != nil {
				b.Fatal(err)
			}
			text := append([]byte("From: a@here.test\r\nSubject: hello\r\n\r\n"), bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890123456789012345\r\n"), 65)...)
			now := time.Now()
			js := make([]*memJob, b.N)
			for i := range js {
				js[i] = letter(i, now, fmt.Sprintf("b@d%d.test", i%destinations))
				js[i].body = text
				js[i].env.Message.Size = int64(len(text))
			}
			left := b.N
			all := make(chan struct{})
			q.done = func(memJob) {
				if left--; left == 0 {
					close(all)
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			over := make(chan error, 1)
			b.ReportAllocs()
			b.ResetTimer()
			go func() { over <- d.Run(ctx) }()
			q.add(js...)
			cpu := cpuTime()
			<-all
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-cpu)/1e3/float64(b.N), "cpu-µs/msg")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			st := d.Stats()
			b.ReportMetric(float64(st.ConnectionsOpened), "connections")
			b.ReportMetric(float64(st.Parked), "parked")
			cancel()
			<-over
		})
	}
}

func cpuTime() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
