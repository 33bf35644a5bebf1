package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/plugin"
)

// loadOne runs a script's file and its register.
func (w *worker) loadOne(p *loaded) error {
	o, err := w.rt.Plugin(p.name, p.file)
	if err != nil {
		return err
	}
	p.object = o
	base := o.Prototype()
	set := func(name string, fn func(goja.FunctionCall) goja.Value) {
		base.DefineDataProperty(name, w.vm.ToValue(fn), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
	set("register_hook", func(c goja.FunctionCall) goja.Value {
		name := c.Argument(1).String()
		priority := 0
		if v := c.Argument(2); !goja.IsUndefined(v) {
			priority = int(v.ToInteger())
		}
		if err := w.register(p, c.Argument(0).String(), name, priority); err != nil {
			panic(w.vm.NewGoError(err))
		}
		return goja.Undefined()
	})
	set("inherits", func(c goja.FunctionCall) goja.Value {
		if err := w.inherit(p, c.Argument(0).String()); err != nil {
			panic(w.vm.NewGoError(err))
		}
		return goja.Undefined()
	})
	return w.runRegister(p, o, "register")
}

// registerRest takes what is called hook_*, and sees that all functions are there.
func (w *worker) registerRest(p *loaded) error {
	for _, key := range p.object.Keys() {
		hook, ok := strings.CutPrefix(key, "hook_")
		if _, isFunction := goja.AssertFunction(p.object.Get(key)); !ok || !isFunction {
			continue
		}
		if err := w.register(p, hook, key, 0); err != nil {
			return err
		}
	}
	for _, f := range w.functions {
		if _, ok := goja.AssertFunction(p.object.Get(f.name)); f.plugin == p && !ok {
			return fmt.Errorf("register_hook(%q, %q): %s exports no function %s", f.hook, f.name, p.name, f.name)
		}
	}
	return nil
}

// notHere are Haraka's hooks that have no moment in a node.
var notHere = map[string]string{
	"init_master": "there is no master process; a script's own work begins in register",
	"init_child":  "a script's own work begins in register",
	"init_http":   "scripts have no HTTP server",
	"init_wss":    "scripts have no HTTP server",
	"log":         "the log is the node's",
}

// register takes one function. That there is such a function is looked at when the
// script is loaded, as it may be made later than it is registered.
func (w *worker) register(p *loaded, hook, name string, priority int) error {
	if p.there {
		return fmt.Errorf("register_hook(%q): %w", hook, errTooLate)
	}
	if why := notHere[hook]; why != "" {
		return fmt.Errorf("hook %s: %s (docs/scripts.md)", hook, why)
	}
	h := plugin.Hook(hook)
	if !h.Known() {
		return fmt.Errorf("there is no hook %q", hook)
	}
	if priority < plugin.First || priority > plugin.Last {
		return fmt.Errorf("hook %s: priority %d is not between %d and %d", hook, priority, plugin.First, plugin.Last)
	}
	w.functions = append(w.functions, function{plugin: p, hook: h, name: name, priority: priority})
	return nil
}

// callable finds a function by its name when it is called first.
func (f *function) callable() (goja.Callable, error) {
	if f.fn == nil {
		fn, ok := goja.AssertFunction(f.plugin.object.Get(f.name))
		if !ok {
			return nil, fmt.Errorf("%s is registered at hook %s, but %s exports no function of that name", f.name, f.hook, f.plugin.name)
		}
		f.fn = fn
	}
	return f.fn, nil
}

// inherit puts another script's functions to p, where it has none of that name, and
// has that one's register run for p.
func (w *worker) inherit(p *loaded, name string) error {
	if strings.Contains(name, "..") {
		return fmt.Errorf("inherits: %q is no name of a script", name)
	}
	file := filepath.Join(folderOf(p), filepath.FromSlash(name)+".js")
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("inherits: %w", err)
	}
	parent, err := w.rt.Plugin(name, file)
	if err != nil {
		return fmt.Errorf("inherits %s: %w", name, err)
	}
	w.parents = append(w.parents, file)
	for _, key := range parent.Keys() {
		if key == "register" {
			continue
		}
		if own := p.object.Get(key); own == nil || goja.IsUndefined(own) {
			p.object.Set(key, parent.Get(key))
		}
	}
	return w.runRegister(p, parent, "register of "+name)
}

// folderOf is where the script's name begins: NAME may have slashes.
func folderOf(p *loaded) string {
	dir := filepath.Dir(p.file)
	for range strings.Count(p.name, "/") {
		dir = filepath.Dir(dir)
	}
	return dir
}
