package bench

import (
	"context"
	"net"
	"testing"
)

// BenchmarkSourceIntoSink is the yardstick's own speed, both ends in one process:
// 5 KiB messages over 50 connections. What it shows bounds what can be measured.
func BenchmarkSourceIntoSink(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	sink, err := NewSink(SinkConfig{Expect: uint64(b.N)})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := sink.Serve(context.Background(), ln)
		done <- err
	}()
	b.SetBytes(5120)
	b.ReportAllocs()
	b.ResetTimer()
	s := Source{To: ln.Addr().String(), Connections: min(50, b.N), Messages: uint64(b.N)}
	r, err := s.Send(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(r.PerSecond, "msg/s")
	b.ReportMetric(r.Latency.P99, "p99-ms")
}
