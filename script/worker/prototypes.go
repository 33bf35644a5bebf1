package worker

import (
	"fmt"
	"strings"

	"github.com/dop251/goja"
)

// prototypes hold the methods of the objects that scripts see, once for all of them.
type prototypes struct {
	connection, transaction, hmail, header, body, notes, results *goja.Object
	streamClass                                                  goja.Value
}

// methods puts functions to a prototype. this is what the object is in Go.
func methods[T any](w *worker, o *goja.Object, ms map[string]func(this T, c goja.FunctionCall) goja.Value) {
	for name, f := range ms {
		fn := func(c goja.FunctionCall) goja.Value {
			this, ok := c.This.Export().(T)
			if !ok {
				panic(w.vm.NewTypeError(name + " is called on something else"))
			}
			return f(this, c)
		}
		o.DefineDataProperty(name, w.vm.ToValue(fn), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
}

// throw ends the script's function with an Error.
func (w *worker) throw(format string, args ...any) {
	panic(w.vm.NewGoError(fmt.Errorf(format, args...)))
}

// prepare makes the prototypes.
func (w *worker) prepare() {
	p := &w.protos
	for _, o := range []**goja.Object{&p.connection, &p.transaction, &p.hmail, &p.header, &p.body, &p.notes, &p.results} {
		*o = w.vm.NewObject()
	}
	w.rt.AddLog(p.connection, func(this *goja.Object) string {
		if c, ok := this.Export().(*connection); ok {
			return c.logID()
		}
		return ""
	})
	w.rt.AddLog(p.transaction, func(this *goja.Object) string {
		if t, ok := this.Export().(*transaction); ok {
			return t.name
		}
		return ""
	})
	w.rt.AddLog(p.hmail, func(this *goja.Object) string {
		if h, ok := this.Export().(*hmail); ok {
			return h.name
		}
		return ""
	})
	methods(w, p.connection, map[string]func(*connection, goja.FunctionCall) goja.Value{
		"set": func(c *connection, f goja.FunctionCall) goja.Value {
			w.setPath(c.object, f.Argument(0).String(), f.Argument(1))
			return goja.Undefined()
		},
		"get": func(c *connection, f goja.FunctionCall) goja.Value {
			return w.getPath(c.object, strings.Split(f.Argument(0).String(), "."))
		},
		"respond":           notConnection("respond", "the client is answered by what next() is given"),
		"disconnect":        notConnection("disconnect", "a connection ends by next(DISCONNECT) or one of its kin"),
		"reset_transaction": notConnection("reset_transaction", "a transaction ends by a refusal"),
	})
	w.transactionMethods()
	w.headerMethods()
	w.notesMethods()
	w.resultsMethods()
	w.streamMethods()
}

// notConnection is a method that Haraka has and we do not.
func notConnection(name, why string) func(*connection, goja.FunctionCall) goja.Value {
	return func(c *connection, _ goja.FunctionCall) goja.Value {
		c.w.throw("connection.%s is not there: %s (docs/scripts.md)", name, why)
		return nil
	}
}

// getPath reads a.b.c; undefined if anything on the way is missing.
func (w *worker) getPath(v goja.Value, path []string) goja.Value {
	for _, key := range path {
		o, ok := v.(*goja.Object)
		if !ok {
			return goja.Undefined()
		}
		if v = o.Get(key); v == nil {
			return goja.Undefined()
		}
	}
	return v
}

// setPath sets a.b.c, and makes the objects that are missing on the way.
func (w *worker) setPath(o *goja.Object, path string, v goja.Value) {
	w.setIn(o, strings.Split(path, "."), v)
}

func (w *worker) setIn(o *goja.Object, path []string, v goja.Value) {
	for _, key := range path[:len(path)-1] {
		// Nobody reaches what all objects share.
		if key == "__proto__" || key == "constructor" || key == "prototype" {
			w.throw("%q cannot be a part of a path", key)
		}
		next, ok := o.Get(key).(*goja.Object)
		if !ok {
			next = w.vm.NewObject()
			if err := o.Set(key, next); err != nil {
				panic(w.vm.NewGoError(err))
			}
		}
		o = next
	}
	if err := o.Set(path[len(path)-1], v); err != nil {
		panic(w.vm.NewGoError(err))
	}
}
