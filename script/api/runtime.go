package api

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dop251/goja"
)

// world is what a Runtime has besides its loop.
type world struct {
	root         *os.Root // the folder of scripts; nil: none
	modules      *modules
	timers       *timers
	configs      *configs
	sockets      map[*socket]bool
	idle         time.Duration   // how long a socket may be silent
	life         context.Context // ends with the runtime
	end          context.CancelFunc
	addressClass *goja.Object // prototype of Address
	underway     int          // questions and reads beside the loop
	server       *goja.Object
	rejections   []rejected // of the turn under way
	stack        []Owner    // who had the turn before a promise went on for somebody else
	left         *grabbed   // for whom it went on last, until something else goes on
}

// maxDepth is how deep functions may call one another. Every level takes some
// hundred octets of the worker's stack.
const maxDepth = 2000

// New makes the world: the globals are there, and nothing has run.
func New(o Options) (*Runtime, error) {
	if o.Log == nil {
		o.Log = func(Line) {}
	}
	if o.Enabled == nil {
		o.Enabled = func(Level) bool { return true }
	}
	if o.Resolver == nil {
		o.Resolver = noResolver{}
	}
	r := &Runtime{vm: goja.New(), o: o, wake: make(chan struct{}, 1)}
	r.vm.SetMaxCallStackSize(maxDepth)
	if o.Folder != "" {
		root, err := os.OpenRoot(o.Folder)
		if err != nil {
			return nil, fmt.Errorf("the folder of scripts: %w", err)
		}
		r.root = root
	}
	r.modules = newModules(r)
	r.timers = newTimers(r)
	r.configs = newConfigs(r)
	r.sockets, r.idle = map[*socket]bool{}, idleTimeout
	r.life, r.end = context.WithCancel(context.Background())
	r.vm.SetPromiseRejectionTracker(r.rejection)
	r.vm.SetAsyncContextTracker(&owners{r})
	if err := r.globals(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close ends timers, watched files and sockets. Called inside the loop, or when it
// has ended.
func (r *Runtime) Close() {
	r.end()
	r.timers.close()
	r.configs.close()
	for s := range r.sockets {
		s.kill()
	}
	if r.root != nil {
		r.root.Close()
	}
}

// globals puts to the global object what every script sees without require.
func (r *Runtime) globals() error {
	g := r.vm.GlobalObject()
	set := func(name string, v any) error {
		return g.DefineDataProperty(name, r.vm.ToValue(v), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
	r.server = r.vm.NewObject()
	errs := []error{
		set("global", g),
		set("server", r.server),
		r.server.Set("notes", r.vm.NewObject()),
	}
	for _, c := range constants {
		errs = append(errs, set(c.name, c.value))
	}
	for name, f := range r.timers.functions() {
		errs = append(errs, set(name, f))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, from := range []struct {
		module string
		names  []string
	}{
		{"address-rfc2821", []string{}}, // so that all objects have its call
		{"buffer", []string{"Buffer", "atob", "btoa"}},
		{"url", []string{"URL", "URLSearchParams"}},
		{"util", []string{"TextEncoder", "TextDecoder"}},
		{"console", nil},
		{"process", nil},
	} {
		m, err := r.Require(from.module)
		if err != nil {
			return fmt.Errorf("module %s: %w", from.module, err)
		}
		if from.names == nil {
			if err := set(from.module, m); err != nil {
				return err
			}
		}
		for _, n := range from.names {
			if err := set(n, m.ToObject(r.vm).Get(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Server is the global server, which has notes.
func (r *Runtime) Server() *goja.Object { return r.server }

// rejected is a promise that was rejected with nobody there to catch.
type rejected struct {
	promise *goja.Promise
	owner   Owner
}

// rejection is told of promises that are rejected without a handler, and of those
// that get one later.
func (r *Runtime) rejection(p *goja.Promise, op goja.PromiseRejectionOperation) {
	if op == goja.PromiseRejectionReject {
		// What a handler throws rejects a promise right after the handler has ended.
		owner := r.owner
		if r.left != nil {
			owner = r.left.owner
		}
		r.rejections = append(r.rejections, rejected{p, owner})
		return
	}
	for i, x := range r.rejections {
		if x.promise == p {
			r.rejections = append(r.rejections[:i], r.rejections[i+1:]...)
			return
		}
	}
}

// settle tells of the promises that were rejected in the turn that ends, and that
// nobody has caught. As in Node, a handler must be there by the end of the turn.
func (r *Runtime) settle() {
	r.left, r.stack = nil, nil
	for len(r.rejections) > 0 {
		all := r.rejections
		r.rejections = nil
		for _, x := range all {
			r.failed(x.owner, fmt.Errorf("unhandled rejection: %w", r.Fault(x.promise.Result())))
		}
	}
}

// Fault makes an error of what a script has thrown or rejected with.
func (r *Runtime) Fault(v goja.Value) error {
	if v == nil || goja.IsUndefined(v) {
		return errors.New("undefined")
	}
	if o, ok := v.(*goja.Object); ok {
		text, stack := "", ""
		// A getter or toString of the script's may throw in its turn.
		if err := r.vm.Try(func() {
			text = o.String()
			if s := o.Get("stack"); s != nil && !goja.IsUndefined(s) {
				stack = s.String()
			}
		}); err != nil {
			return errors.New("an object that cannot be shown")
		}
		if stack != "" {
			return errors.New(stack)
		}
		return errors.New(text)
	}
	return errors.New(v.String())
}

// owners has what comes of a promise run on behalf of whoever waits for it, and not
// of whoever happened to settle it.
type owners struct{ r *Runtime }

type grabbed struct{ owner Owner }

func (o *owners) Grab() any { return grabbed{o.r.owner} }

func (o *owners) Resumed(x any) {
	o.r.stack = append(o.r.stack, o.r.owner)
	o.r.owner, o.r.left = x.(grabbed).owner, nil
}

func (o *owners) Exited() {
	if n := len(o.r.stack); n > 0 {
		o.r.left = &grabbed{o.r.owner}
		o.r.owner = o.r.stack[n-1]
		o.r.stack = o.r.stack[:n-1]
	}
}

// throw ends the script's call with an Error that has a code, as Node's have.
func (r *Runtime) throw(code, format string, args ...any) {
	panic(r.fail(code, format, args...))
}

// fail makes an Error with a code.
func (r *Runtime) fail(code, format string, args ...any) *goja.Object {
	e, err := r.vm.New(r.vm.GlobalObject().Get("Error"), r.vm.ToValue(fmt.Sprintf(format, args...)))
	if err != nil {
		panic(err)
	}
	if code != "" {
		e.Set("code", code)
	}
	return e
}

// call calls a script's function, if it is one.
func (r *Runtime) call(f, this goja.Value, args ...goja.Value) error {
	fn, ok := goja.AssertFunction(f)
	if !ok {
		return nil
	}
	_, err := fn(this, args...)
	return err
}
