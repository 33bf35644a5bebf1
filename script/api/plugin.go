package api

import (
	"fmt"
	"path/filepath"

	"github.com/dop251/goja"
)

// Plugin runs a plugin's file. What comes back is what "this" is in its functions:
// its exports, with name, config, haraka_require and the log functions. The file
// stands below the folder.
func (r *Runtime) Plugin(name, file string) (*goja.Object, error) {
	file, err := r.below(filepath.ToSlash(file), "")
	if err != nil {
		return nil, err
	}
	src, err := r.read(file, maxSource)
	if err != nil {
		return nil, err
	}
	// The functions stand in a prototype, so that exports of the same name win, and
	// that who lists a plugin's own functions sees only these.
	base := r.vm.NewObject()
	r.AddLog(base, nil)
	for key, v := range map[string]any{
		"haraka_require": func(c goja.FunctionCall) goja.Value { return r.core(c.Argument(0).String()) },
		"register":       func(goja.FunctionCall) goja.Value { return goja.Undefined() },
	} {
		if err := hidden(base, key, r.vm.ToValue(v)); err != nil {
			return nil, err
		}
	}
	plugin := r.vm.NewObject()
	if err := plugin.SetPrototype(base); err != nil {
		return nil, err
	}
	for key, v := range map[string]any{"name": name, "config": r.Config(), "plugin_path": filepath.Join(r.o.Folder, file)} {
		if err := hidden(plugin, key, r.vm.ToValue(v)); err != nil {
			return nil, err
		}
	}
	if err := plugin.SetSymbol(symPlugin, name); err != nil {
		return nil, err
	}
	mod := r.vm.NewObject()
	mod.Set("exports", plugin)
	err = r.Turn(r.owner, func() error { return r.modules.run(file, src, plugin, plugin, mod) })
	if err != nil {
		return nil, err
	}
	// module.exports = {…} is taken as well: its functions become the plugin's.
	if own, ok := mod.Get("exports").(*goja.Object); ok && own != plugin {
		for _, key := range own.Keys() {
			if err := plugin.Set(key, own.Get(key)); err != nil {
				return nil, err
			}
		}
	}
	return plugin, nil
}

// symPlugin marks the object of a plugin, so that log functions know it anywhere
// among their arguments.
var symPlugin = goja.NewSymbol("plugin")

// pluginName is the name of the plugin that v is, if it is one.
func pluginName(v goja.Value) (string, bool) {
	if o, ok := v.(*goja.Object); ok {
		if s := o.GetSymbol(symPlugin); s != nil {
			return s.String(), true
		}
	}
	return "", false
}

// core gives a module as haraka_require names it: core modules of Haraka's, without ./.
func (r *Runtime) core(name string) goja.Value {
	if c, ok := coreName(name); ok {
		return r.modules.builtin(c)
	}
	if why := harakas[name]; why != "" {
		r.throw("MODULE_NOT_FOUND", "haraka_require(%q): %s (docs/scripts.md)", name, why)
	}
	r.throw("MODULE_NOT_FOUND", "haraka_require(%q): scripts do not have this module (docs/scripts.md)", name)
	return nil
}

// String makes a short name for messages.
func (l Level) String() string {
	for _, x := range levels {
		if x.level == l {
			return x.name
		}
	}
	return fmt.Sprintf("level %d", int8(l))
}
