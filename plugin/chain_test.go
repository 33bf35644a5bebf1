package plugin_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// made is a plugin from a function.
type made struct {
	name string
	reg  func(r *plugin.Registrar) error
}

func (m made) Name() string                       { return m.name }
func (m made) Register(r *plugin.Registrar) error { return m.reg(r) }

// says makes a plugin that answers at one hook, and notes that it was asked.
func says(name string, h plugin.Hook, priority int, asked *[]string, v plugin.Verdict) plugin.Plugin {
	return made{name, func(r *plugin.Registrar) error {
		r.Hook(h, priority, "hook_"+string(h), func(context.Context, *plugin.Event) plugin.Verdict {
			*asked = append(*asked, name)
			return v
		})
		return nil
	}}
}

func chain(t *testing.T, ps ...plugin.Plugin) *plugin.Chain {
	t.Helper()
	c, err := plugin.New(plugin.Options{}, ps...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRun_order(t *testing.T) {
	yes, no := plugin.Verdict{Code: plugin.OK}, plugin.Denied("no")
	for _, c := range []struct {
		name  string
		hook  plugin.Hook
		says  []plugin.Verdict
		prios []int
		asked string
		code  plugin.Code
	}{
		{"as listed", plugin.Rcpt, []plugin.Verdict{{}, {}, {}}, []int{0, 0, 0}, "a b c", plugin.Cont},
		{"by priority", plugin.Rcpt, []plugin.Verdict{{}, {}, {}}, []int{5, -5, 0}, "b c a", plugin.Cont},
		{"the first to decide decides", plugin.Rcpt, []plugin.Verdict{{}, yes, no}, []int{0, 0, 0}, "a b", plugin.OK},
		{"a refusal ends it", plugin.Mail, []plugin.Verdict{no, yes, {}}, []int{0, 0, 0}, "a", plugin.Refuse},
		{"all run at connect_init", plugin.ConnectInit, []plugin.Verdict{no, yes, {}}, []int{0, 0, 0}, "a b c", plugin.Cont},
		{"all run at disconnect", plugin.Disconnect, []plugin.Verdict{yes, yes, no}, []int{0, 0, 0}, "a b c", plugin.Cont},
		{"next hook asks nobody else", plugin.UnknownCommand, []plugin.Verdict{{}, {Code: plugin.NextHook}, yes}, []int{0, 0, 0}, "a b", plugin.NextHook},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked []string
			var ps []plugin.Plugin
			for i, n := range []string{"a", "b", "c"} {
				ps = append(ps, says(n, c.hook, c.prios[i], &asked, c.says[i]))
			}
			v := chain(t, ps...).Run(t.Context(), &plugin.Event{Hook: c.hook})
			if got := strings.Join(asked, " "); got != c.asked || v.Code != c.code {
				t.Errorf("asked %q and it was %v, want %q and %v", got, v.Code, c.asked, c.code)
			}
		})
	}
}

func TestRun_deny(t *testing.T) {
	var asked []string
	overrules := made{"merciful", func(r *plugin.Registrar) error {
		r.On(plugin.Deny, func(_ context.Context, e *plugin.Event) plugin.Verdict {
			if e.At != plugin.Rcpt || e.Refused == nil || e.Refused.Plugin != "strict" || e.Refused.Reply.Text != "no" {
				t.Errorf("deny was told of %v at %s", e.Refused, e.At)
			}
			return plugin.Verdict{Code: plugin.OK}
		})
		return nil
	}}
	strict := says("strict", plugin.Rcpt, 0, &asked, plugin.Denied("no"))
	kind := says("kind", plugin.Rcpt, 0, &asked, plugin.Verdict{Code: plugin.OK})
	e := &plugin.Event{Hook: plugin.Rcpt}
	if v := chain(t, strict, kind, overrules).Run(t.Context(), e); v.Code != plugin.OK || v.Plugin != "kind" {
		t.Errorf("overruled, and then it was %v of %q", v.Code, v.Plugin)
	}
	if v := chain(t, strict, kind).Run(t.Context(), e); v.Code != plugin.Refuse || v.Plugin != "strict" {
		t.Errorf("not overruled, and it was %v of %q", v.Code, v.Plugin)
	}
}

