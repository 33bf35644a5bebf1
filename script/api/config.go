package api

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/dop251/goja"
)

// configFolder is where the settings files are, below the folder of plugins.
const configFolder = "config"

// configs are the settings files that scripts have read: this.config of all plugins.
type configs struct {
	r         *Runtime
	loaded    bool           // smtp.json, which comes before all others
	overrides map[string]any // name → what a !name in a JSON or YAML file says
	watch     watch
	made      int // config objects
}

func newConfigs(r *Runtime) *configs {
	c := &configs{r: r, overrides: map[string]any{}}
	c.watch = watch{c: c, settings: map[settingKey]*setting{}}
	return c
}

func (c *configs) close() { c.watch.close() }

// view is one config object: this.config of one plugin, or a module_config.
type view struct {
	c        *configs
	id       int
	defaults string // folders, relative to that of plugins
	own      string // overrides; empty: none
}

// Config makes a config object of the folder config.
func (r *Runtime) Config() *goja.Object {
	return r.configs.object(&view{defaults: configFolder})
}

func (c *configs) object(v *view) *goja.Object {
	c.made++
	v.c, v.id = c, c.made
	vm := c.r.vm
	o := vm.NewObject()
	o.Set("root_path", path.Join(c.r.o.Folder, v.defaults))
	if v.own != "" {
		o.Set("overrides_path", path.Join(c.r.o.Folder, v.own))
	}
	for name, f := range map[string]func(goja.FunctionCall) goja.Value{
		"get":           v.jsGet,
		"getInt":        v.jsGetInt,
		"module_config": v.jsModuleConfig,
	} {
		hidden(o, name, vm.ToValue(f))
	}
	hide := c.r.modules.absent("config")
	hide(goja.FunctionCall{Arguments: []goja.Value{o, vm.ToValue([]string{"getDir", "stop_watching"})}})
	return o
}

// wanted is what a call of get asks for.
type wanted struct {
	name     string
	typ      string
	callback goja.Value
	booleans []string
	noWatch  bool
	noCache  bool
}

var configTypes = []string{"value", "list", "data", "ini", "json", "hjson", "yaml", "binary"}

// typeOf is the type that a name's end tells.
func typeOf(name string) string {
	ext := strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))
	switch ext {
	case "yml":
		return "yaml"
	case "pem", "bin":
		return "binary"
	}
	if slices.Contains(configTypes, ext) || ext == "js" {
		return ext
	}
	return "value"
}

// arrange sorts the arguments of get: (name[, type][, callback][, options]), in any order.
func (c *configs) arrange(call goja.FunctionCall) (w wanted) {
	r := c.r
	name := call.Argument(0)
	if goja.IsUndefined(name) || goja.IsNull(name) || name.String() == "" {
		r.throw("ERR_INVALID_ARG_TYPE", "config.get: the name of a settings file is missing")
	}
	w.name = name.String()
	for _, a := range rest(call, 1) {
		if goja.IsUndefined(a) || goja.IsNull(a) {
			continue
		}
		if _, ok := goja.AssertFunction(a); ok {
			w.callback = a
			continue
		}
		switch x := a.(type) {
		case *goja.Object:
			w.noWatch = truthy(x.Get("no_watch"))
			w.noCache = truthy(x.Get("no_cache"))
			if b := x.Get("booleans"); b != nil && !goja.IsUndefined(b) && !goja.IsNull(b) {
				if err := r.vm.ExportTo(b, &w.booleans); err != nil {
					r.throw("ERR_INVALID_ARG_TYPE", "config.get(%q): booleans is a list of names", w.name)
				}
			}
		case goja.String:
			w.typ = x.String()
		}
	}
	if w.typ == "" {
		w.typ = typeOf(w.name)
	}
	if w.typ == "js" {
		r.throw("ERR_INVALID_ARG_VALUE", "config.get(%q): settings are no scripts; there are %s (docs/scripts.md)", w.name, strings.Join(configTypes, ", "))
	}
	if !slices.Contains(configTypes, w.typ) {
		r.throw("ERR_INVALID_ARG_VALUE", "config.get(%q): unknown config type: %s; there are %s", w.name, w.typ, strings.Join(configTypes, ", "))
	}
	return w
}

func truthy(v goja.Value) bool { return v != nil && v.ToBoolean() }

func (v *view) jsGet(call goja.FunctionCall) goja.Value {
	return v.c.r.toJS(v.get(v.c.arrange(call)))
}

func (v *view) get(w wanted) any {
	if !v.c.loaded {
		v.c.loaded = true
		v.c.at(&view{c: v.c}, configFolder, wanted{name: "smtp.json", typ: "json"})
	}
	value, missing := v.c.at(v, v.defaults, w)
	if v.own != "" && v.own != v.defaults {
		if over, none := v.c.at(v, v.own, w); !none {
			value, missing = merge(value, over, w.typ), false
		}
	}
	if path.Base(w.name) == "me" && (missing || isEmpty(value)) {
		// Haraka's installation writes this file; without it, it is the host's name.
		value = any(v.c.r.hostname())
		if w.typ == "list" || w.typ == "data" {
			value = []any{value}
		}
	}
	return value
}

func isEmpty(v any) bool {
	l, ok := v.([]any)
	return v == nil || ok && len(l) == 0
}

