package plugin_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/plugin"
)

// does makes a plugin that does something at one hook.
func does(name string, h plugin.Hook, f plugin.Func) plugin.Plugin {
	return made{name, func(r *plugin.Registrar) error {
		r.On(h, f)
		return nil
	}}
}

// Where every function is asked, those behind one that was given up are, too.
func TestRun_goesOnBehindOneThatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		c, err := plugin.New(plugin.Options{Timeout: time.Second},
			says("a", plugin.Disconnect, 0, &asked, plugin.Verdict{}),
			does("stuck", plugin.Disconnect, func(ctx context.Context, _ *plugin.Event) plugin.Verdict {
				<-ctx.Done()
				time.Sleep(time.Second)
				return plugin.Denied("too late to be heard")
			}),
			says("b", plugin.Disconnect, 0, &asked, plugin.Verdict{}),
			says("c", plugin.Disconnect, 0, &asked, plugin.Verdict{}))
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		began := time.Now()
		c.Run(t.Context(), &plugin.Event{Hook: plugin.Disconnect, Watch: func(s plugin.Step) { seen = append(seen, s.Plugin+s.Fault) }})
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %s", took)
		}
		if !slices.Equal(asked, []string{"a", "b", "c"}) || !slices.Equal(seen, []string{"a", "stucknot back in time", "b", "c"}) {
			t.Errorf("asked %q, seen %q", asked, seen)
		}
		if err := c.Close(t.Context()); err != nil { // waits for the stuck one
			t.Error(err)
		}
		if f := c.List()[1]; f.Timeouts != 1 || f.Refused != 0 {
			t.Errorf("counted %+v", f)
		}
	})
}

// Each function has its own time, and that of the deny hook is not that of whoever
// has refused.
func TestRun_eachHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(d time.Duration, v plugin.Verdict) plugin.Func {
			return func(context.Context, *plugin.Event) plugin.Verdict {
				time.Sleep(d)
				return v
			}
		}
		c, err := plugin.New(plugin.Options{Timeout: time.Second, Timeouts: map[string]time.Duration{"mild": 10 * time.Second, "patient": 5 * time.Second}},
			does("a", plugin.Mail, slow(900*time.Millisecond, plugin.Verdict{})),
			does("strict", plugin.Mail, slow(900*time.Millisecond, plugin.Denied("no"))),
			does("mild", plugin.Deny, slow(9*time.Second, plugin.Verdict{Code: plugin.OK})),
			does("patient", plugin.Mail, slow(4*time.Second, plugin.Verdict{})),
			does("b", plugin.Mail, slow(900*time.Millisecond, plugin.Verdict{Code: plugin.OK})))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if v := c.Run(t.Context(), &plugin.Event{Hook: plugin.Mail}); v.Code != plugin.OK || v.Plugin != "b" {
			t.Errorf("verdict %+v", v)
		}
		if took := time.Since(began); took != 15700*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		for _, f := range c.List() {
			if f.Timeouts != 0 || f.Calls != 1 {
				t.Errorf("counted %+v", f)
			}
		}
	})
}

// A function's context ends at its deadline, and when it is back.
func TestRun_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept context.Context
		c, err := plugin.New(plugin.Options{Timeout: time.Minute}, does("a", plugin.Mail, func(ctx context.Context, _ *plugin.Event) plugin.Verdict {
			kept = ctx
			if at, ok := ctx.Deadline(); !ok || time.Until(at) != time.Minute {
				t.Errorf("the deadline is %v", at)
			}
			if ctx.Err() != nil {
				t.Error(ctx.Err())
			}
			own, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			<-own.Done()
			time.Sleep(time.Second)
			return plugin.Verdict{}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if v := c.Run(t.Context(), &plugin.Event{Hook: plugin.Mail}); v.Code != plugin.Defer {
			t.Errorf("verdict %+v", v)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if kept.Err() == nil {
			t.Error("the context goes on")
		}
	})
}
