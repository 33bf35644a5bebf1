package deliverer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp/smtptest"
)

// BenchmarkDeliver sends 5 KiB messages over loopback to a sink in this process,
// with the log line of each attempt written to nowhere; the figures hold the
// sink's work too.
func BenchmarkDeliver(b *testing.B) {
	for _, destinations := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d destinations", destinations), func(b *testing.B) {
			b.ReportAllocs()
			st, cpu, took := deliverAll(b, b.N, destinations, nil)
			b.ReportMetric(float64(cpu)/1e3/float64(b.N), "cpu-µs/msg")
			b.ReportMetric(float64(b.N)/took.Seconds(), "msg/s")
			b.ReportMetric(float64(st.ConnectionsOpened), "connections")
			b.ReportMetric(float64(st.Parked), "parked")
		})
	}
}

// BenchmarkPermits compares, in interleaved pairs of 4,000 messages to 100
// destinations, what a message costs with a scheduler and without: the median of
// the differences of its CPU time.
func BenchmarkPermits(b *testing.B) {
	for name, s := range map[string]*openScheduler{"unlimited": {}, "limited": {permits: true}} {
		b.Run(name, func(b *testing.B) {
			const n = 4000
			deliverAll(b, n, 100, nil) // warm
			var extra, plain []float64
			for b.Loop() {
				_, without, _ := deliverAll(b, n, 100, nil)
				_, with, _ := deliverAll(b, n, 100, s)
				extra = append(extra, float64(with-without)/1e3/n)
				plain = append(plain, float64(without)/1e3/n)
			}
			slices.Sort(extra)
			slices.Sort(plain)
			b.ReportMetric(extra[len(extra)/2], "extra-cpu-µs/msg")
			b.ReportMetric(plain[len(plain)/2], "cpu-µs/msg")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkPlugins compares in the same way what a message costs with functions at hooks
// that say nothing, and without plugins.
func BenchmarkPlugins(b *testing.B) {
	nothing := says(plugin.Verdict{})
	for name, f := range map[string]fns{
		"before": {plugin.SendEmail: nothing, plugin.GetMX: nothing},
		"after":  {plugin.Delivered: nothing, plugin.Deferred: nothing, plugin.Bounce: nothing},
	} {
		b.Run(name, func(b *testing.B) {
			ch, err := plugin.New(plugin.Options{}, &quietly{f})
			if err != nil {
				b.Fatal(err)
			}
			var now plugin.Current
			now.Swap(ch)
			const n = 4000
			with := func(c *Config) { c.Plugins = &now }
			deliverAll(b, n, 100, nil, with)
			var extra, plain []float64
			for b.Loop() {
				_, without, _ := deliverAll(b, n, 100, nil)
				_, asked, _ := deliverAll(b, n, 100, nil, with)
				extra = append(extra, float64(asked-without)/1e3/n)
				plain = append(plain, float64(without)/1e3/n)
			}
			slices.Sort(extra)
			slices.Sort(plain)
			b.ReportMetric(extra[len(extra)/2], "extra-cpu-µs/msg")
			b.ReportMetric(plain[len(plain)/2], "cpu-µs/msg")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// quietly is a plugin of functions that hears nothing.
type quietly struct{ fns }

func (quietly) Name() string { return "quietly" }
func (q quietly) Register(r *plugin.Registrar) error {
	for h, f := range q.fns {
		r.On(h, f)
	}
	return nil
}

// deliverAll sends n messages and returns the time it took, of the CPU and by the clock.
func deliverAll(b *testing.B, n, destinations int, s Scheduler, change ...func(*Config)) (st Snapshot, cpu int64, took time.Duration) {
	b.Helper()
	sink := &smtptest.Sink{Discard: true}
	defer sink.Close()
	q := newMemQueue(b)
	routes, err := NewRoutes([]Route{{To: "*", Via: sink.Listen(b)}})
	if err != nil {
		b.Fatal(err)
	}
	c := Config{Hostname: "us.test", Queue: q, Store: q, Routes: routes, Log: slog.New(slog.NewJSONHandler(io.Discard, nil))}
	if o, ok := s.(*openScheduler); ok && o != nil {
		c.Scheduler = o
	}
	for _, f := range change {
		f(&c)
	}
	d, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	q.deadline = d.Deadline
	text := append([]byte("From: a@here.test\r\nSubject: hello\r\n\r\n"), bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890123456789012345\r\n"), 65)...)
	now := time.Now()
	js := make([]*memJob, n)
	for i := range js {
		js[i] = letter(i, now, fmt.Sprintf("b@d%d.test", i%destinations))
		js[i].body = text
		js[i].env.Message.Size = int64(len(text))
	}
	left := n
	all := make(chan struct{})
	q.done = func(memJob) {
		if left--; left == 0 {
			close(all)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- d.Run(ctx) }()
	q.add(js...)
	start, began := time.Now(), cpuTime()
	<-all
	cpu, took = cpuTime()-began, time.Since(start)
	st = d.Stats()
	cancel()
	<-over
	return st, cpu, took
}

// openScheduler has permits for everything that needs one.
type openScheduler struct {
	permits bool
	version atomic.Uint64
}

func (s *openScheduler) Live() bool      { return true }
func (s *openScheduler) Version() uint64 { return s.version.Load() }
func (s *openScheduler) Destination(d mail.Domain, mx []string) shaping.Destination {
	return shaping.Destination{Key: "domain:" + string(d)}
}
func (s *openScheduler) Weight(string) int { return 1 }
func (s *openScheduler) Limits(shaping.Destination, string, mail.Class) Limits {
	return Limits{Permits: s.permits}
}
func (s *openScheduler) Permits(shaping.Destination, string, mail.Class) Permits {
	return openPermits{}
}
func (s *openScheduler) Dials(shaping.Destination) Permits { return openPermits{} }
func (s *openScheduler) Slots(shaping.Destination) Slots   { return nil }

type openPermits struct{}

func (openPermits) Want(int, int, int)      {}
func (openPermits) Ready() (int, Hold)      { return 1000, Hold{} }
func (openPermits) Take(int) (Permit, Hold) { return openPermit{}, Hold{} }

type openPermit struct{}

func (openPermit) Begin() error   { return nil }
func (openPermit) Began() bool    { return false }
func (openPermit) Return()        {}
func (openPermit) Limits() string { return "messages 1000/1h" }

func cpuTime() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