func TestRun_fails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		stuck := made{"stuck", func(r *plugin.Registrar) error {
			r.On(plugin.Mail, func(context.Context, *plugin.Event) plugin.Verdict { <-back; return plugin.Verdict{} })
			return nil
		}}
		broken := made{"broken", func(r *plugin.Registrar) error {
			r.On(plugin.Data, func(context.Context, *plugin.Event) plugin.Verdict { panic("oh") })
			return nil
		}}
		c, err := plugin.New(plugin.Options{Timeouts: map[string]time.Duration{"stuck": 5 * time.Second}}, stuck, broken)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var steps []plugin.Step
		v := c.Run(t.Context(), &plugin.Event{Hook: plugin.Mail, Watch: func(s plugin.Step) { steps = append(steps, s) }})
		if v.Code != plugin.Defer || v.Reply.Code != 451 || time.Since(began) != 5*time.Second {
			t.Errorf("stuck: %v %v after %v", v.Code, v.Reply, time.Since(began))
		}
		if len(steps) != 1 || steps[0].Fault == "" || steps[0].Took != 5*time.Second {
			t.Errorf("seen: %+v", steps)
		}
		if v := c.Run(t.Context(), &plugin.Event{Hook: plugin.Data}); v.Code != plugin.Defer || v.Plugin != "broken" {
			t.Errorf("broken: %v of %q", v.Code, v.Plugin)
		}
		for _, f := range c.List() {
			if want := map[string][2]int64{"stuck": {1, 0}, "broken": {0, 1}}[f.Plugin]; f.Timeouts != want[0] || f.Panics != want[1] || f.Calls != 1 {
				t.Errorf("%s: %+v", f.Plugin, f)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(short); err == nil {
			t.Error("closed while a function was running")
		}
		close(back)
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRun_skipped(t *testing.T) {
	var asked []string
	c := chain(t, says("a", plugin.Rcpt, 0, &asked, plugin.Denied("")), says("b", plugin.Rcpt, 0, &asked, plugin.Verdict{Code: plugin.OK}))
	tx := (&plugin.Connection{}).Begin("1", mail.NewAddress("s@x.example"))
	tx.SkipPlugin("a")
	if v := c.Run(t.Context(), &plugin.Event{Hook: plugin.Rcpt, Transaction: tx}); v.Code != plugin.OK || len(asked) != 1 {
		t.Errorf("%v, asked %v", v.Code, asked)
	}
}

func TestNew_refused(t *testing.T) {
	nothing := func(*plugin.Registrar) error { return nil }
	hook := func(h plugin.Hook, prio int, f plugin.Func) func(*plugin.Registrar) error {
		return func(r *plugin.Registrar) error { r.Hook(h, prio, "f", f); return nil }
	}
	f := func(context.Context, *plugin.Event) plugin.Verdict { return plugin.Verdict{} }
	for _, c := range []struct {
		name string
		ps   []plugin.Plugin
		want string
	}{
		{"name", []plugin.Plugin{made{"a b", nothing}}, `plugin "a b"`},
		{"twice", []plugin.Plugin{made{"a", nothing}, made{"a", nothing}}, "listed twice"},
		{"hook", []plugin.Plugin{made{"a", hook("hello", 0, f)}}, `no hook "hello"`},
		{"priority", []plugin.Plugin{made{"a", hook(plugin.Mail, 101, f)}}, "priority 101"},
		{"no function", []plugin.Plugin{made{"a", hook(plugin.Mail, 0, nil)}}, "no function"},
		{"its own", []plugin.Plugin{made{"a", func(*plugin.Registrar) error { return errors.New("no list") }}}, "plugin a: no list"},
	} {
		if _, err := plugin.New(plugin.Options{}, c.ps...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := plugin.New(plugin.Options{Timeouts: map[string]time.Duration{"b": time.Second}}, made{"a", nothing}); err == nil {
		t.Error("a timeout for nobody was taken")
	}
}

func BenchmarkRun(b *testing.B) {
	var ps []plugin.Plugin
	for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
		ps = append(ps, made{n, func(r *plugin.Registrar) error {
			r.On(plugin.Rcpt, func(context.Context, *plugin.Event) plugin.Verdict { return plugin.Verdict{} })
			return nil
		}})
	}
	c, err := plugin.New(plugin.Options{}, ps...)
	if err != nil {
		b.Fatal(err)
	}
	e := &plugin.Event{Hook: plugin.Rcpt}
	for b.Loop() {
		c.Run(b.Context(), e)
	}
}
