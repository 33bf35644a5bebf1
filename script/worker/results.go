package worker

import (
	"slices"
	"strings"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/script/api"
	"github.com/tarishi/tarishi/script/frame"
)

// results is one results store, as haraka-results describes it.
type results struct {
	w      *worker
	id     func() string
	fetch  func(name string) (json string, err error)
	object *goja.Object
	store  map[string]*goja.Object
	stale  map[string]bool // plugins whose results only the node knows
	edits  []frame.ResultEdit
}

func newResults(w *worker, id func() string, fetch func(string) (string, error)) *results {
	return &results{w: w, id: id, fetch: fetch}
}

func (r *results) told(plugins []string) {
	for _, name := range plugins {
		if r.stale == nil {
			r.stale = map[string]bool{}
		}
		r.stale[name] = true
		delete(r.store, name)
	}
}

// handle is what results is in Go for its methods.
type handle struct{ *results }

func (handle) Get(string) goja.Value       { return nil }
func (handle) Set(string, goja.Value) bool { return false }
func (handle) Has(string) bool             { return false }
func (handle) Delete(string) bool          { return true }
func (handle) Keys() []string              { return nil }

func (r *results) get() goja.Value {
	if r.object == nil {
		r.object = r.w.vm.NewDynamicObject(handle{r})
		r.object.SetPrototype(r.w.protos.results)
	}
	return r.object
}

func (r *results) changes() []frame.ResultEdit {
	e := r.edits
	r.edits = nil
	return e
}

// lists are those that every result has.
var lists = []string{"pass", "fail", "msg", "err", "skip"}

// of is a plugin's result; nil: it has none and none is to be made.
func (r *results) of(name string, make bool) *goja.Object {
	if o := r.store[name]; o != nil {
		return o
	}
	var o *goja.Object
	if r.stale[name] {
		j, err := r.fetch(name)
		if err != nil {
			panic(r.w.vm.NewGoError(err))
		}
		o, _ = r.w.value(frame.JSON(j)).(*goja.Object)
		delete(r.stale, name)
	}
	if o == nil {
		if !make {
			return nil
		}
		o = r.w.vm.NewObject()
		for _, l := range lists {
			o.Set(l, r.w.vm.NewArray())
		}
	}
	if r.store == nil {
		r.store = map[string]*goja.Object{}
	}
	r.store[name] = o
	return o
}

// whose is the name of the plugin that the first argument is.
func whose(v goja.Value) string {
	if o, ok := v.(*goja.Object); ok {
		if name := o.Get("name"); name != nil {
			return name.String()
		}
	}
	return v.String()
}

func (r *results) push(o *goja.Object, plugin, key string, v goja.Value) {
	list, ok := o.Get(key).(*goja.Object)
	if !ok || list.ClassName() != "Array" {
		list = r.w.vm.NewArray()
		o.Set(key, list)
	}
	add, ok := goja.AssertFunction(list.Get("push"))
	if !ok {
		return
	}
	each(r.w.vm, v, func(x goja.Value) { add(list, x) })
	if !slices.Contains(lists, key) {
		r.set(plugin, key, list)
		return
	}
	each(r.w.vm, v, func(x goja.Value) {
		j, err := asJSON(x)
		if err == nil && j == nil && x != nil && !goja.IsUndefined(x) && !goja.IsNull(x) {
			j = x.String() // NaN: the lists are text
		}
		if err == nil && j != nil {
			r.edits = append(r.edits, frame.ResultEdit{Plugin: plugin, Kind: frame.ResultAppend, Key: key, Value: j})
		}
	})
}

func (r *results) set(plugin, key string, v goja.Value) {
	if j, err := asJSON(v); err == nil {
		r.edits = append(r.edits, frame.ResultEdit{Plugin: plugin, Kind: frame.ResultSet, Key: key, Value: j})
	}
}

// each calls f for v, or for the entries of v if it is a list.
func each(vm *goja.Runtime, v goja.Value, f func(goja.Value)) {
	if o, ok := v.(*goja.Object); ok && o.ClassName() == "Array" {
		for i := range int(o.Get("length").ToInteger()) {
			f(o.Get(itoa(i)))
		}
		return
	}
	f(v)
}

func (w *worker) resultsMethods() {
	on := func(f func(r *results, c goja.FunctionCall) goja.Value) func(handle, goja.FunctionCall) goja.Value {
		return func(h handle, c goja.FunctionCall) goja.Value { return f(h.results, c) }
	}
	methods(w, w.protos.results, map[string]func(handle, goja.FunctionCall) goja.Value{
		"add":     on((*results).add),
		"push":    on((*results).pushAll),
		"incr":    on((*results).incr),
		"get":     on((*results).find),
		"has":     on((*results).has),
		"collate": on((*results).collate),
	})
}

