package cluster

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// What NATS says with each try is said once, whichever connection it is about.
func TestNATSLogRepeats(t *testing.T) {
	var out bytes.Buffer
	n := &natsLog{l: slog.New(slog.NewTextHandler(&out, nil))}
	for i := range 2000 {
		n.Errorf(fmt.Sprintf("127.0.0.1:%d - rid:%d - Remote server has a duplicate name: %%q", 1000+i, i), "node1")
		n.Warnf("Catchup for stream %q stalled", "S")
	}
	if lines := strings.Count(out.String(), "\n"); lines != 2 {
		t.Errorf("%d lines:\n%.500s", lines, out.String())
	}
	out.Reset()
	n.Warnf("Error writing: %v", "write 1.blk: no space left on device")
	if !strings.Contains(out.String(), "level=ERROR msg=\"the disk is full") {
		t.Error(out.String())
	}
	cause := natsCause(" - rid:1 - Remote server has a duplicate name: %q")
	n.seldom.last[cause] = refusal{at: time.Now().Add(-time.Minute), more: 1999}
	out.Reset()
	n.Errorf("x - rid:1 - Remote server has a duplicate name: %q", "node1")
	if !strings.Contains(out.String(), "repeats=1999") {
		t.Error(out.String())
	}
}

// A node whose name another one has ends at its start; one that meets its own remains goes on.
func TestNamesake(t *testing.T) {
	now := time.Now()
	var n natsLog
	meet := func(times int, every time.Duration) bool {
		for range times {
			now = now.Add(every)
			n.metNamesake(now)
		}
		return n.doubled(now)
	}
	if meet(5, time.Second) {
		t.Error("after five seconds")
	}
	if meet(3, 20*time.Second) {
		t.Error("now and then")
	}
	if !meet(11, time.Second) {
		t.Error("not after ten seconds")
	}
	if now = now.Add(time.Minute); n.doubled(now) {
		t.Error("a minute after the last one")
	}
}
