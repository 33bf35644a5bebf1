package scheduler

import (
	"context"
	"testing"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// Windows hold while leaders die, are cut off and act on, and hand over.
func TestWindowsHold(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.set(shaping.Rule{To: "a.test", Messages: []shaping.Window{{Max: 20, Length: time.Second}}})
		w.set(shaping.Rule{To: "b.test", Messages: []shaping.Window{{Max: 300, Length: time.Minute}}})
		ctx, stop := context.WithCancel(w.ctx)
		defer stop()
		for _, name := range []string{"d1", "d2", "d3"} {
			c := w.client(name)
			for _, d := range []string{"a.test", "b.test"} {
				w.run.Go(func() { c.send(ctx, mail(d), 10) })
			}
		}
		time.Sleep(time.Minute)
		t.Log(w.count("domain:a.test"), w.count("domain:b.test"))
		w.check("domain:a.test", 20, time.Second)
		w.check("domain:b.test", 300, time.Minute)
		stop()
	})
}
