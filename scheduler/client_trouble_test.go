package scheduler

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Of two processes with one name the first works; the second gets its session when the
// first has gone.
func TestTwoOfOneName(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := w.client("d1")
		w.eventually(time.Second, "a session", func() bool { return a.Live() })
		b := w.client("d1")
		time.Sleep(8 * time.Second)
		if b.Live() || !a.Live() {
			t.Error("both work, or the wrong one:", a.Live(), b.Live())
		}
		a.Drain()
		a.end()
		w.eventually(5*time.Second, "the other's session", func() bool { return b.Live() })
	})
}

// Who is refused is told why, after a while and again, until there is a stream.
func TestTroubleIsTold(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var r trouble
	at := func(d time.Duration) string {
		out.Reset()
		r.report(log, int64(d))
		return out.String()
	}
	at(time.Second)
	r.note("a:1", "refused by node a: it belongs to cluster x")
	r.note("b:1", "it does not lead")
	if s := at(6 * time.Second); s != "" {
		t.Error("too early:", s)
	}
	if s := at(8 * time.Second); !strings.Contains(s, "a:1: refused by node a: it belongs to cluster x; b:1: it does not lead") {
		t.Error(s)
	}
	if s := at(10 * time.Second); s != "" {
		t.Error("again at once:", s)
	}
	if s := at(30 * time.Second); s == "" {
		t.Error("not again")
	}
}
