package worker

import (
	"errors"
	"math"
	"strings"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/frame"
)

// notes are one notes object, and what the node knows of it. What JSON cannot say (a
// function, a socket, something that contains itself) stays in this process.
type notes struct {
	w       *worker
	object  *goja.Object // nil: no script has looked yet
	waiting []frame.Pair // told before that
	known   map[string]known
	secret  func() (string, error) // the client's password; nil: there is none
}

// known is what the node has under a key.
type known struct {
	value goja.Value // if it is no object
	json  string
}

func newNotes(w *worker) *notes { return &notes{w: w} }

// told takes what has changed in the node.
func (n *notes) told(ps []frame.Pair) {
	if n.object == nil {
		n.waiting = append(n.waiting, ps...)
		return
	}
	for _, p := range ps {
		n.put(p)
	}
}

// get is the object that scripts see.
func (n *notes) get() goja.Value {
	if n.object == nil {
		n.object = n.w.vm.NewObject()
		n.object.SetPrototype(n.w.protos.notes)
		n.known = map[string]known{}
		for _, p := range n.waiting {
			n.put(p)
		}
		n.waiting = nil
		n.hide()
	}
	return n.object
}

// hide puts the password to the notes, where Haraka has it: it is fetched when a
// script looks at it, and is not among the keys.
func (n *notes) hide() {
	if n.object == nil || n.secret == nil {
		return
	}
	n.object.DefineAccessorProperty("auth_passwd", n.w.vm.ToValue(func(goja.FunctionCall) goja.Value {
		if n.secret == nil {
			return goja.Undefined()
		}
		s, err := n.secret()
		if err != nil {
			panic(n.w.vm.NewGoError(err))
		}
		return n.w.vm.ToValue(s)
	}), nil, goja.FLAG_TRUE, goja.FLAG_FALSE)
}

func (n *notes) put(p frame.Pair) {
	if p.Value == nil {
		n.object.Delete(p.Key)
		delete(n.known, p.Key)
		return
	}
	v := n.w.value(p.Value)
	k := known{value: v}
	if o, ok := v.(*goja.Object); ok && p.Key != "skip_plugins" {
		k = known{json: stringify(o)}
	}
	n.object.Set(p.Key, v)
	n.known[p.Key] = k
}

// changes is what scripts have changed since it was called last.
func (n *notes) changes() (out []frame.Pair) {
	if n.object == nil {
		return nil
	}
	keys := n.object.Keys()
	for _, key := range keys {
		if secret(key) || key == "skip_plugins" { // that one goes another way
			continue
		}
		v := n.object.Get(key)
		was, there := n.known[key]
		o, isObject := v.(*goja.Object)
		if !isObject {
			if there && was.value != nil && v.SameAs(was.value) {
				continue
			}
			n.known[key] = known{value: v}
			out = append(out, frame.Pair{Key: key, Value: plain(v)})
			continue
		}
		j := stringify(o)
		if there && was.value == nil && was.json == j {
			continue
		}
		n.known[key] = known{json: j}
		if j == "" {
			if there { // what the node has is not so any more
				out = append(out, frame.Pair{Key: key})
			}
			continue
		}
		out = append(out, frame.Pair{Key: key, Value: frame.JSON(j)})
	}
	if len(keys) < len(n.known) {
		for key := range n.known {
			if v := n.object.Get(key); v == nil {
				delete(n.known, key)
				out = append(out, frame.Pair{Key: key})
			}
		}
	}
	return out
}

// secret tells whether a note is one that is never written down, nor travels.
func secret(key string) bool { return key == "auth_passwd" }

// plain is a value that is no object, as frames have it. A number that JSON cannot say
// is null, as JSON.stringify has it.
func plain(v goja.Value) any {
	if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
		return nil
	}
	switch x := v.Export().(type) {
	case bool:
		return x
	case int64:
		return float64(x)
	case float64:
		if !finite(x) {
			return nil
		}
		return x
	}
	return v.String()
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// maxNote bounds one note that the node is told of.
const maxNote = plugin.MaxNotes

// stringify is an object as JSON; "" if JSON cannot say it, or it is too much.
func stringify(o *goja.Object) string {
	if _, isFunction := goja.AssertFunction(o); isFunction {
		return ""
	}
	b, err := o.MarshalJSON()
	if err != nil || len(b) > maxNote || string(b) == "null" {
		return ""
	}
	return string(b)
}

// asJSON is a value as frames have it, whatever it is.
func asJSON(v goja.Value) (any, error) {
	o, ok := v.(*goja.Object)
	if !ok {
		return plain(v), nil
	}
	j := stringify(o)
	if j == "" {
		return nil, errors.New("JSON cannot say " + v.String())
	}
	return frame.JSON(j), nil
}

// value is what a frame says as a value of JavaScript.
func (w *worker) value(v any) goja.Value {
	j, ok := v.(frame.JSON)
	if !ok {
		if v == nil {
			return goja.Undefined()
		}
		return w.vm.ToValue(v)
	}
	if j == "[]" {
		return w.vm.NewArray()
	}
	parse, ok := goja.AssertFunction(w.vm.GlobalObject().Get("JSON").ToObject(w.vm).Get("parse"))
	if !ok {
		return goja.Undefined()
	}
	out, err := parse(goja.Undefined(), w.vm.ToValue(string(j)))
	if err != nil {
		return goja.Undefined()
	}
	return out
}

// notesMethods are get and set of haraka-notes.
func (w *worker) notesMethods() {
	path := func(v goja.Value) []string {
		if o, ok := v.(*goja.Object); ok && o.ClassName() == "Array" {
			var parts []string
			if w.vm.ExportTo(o, &parts) == nil && len(parts) > 0 {
				return parts
			}
		}
		return strings.Split(v.String(), ".")
	}
	define := func(name string, f func(this *goja.Object, c goja.FunctionCall) goja.Value) {
		w.protos.notes.DefineDataProperty(name, w.vm.ToValue(func(c goja.FunctionCall) goja.Value {
			return f(c.This.ToObject(w.vm), c)
		}), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
	}
	define("get", func(this *goja.Object, c goja.FunctionCall) goja.Value {
		return w.getPath(this, path(c.Argument(0)))
	})
	define("set", func(this *goja.Object, c goja.FunctionCall) goja.Value {
		p := path(c.Argument(0))
		if c.Argument(2).ToBoolean() && !goja.IsUndefined(w.getPath(this, p)) {
			return goja.Undefined()
		}
		w.setIn(this, p, c.Argument(1))
		return goja.Undefined()
	})
}
