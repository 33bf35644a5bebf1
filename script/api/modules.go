package api

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/dop251/goja"
)

// Bounds of what a script may load.
const (
	maxSource = 4 << 20  // octets of a script's file
	maxFile   = 16 << 20 // octets of any other file
)

// modules are what require gives.
type modules struct {
	r      *Runtime
	has    map[string]builtin
	lacks  map[string]bool         // module.name that Node has
	loaded map[string]*goja.Object // "node:NAME" and "/PATH" below the folder → module
}

func newModules(r *Runtime) *modules {
	return &modules{r: r, has: builtins(), lacks: map[string]bool{}, loaded: map[string]*goja.Object{}}
}

// builtinName is the name of a built-in module as scripts write it.
func (m *modules) builtinName(name string) (string, bool) {
	short, node := strings.CutPrefix(name, "node:")
	b, ok := m.has[short]
	if node && (strings.HasPrefix(short, "haraka-") || short == "address-rfc2821") {
		return "", false
	}
	return short, ok && !b.inner
}

// refusal says why there is no such module.
func (m *modules) refusal(name string) string {
	if isPath(name) {
		bare := strings.TrimSuffix(path.Base(name), ".js")
		if why, ok := harakas[bare]; ok && why != "" {
			return fmt.Sprintf("require(%q): %s (docs/scripts.md)", name, why)
		}
		return fmt.Sprintf("require(%q): there is no such file below the folder of plugins", name)
	}
	why := harakas[strings.TrimPrefix(name, "node:")]
	if why != "" {
		why = ": " + why
	}
	return fmt.Sprintf("require(%q): scripts do not have this module%s; they have %s (docs/scripts.md)", name, why, strings.Join(Names(), ", "))
}

func isPath(name string) bool {
	return name == "." || name == ".." || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") || strings.HasPrefix(name, "/")
}

// known tells whether require(name) in a file of the folder dir can give something.
func (m *modules) known(name, dir string) bool {
	if _, ok := m.builtinName(name); ok {
		return true
	}
	if !isPath(name) {
		return false
	}
	if _, ok := coreName(name); ok {
		return true
	}
	_, err := m.find(name, dir)
	return err == nil
}

// coreName is the module of Haraka's own that ./name and haraka_require(name) mean.
func coreName(name string) (string, bool) {
	c, ok := cores[strings.TrimSuffix(strings.TrimPrefix(name, "./"), ".js")]
	return c, ok
}

// Require gives a module, as a script in the folder itself gets it.
func (r *Runtime) Require(name string) (goja.Value, error) {
	var v goja.Value
	if ex := r.vm.Try(func() { v = r.modules.require(name, "") }); ex != nil {
		return nil, ex
	}
	return v, nil
}

// requireInner is the function require of a built-in module.
func (m *modules) requireInner(c goja.FunctionCall) goja.Value {
	return m.builtin(c.Argument(0).String())
}

// requireFor is the function require of a file in the folder dir.
func (m *modules) requireFor(dir string) func(goja.FunctionCall) goja.Value {
	return func(c goja.FunctionCall) goja.Value { return m.require(c.Argument(0).String(), dir) }
}

// require gives a module's exports, or throws.
func (m *modules) require(name, dir string) goja.Value {
	if b, ok := m.builtinName(name); ok {
		return m.builtin(b)
	}
	if !isPath(name) {
		m.r.throw("MODULE_NOT_FOUND", "%s", m.refusal(name))
	}
	if c, ok := coreName(name); ok {
		return m.builtin(c)
	}
	file, err := m.find(name, dir)
	if err != nil {
		m.r.throw("MODULE_NOT_FOUND", "%s", m.refusal(name))
	}
	return m.file(file)
}

// builtin gives a built-in module.
func (m *modules) builtin(name string) goja.Value {
	key := "node:" + name
	if mod := m.loaded[key]; mod != nil {
		return mod.Get("exports")
	}
	b := m.has[name]
	var native any
	if b.native != nil {
		native = b.native(m.r)
	}
	mod := m.r.vm.NewObject()
	if !b.source {
		mod.Set("exports", native)
		m.loaded[key] = mod
		return mod.Get("exports")
	}
	exports := m.r.vm.NewObject()
	mod.Set("exports", exports)
	m.loaded[key] = mod
	p, err := builtinProgram(name)
	if err == nil {
		var f goja.Value
		if f, err = m.r.vm.RunProgram(p); err == nil {
			err = m.r.call(f, goja.Undefined(), exports, m.r.vm.ToValue(m.requireInner), mod, m.r.vm.ToValue(native), m.r.vm.ToValue(m.absent(name)))
		}
	}
	if err != nil {
		delete(m.loaded, key)
		m.rethrow(err)
	}
	return mod.Get("exports")
}

