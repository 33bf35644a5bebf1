package bench

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

func TestIdle(t *testing.T) {
	sink, err := NewSink(SinkConfig{MaxConnections: 5})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		_, _ = sink.Serve(ctx, l)
		close(done)
	}()
	opened := 0
	idle, end := context.WithCancel(ctx)
	r, err := Idle{To: l.Addr().String(), Connections: 7, Timeout: 10 * time.Second, Opened: func(n int) { opened = n; end() }}.Run(idle)
	if err != nil || r.Opened != 5 || r.Refused != 2 || r.Failed != 0 || r.Alive != 5 || opened != 5 || !strings.Contains(r.Example, "421") {
		t.Errorf("%v, %v", r, err)
	}
	cancel()
	<-done
	if r, _ := (Idle{To: l.Addr().String(), Connections: 1, Hold: time.Nanosecond}).Run(t.Context()); r.Failed != 1 || r.Alive != 0 {
		t.Errorf("nobody there: %v", r)
	}
	for want, i := range map[string]Idle{"connections: ": {}, `from: "x"`: {Connections: 1, From: []string{"x"}}} {
		if _, err := i.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
