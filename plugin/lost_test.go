package plugin_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/plugin"
)

// A function that never comes back is not called for ever: what it keeps is bounded.
// When it comes back it is called again.
func TestRun_neverBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		var calls atomic.Int32
		c := chain(t, made{"stuck", func(r *plugin.Registrar) error {
			r.On(plugin.SendEmail, func(context.Context, *plugin.Event) plugin.Verdict {
				calls.Add(1)
				<-over
				return plugin.Verdict{Code: plugin.OK}
			})
			return nil
		}})
		before := runtime.NumGoroutine()
		for range 1000 {
			if v := c.Run(t.Context(), &plugin.Event{Hook: plugin.SendEmail}); v.Code != plugin.Defer {
				t.Fatalf("verdict %v", v)
			}
		}
		if calls.Load() > 100 || runtime.NumGoroutine() > before+120 {
			t.Errorf("called %d times, %d goroutines are kept", calls.Load(), runtime.NumGoroutine()-before)
		}
		close(over)
		synctest.Wait()
		if v := c.Run(t.Context(), &plugin.Event{Hook: plugin.SendEmail}); v.Code != plugin.OK {
			t.Errorf("verdict %v when it is well again", v)
		}
	})
}

// A caller that loses patience first counts nothing as a timeout, and what comes back is
// forgotten.
func TestRun_calledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := chain(t, made{"slow", func(r *plugin.Registrar) error {
			r.On(plugin.SendEmail, func(context.Context, *plugin.Event) plugin.Verdict {
				time.Sleep(time.Second)
				return plugin.Verdict{Code: plugin.OK}
			})
			return nil
		}})
		for range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			c.Run(ctx, &plugin.Event{Hook: plugin.SendEmail})
			time.Sleep(20 * time.Millisecond)
		}
		if v := c.Run(t.Context(), &plugin.Event{Hook: plugin.SendEmail}); v.Code != plugin.OK {
			t.Errorf("verdict %v", v)
		}
		if f := c.List()[0]; f.Timeouts != 0 {
			t.Errorf("%d timeouts", f.Timeouts)
		}
	})
}