// absent marks what the module has in Node and not here: to ask for it is refused by
// name, so that nobody finds out from "undefined is not a function" at a message.
func (m *modules) absent(module string) func(goja.FunctionCall) goja.Value {
	return func(c goja.FunctionCall) goja.Value {
		o := c.Argument(0).ToObject(m.r.vm)
		var names []string
		if err := m.r.vm.ExportTo(c.Argument(1), &names); err != nil {
			panic(m.r.vm.NewTypeError(err.Error()))
		}
		for _, name := range names {
			refuse := m.r.vm.ToValue(func(goja.FunctionCall) goja.Value {
				m.r.throw("ERR_METHOD_NOT_IMPLEMENTED", "%s", lacking(module, name))
				return nil
			})
			if mod := m.loaded["node:"+module]; mod != nil && o.SameAs(mod.Get("exports")) {
				m.lacks[module+"."+name] = true
			}
			o.DefineAccessorProperty(name, refuse, nil, goja.FLAG_TRUE, goja.FLAG_FALSE)
		}
		return goja.Undefined()
	}
}

// rethrow throws what went wrong below once more.
func (m *modules) rethrow(err error) {
	var ex *goja.Exception
	if errors.As(err, &ex) {
		panic(ex.Value())
	}
	var stop *goja.InterruptedError
	if errors.As(err, &stop) {
		panic(stop)
	}
	m.r.throw("", "%s", err)
}

// find is the file that require(name) means in the folder dir: relative to the
// folder of plugins, with slashes.
func (m *modules) find(name, dir string) (string, error) {
	if m.r.root == nil {
		return "", fs.ErrNotExist
	}
	file, err := m.r.below(name, dir)
	if err != nil {
		return "", err
	}
	for _, f := range []string{file, file + ".js", file + ".json", path.Join(file, "index.js")} {
		if s, err := m.r.root.Stat(f); err == nil && s.Mode().IsRegular() {
			return f, nil
		}
	}
	return "", fs.ErrNotExist
}

// file gives what a file below the folder exports.
func (m *modules) file(file string) goja.Value {
	if mod := m.loaded["/"+file]; mod != nil {
		return mod.Get("exports")
	}
	src, err := m.r.read(file, maxSource)
	if err != nil {
		m.r.throw("", "%s", err)
	}
	mod := m.r.vm.NewObject()
	m.loaded["/"+file] = mod
	if path.Ext(file) == ".json" {
		v, err := m.r.parseJSON(file, src)
		if err != nil {
			delete(m.loaded, "/"+file)
			m.r.throw("", "%s", err)
		}
		mod.Set("exports", v)
		return v
	}
	exports := m.r.vm.NewObject()
	mod.Set("exports", exports)
	if err := m.run(file, src, exports, exports, mod); err != nil {
		delete(m.loaded, "/"+file)
		m.rethrow(err)
	}
	return mod.Get("exports")
}

// run runs a script's file with its scope.
func (m *modules) run(file string, src []byte, this, exports goja.Value, mod *goja.Object) error {
	full := path.Join(m.r.o.Folder, file)
	p, err := m.compile(file, src)
	if err != nil {
		return err
	}
	f, err := m.r.vm.RunProgram(p)
	if err != nil {
		return err
	}
	vm := m.r.vm
	return m.r.call(f, this, exports, vm.ToValue(m.requireFor(path.Dir(file))), mod, vm.ToValue(full), vm.ToValue(path.Dir(full)))
}

// below makes of a name a path below the folder of plugins, relative to it. Whether
// links lead out is for the os.Root to see.
func (r *Runtime) below(name, dir string) (string, error) {
	if !path.IsAbs(name) {
		name = path.Join(r.o.Folder, dir, name)
	}
	name = path.Clean(name)
	if name == path.Clean(r.o.Folder) {
		return ".", nil
	}
	rel, ok := strings.CutPrefix(name, path.Clean(r.o.Folder)+"/")
	if !ok {
		return "", fmt.Errorf("%s: scripts see only what is below %s", name, r.o.Folder)
	}
	return rel, nil
}

// read reads a file below the folder, if it has at most so many octets.
func (r *Runtime) read(file string, limit int64) ([]byte, error) {
	if r.root == nil {
		return nil, &fs.PathError{Op: "open", Path: file, Err: fs.ErrNotExist}
	}
	// Asked before it is opened: opening a pipe would wait for its other end.
	s, err := r.root.Stat(file)
	if err != nil {
		return nil, err
	}
	if s.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: file, Err: errIsDir}
	}
	if !s.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: file, Err: errors.New("no regular file")}
	}
	f, err := r.root.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = &fs.PathError{Op: "read", Path: file, Err: fmt.Errorf("larger than %d MiB", limit>>20)}
	}
	return b, err
}
