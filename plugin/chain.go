package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Chain is the functions of all plugins, hook by hook. It does not change; another
// Chain takes its place when plugins are loaded anew. Safe for concurrent use.
type Chain struct {
	fns     map[Hook][]*function
	plugins []Plugin
	log     *slog.Logger
	inbound bool           // some function is called while a client is connected
	under   sync.WaitGroup // calls under way, given up ones included

	users   atomic.Int64  // see Current
	retired func()        // the last user is gone
	hurry   chan struct{} // closed: given up functions are not waited for; nil: they are
}

// function is one plugin's function at one hook.
type function struct {
	hook     Hook
	plugin   string
	label    string
	priority int
	timeout  time.Duration
	fn       Func
	counters
}

type counters struct {
	calls, refused, timeouts, panics atomic.Int64
	lost                             atomic.Int64 // given up, and not back
	nanoseconds                      atomic.Int64
}

// Options are what the operator says of the chain.
type Options struct {
	Timeout  time.Duration            // of every function; DefaultTimeout
	Timeouts map[string]time.Duration // of the functions of one plugin
	Log      *slog.Logger             // nil: none
}

// New makes the chain of plugins, which run in that order at equal priority.
func New(o Options, plugins ...Plugin) (*Chain, error) {
	c := &Chain{fns: map[Hook][]*function{}, plugins: plugins, log: o.Log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	names := map[string]bool{}
	for _, p := range plugins {
		name := p.Name()
		if !validName(name) {
			return nil, fmt.Errorf("plugin %q: a name has letters, digits, dots, dashes and underscores", name)
		}
		if names[name] {
			return nil, fmt.Errorf("plugin %s is listed twice", name)
		}
		names[name] = true
		r := &Registrar{name: name}
		if err := p.Register(r); err != nil {
			return nil, fmt.Errorf("plugin %s: %w", name, err)
		}
		if r.fault != nil {
			return nil, fmt.Errorf("plugin %s: %w", name, r.fault)
		}
		for _, f := range r.fns {
			f.timeout = o.Timeout
			if t, ok := o.Timeouts[name]; ok {
				f.timeout = t
			}
			c.fns[f.hook] = append(c.fns[f.hook], f)
			c.inbound = c.inbound || f.hook.inbound()
		}
	}
	for name := range o.Timeouts {
		if !names[name] {
			return nil, fmt.Errorf("a timeout is given for plugin %s, which is not listed", name)
		}
	}
	for _, fs := range c.fns {
		slices.SortStableFunc(fs, func(a, b *function) int { return a.priority - b.priority })
	}
	c.introduce()
	return c, nil
}

// introduce tells neighbours of each other.
func (c *Chain) introduce() {
	byName := map[string]Plugin{}
	for _, p := range c.plugins {
		byName[p.Name()] = p
	}
	for h, fs := range c.fns {
		for i := range len(fs) - 1 {
			if n, ok := byName[fs[i].plugin].(Neighbour); ok {
				n.Before(h, fs[i].label, byName[fs[i+1].plugin], fs[i+1].label)
			}
		}
	}
}

func validName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == ""
}

func (r *Registrar) refuse(format string, args ...any) {
	r.fault = errors.Join(r.fault, fmt.Errorf(format, args...))
}

// Has tells whether any function is called at the hook. A nil Chain has none.
func (c *Chain) Has(h Hook) bool { return c != nil && len(c.fns[h]) > 0 }

// Inbound tells whether any function is called while a client is connected.
func (c *Chain) Inbound() bool { return c != nil && c.inbound }

type answer struct {
	Verdict
	fault string
	stack []byte
}

func (f *function) answer(ctx context.Context, e *Event) (a answer) {
	if n := f.lost.Load(); n >= mostLost {
		return answer{fault: fmt.Sprintf("not called: %d of its calls have not come back", n)}
	}
	defer func() {
		if p := recover(); p != nil {
			a = answer{fault: fmt.Sprint("panic: ", p), stack: debug.Stack()}
		}
	}()
	return answer{Verdict: f.fn(ctx, e)}
}

// about names what the event is about, for the log.
func (e *Event) about() slog.Attr {
	switch {
	case e.Connection != nil:
		return slog.String("connection", e.Connection.ID)
	case e.Delivery != nil:
		return slog.String("delivery", e.Delivery.ID())
	}
	return slog.Attr{}
}

// Function is one entry of the chain, for people.
type Function struct {
	Hook     Hook          `json:"hook"`
	Plugin   string        `json:"plugin"`
	Name     string        `json:"function"`
	Priority int           `json:"priority"`
	Timeout  time.Duration `json:"timeout"`
	Calls    int64         `json:"calls"`
	Refused  int64         `json:"refused"`
	Timeouts int64         `json:"timeouts"`
	Panics   int64         `json:"panics"`
	Mean     time.Duration `json:"mean"` // of a call
}

// List is the chain in the order in which it runs.
func (c *Chain) List() []Function {
	out := []Function{}
	if c == nil {
		return out
	}
	for _, h := range Hooks {
		for _, f := range c.fns[h] {
			x := Function{
				Hook: h, Plugin: f.plugin, Name: f.label, Priority: f.priority, Timeout: f.timeout,
				Calls: f.calls.Load(), Refused: f.refused.Load(), Timeouts: f.timeouts.Load(), Panics: f.panics.Load(),
			}
			if x.Calls > 0 {
				x.Mean = time.Duration(f.nanoseconds.Load() / x.Calls)
			}
			out = append(out, x)
		}
	}
	return out
}

var errNotBack = errors.New("some plugin's function has not come back")

// Close ends the plugins once no function runs any more, or ctx ends. It is called
// when nobody calls Run any more.
func (c *Chain) Close(ctx context.Context) error {
	if c == nil {
		return nil
	}
	idle := make(chan struct{})
	go func() { c.under.Wait(); close(idle) }()
	var err error
	select {
	case <-idle:
	case <-c.hurry:
		err = errNotBack
	case <-ctx.Done():
		err = errNotBack
	}
	for _, p := range c.plugins {
		if x, ok := p.(Closer); ok {
			err = errors.Join(err, x.Close(ctx))
		}
	}
	return err
}