// at is what the file of a folder says.
func (c *configs) at(v *view, folder string, w wanted) (value any, missing bool) {
	file, err := c.r.below(w.name, folder)
	if err == nil && !path.IsAbs(w.name) && file != folder && !strings.HasPrefix(file, folder+"/") {
		err = fmt.Errorf("config name '%s' escapes the config directory (%s)", w.name, path.Join(c.r.o.Folder, folder))
	}
	if err != nil {
		c.r.throw("EACCES", "config.get: %s", err)
	}
	if folder == configFolder {
		if o, ok := c.overrides[w.name]; ok {
			return o, false
		}
	}
	s := c.watch.setting(settingKey{file, w.typ, strings.Join(w.booleans, "\x00")}, w)
	if w.callback != nil && !w.noWatch {
		s.callbacks[v.id] = w.callback
	}
	if !s.read || w.noCache {
		if err := c.load(s); err != nil {
			c.r.o.Log(Line{Level: Error, Text: oneLine("config: " + err.Error())})
		}
	}
	return s.value, s.missing
}

// load reads the file of a setting. If it cannot be read, what was there stays, as
// does what a file that is not there gives, if nothing was.
func (c *configs) load(s *setting) error {
	c.watch.stamp(s)
	src, err := c.r.read(s.key.file, maxFile)
	name, typ := s.key.file, s.key.typ
	if errors.Is(err, fs.ErrNotExist) && (typ == "json" || typ == "hjson") {
		// YAML is easier to write: it is read in place of JSON that is not there.
		if yaml := strings.TrimSuffix(name, "."+typ) + ".yaml"; yaml != name {
			if b, e := c.r.read(yaml, maxFile); e == nil || !errors.Is(e, fs.ErrNotExist) {
				src, err, name, typ = b, e, yaml, "yaml"
			}
		}
	}
	var value any
	if err == nil {
		value, err = c.parse(name, typ, src, s.booleans)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.value, s.missing, s.read, err = empty(s.key.typ, s.booleans), true, true, nil
	case err != nil:
		if !s.read {
			s.value, s.missing, s.read = empty(s.key.typ, s.booleans), true, true
		}
		return err
	default:
		s.value, s.missing, s.read = value, false, true
	}
	c.override(s)
	return err
}

func (c *configs) parse(name, typ string, src []byte, booleans []string) (any, error) {
	switch typ {
	case "ini":
		return readINI(string(src), booleansOf(booleans), func(line int, text string) {
			c.r.o.Log(Line{Level: Warn, Text: oneLine(fmt.Sprintf("config: %s:%d: neither [section] nor key=value: %s", name, line, text))})
		}), nil
	case "list":
		return readList(string(src)), nil
	case "data":
		return readLines(string(src)), nil
	case "binary":
		return src, nil
	case "json":
		return readJSON(name, src)
	case "hjson":
		return readHjson(name, src)
	case "yaml":
		return readYAML(name, src)
	}
	return readValue(string(src), booleans), nil
}

// empty is what a file that is not there gives.
func empty(typ string, booleans []string) any {
	switch typ {
	case "ini":
		return emptyINI(booleansOf(booleans))
	case "json", "hjson", "yaml":
		return newObject()
	case "list", "data":
		return []any{}
	}
	return nil
}

// override takes what a JSON or YAML file says about other files: its keys !name.
func (c *configs) override(s *setting) {
	for _, name := range s.overrides {
		delete(c.overrides, name)
	}
	s.overrides = nil
	o, ok := s.value.(*object)
	if !ok || s.key.typ == "ini" {
		return
	}
	for _, k := range o.keys {
		if name, ok := strings.CutPrefix(k, "!"); ok {
			c.overrides[name] = o.get(k)
			s.overrides = append(s.overrides, name)
		}
	}
}

// merge lays overrides over defaults: key by key where both have keys, else whole, if
// there is anything.
func merge(defaults, own any, typ string) any {
	switch typ {
	case "ini", "json", "hjson", "yaml":
		return mergeKeys(defaults, own)
	}
	if isEmpty(own) {
		return defaults
	}
	return own
}

func mergeKeys(defaults, own any) any {
	d, ok := defaults.(*object)
	o, also := own.(*object)
	if !ok || !also {
		return own
	}
	out := newObject()
	for _, k := range d.keys {
		out.set(k, d.get(k))
	}
	for _, k := range o.keys {
		if d.has(k) {
			out.set(k, mergeKeys(d.get(k), o.get(k)))
		} else {
			out.set(k, o.get(k))
		}
	}
	return out
}

// jsGetInt is getInt(name, default).
func (v *view) jsGetInt(call goja.FunctionCall) goja.Value {
	if !truthy(call.Argument(0)) {
		return goja.NaN()
	}
	toInt, _ := goja.AssertFunction(v.c.r.vm.GlobalObject().Get("parseInt"))
	for _, x := range []goja.Value{v.c.r.toJS(v.get(wanted{name: call.Argument(0).String(), typ: "value"})), call.Argument(1)} {
		n, err := toInt(goja.Undefined(), x, v.c.r.vm.ToValue(10))
		if err == nil && n.ToFloat() == n.ToFloat() {
			return n
		}
	}
	return goja.NaN()
}

// jsModuleConfig is module_config(defaults, overrides): folders with a folder config
// in each, below that of plugins.
func (v *view) jsModuleConfig(call goja.FunctionCall) goja.Value {
	folder := func(a goja.Value) string {
		f, err := v.c.r.below(a.String(), "")
		if err != nil {
			v.c.r.throw("EACCES", "config.module_config: %s", err)
		}
		return path.Join(f, "config")
	}
	own := &view{defaults: folder(call.Argument(0))}
	if truthy(call.Argument(1)) {
		own.own = folder(call.Argument(1))
	}
	return v.c.object(own)
}
