package worker

import (
	"errors"
	"fmt"
	"time"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/script/api"
	"github.com/tarishi/tarishi/script/frame"
)

// loadPatience is how long all scripts together have to load. The node gives up a
// little later.
const loadPatience = 25 * time.Second

// loading is the load of one script: the owner of all that the script begins in it.
type loading struct {
	w    *worker
	p    *loaded
	rest []frame.Script // that come behind it
	over bool
}

// load loads the scripts in their order, each in turns of its own, and then tells the
// node.
func (w *worker) load(scripts []frame.Script) {
	w.prepare()
	w.tooLate = time.AfterFunc(loadPatience, func() {
		w.rt.Do(nil, func() error {
			if l := w.loading; l != nil && !l.over {
				l.Failed(fmt.Errorf("register: what it has promised is not there after %v", loadPatience))
			}
			return nil
		})
	})
	w.loadNext(scripts)
}

func (w *worker) loadNext(scripts []frame.Script) {
	if len(scripts) == 0 {
		w.tooLate.Stop()
		out := &frame.Loaded{Files: w.parents}
		for _, f := range w.functions {
			out.Functions = append(out.Functions, frame.Function{Script: f.plugin.name, Hook: string(f.hook), Name: f.name, Priority: f.priority})
		}
		w.rt.Do(nil, func() error { return w.w.Add(out) })
		return
	}
	l := &loading{w: w, p: &loaded{name: scripts[0].Name, file: scripts[0].File}, rest: scripts[1:]}
	w.loading = l
	w.rt.Do(l, func() error {
		if err := w.loadOne(l.p); err != nil {
			return err
		}
		return l.wait()
	})
}

// wait has the load go on when what register and those it inherits have promised is
// there.
func (l *loading) wait() error {
	w := l.w
	if l.over {
		return nil
	}
	if len(l.p.promises) == 0 {
		w.rt.Do(l, l.finish)
		return nil
	}
	x := l.p.promises[0]
	l.p.promises = l.p.promises[1:]
	good := func(goja.FunctionCall) goja.Value { w.rt.Do(l, l.wait); return goja.Undefined() }
	bad := func(c goja.FunctionCall) goja.Value {
		l.Failed(fmt.Errorf("%s: %w", x.whose, w.rt.Fault(c.Argument(0))))
		return goja.Undefined()
	}
	_, err := x.then(x.promise, w.vm.ToValue(good), w.vm.ToValue(bad))
	return err
}

func (l *loading) finish() error {
	if l.over {
		return nil
	}
	if err := l.w.registerRest(l.p); err != nil {
		return err
	}
	l.over, l.p.there = true, true
	l.w.plugins = append(l.w.plugins, l.p)
	l.w.loadNext(l.rest)
	return nil
}

// Failed takes what the script has not caught: as long as it loads, it cannot be
// loaded.
func (l *loading) Failed(err error) {
	if l.over {
		l.w.logOf(api.Crit, l.p, "", "uncaught: %v", err)
		return
	}
	l.over = true
	l.w.tooLate.Stop()
	if err := l.w.w.Add(&frame.Loaded{Script: l.p.name, Fault: err.Error()}); err != nil {
		l.w.logOf(api.Crit, l.p, "", "%v", err)
	}
}

// promised is what a register has returned, if something can be waited for.
type promised struct {
	whose   string // register: register, or that of another script
	promise *goja.Object
	then    goja.Callable
}

// runRegister calls the register of a script's, or of one that it inherits.
func (w *worker) runRegister(p *loaded, from *goja.Object, whose string) error {
	fn, ok := goja.AssertFunction(from.Get("register"))
	if !ok {
		return nil
	}
	v, err := fn(p.object)
	if err != nil {
		return fmt.Errorf("%s: %w", whose, err)
	}
	o, ok := v.(*goja.Object)
	if !ok {
		return nil
	}
	var then goja.Callable
	if ex := w.vm.Try(func() { then, ok = goja.AssertFunction(o.Get("then")) }); ex != nil {
		return fmt.Errorf("%s: %w", whose, ex)
	}
	if ok {
		p.promises = append(p.promises, promised{whose, o, then})
	}
	return nil
}

var errTooLate = errors.New("the load is over, and the function would never be asked; register calls it, before what it returns is there")