func (r *results) add(c goja.FunctionCall) goja.Value {
	name := whose(c.Argument(0))
	given, ok := c.Argument(1).(*goja.Object)
	if !ok {
		return goja.Undefined()
	}
	o := r.of(name, true)
	emit := false
	for _, key := range given.Keys() {
		v := given.Get(key)
		switch {
		case slices.Contains(lists, key):
			r.push(o, name, key, v)
			if key == "err" {
				r.w.log(api.Line{Level: api.Error, Plugin: name, ID: r.id(), Text: v.String()})
			}
		case key == "emit":
			emit = v.ToBoolean()
		default:
			o.Set(key, v)
			r.set(name, key, v)
		}
	}
	if emit {
		r.w.log(api.Line{Level: api.Info, Plugin: name, ID: r.id(), Text: r.summary(o)})
	}
	return goja.Undefined()
}

func (r *results) pushAll(c goja.FunctionCall) goja.Value {
	name := whose(c.Argument(0))
	given, ok := c.Argument(1).(*goja.Object)
	if !ok {
		return goja.Undefined()
	}
	o := r.of(name, true)
	for _, key := range given.Keys() {
		if key != "emit" {
			r.push(o, name, key, given.Get(key))
		}
	}
	return goja.Undefined()
}

func (r *results) incr(c goja.FunctionCall) goja.Value {
	name := whose(c.Argument(0))
	given, ok := c.Argument(1).(*goja.Object)
	if !ok {
		return goja.Undefined()
	}
	o := r.of(name, true)
	for _, key := range given.Keys() {
		by := given.Get(key).ToFloat()
		if key == "emit" || !finite(by) {
			continue
		}
		sum := by
		if v := o.Get(key); v != nil {
			if f := v.ToFloat(); finite(f) {
				sum += f
			}
		}
		if !finite(sum) {
			continue
		}
		o.Set(key, sum)
		r.edits = append(r.edits, frame.ResultEdit{Plugin: name, Kind: frame.ResultIncrease, Key: key, Value: by})
	}
	return goja.Undefined()
}

func (r *results) find(c goja.FunctionCall) goja.Value {
	if o := r.of(whose(c.Argument(0)), false); o != nil {
		return o
	}
	return goja.Undefined()
}

func (r *results) has(c goja.FunctionCall) goja.Value {
	vm := r.w.vm
	o := r.of(whose(c.Argument(0)), false)
	if o == nil {
		return vm.ToValue(false)
	}
	v := o.Get(c.Argument(1).String())
	if v == nil || goja.IsUndefined(v) {
		return vm.ToValue(false)
	}
	search, found := c.Argument(2), false
	test := func(x goja.Value) bool { return x.StrictEquals(search) }
	if re, ok := search.(*goja.Object); ok && re.ClassName() == "RegExp" {
		match, _ := goja.AssertFunction(re.Get("test"))
		test = func(x goja.Value) bool {
			re.Set("lastIndex", 0)
			yes, err := match(re, x)
			return err == nil && yes.ToBoolean()
		}
	}
	each(vm, v, func(x goja.Value) { found = found || test(x) })
	return vm.ToValue(found)
}

func (r *results) collate(c goja.FunctionCall) goja.Value {
	o := r.of(whose(c.Argument(0)), false)
	if o == nil {
		return goja.Undefined()
	}
	return r.w.vm.ToValue(r.summary(o))
}

// summary is a result on one line: values first, then the lists.
func (r *results) summary(o *goja.Object) string {
	if h := o.Get("human"); h != nil && !goja.IsUndefined(h) && h.ToBoolean() {
		return h.String()
	}
	var parts []string
	join := func(v goja.Value) string {
		var xs []string
		each(r.w.vm, v, func(x goja.Value) { xs = append(xs, x.String()) })
		return strings.Join(xs, ", ")
	}
	for _, key := range o.Keys() {
		if slices.Contains(lists, key) || strings.HasPrefix(key, "_") || key == "human" || key == "human_html" {
			continue
		}
		parts = append(parts, key+": "+join(o.Get(key)))
	}
	for _, l := range []string{"msg", "pass", "fail", "skip", "err"} {
		if v := o.Get(l); v != nil && !goja.IsUndefined(v) {
			if s := join(v); s != "" {
				parts = append(parts, l+":"+s)
			}
		}
	}
	return strings.Join(parts, ", ")
}
