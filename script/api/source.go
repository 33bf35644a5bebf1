package api

import (
	"fmt"
	"path"
	"reflect"
	"strings"

	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/file"
	"github.com/dop251/goja/parser"
)

// A script's file becomes a function, as in Node. It stands on one line with the
// script's first one, so that lines in messages are those of the file.
const (
	wrapHead = "(function(exports,require,module,__filename,__dirname){\"use strict\";"
	wrapTail = "\n})"
)

// compile makes a program of a script's file. Modules that scripts do not have, and
// what modules lack here, are refused by name, wherever in the file they are asked
// for: a plugin that could fail at the first message is not loaded. Who asks inside
// try is prepared for a refusal, and gets it when the line runs.
func (m *modules) compile(name string, src []byte) (*goja.Program, error) {
	if len(src) > maxSource {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, maxSource>>20)
	}
	text := string(src)
	if strings.HasPrefix(text, "#!") {
		text = "//" + text[2:]
	}
	text = strings.TrimPrefix(text, "\ufeff")
	whole := wrapHead + text + wrapTail
	tree, err := goja.Parse(name, whole, parser.WithDisableSourceMaps)
	if err != nil {
		return nil, err
	}
	w := &walker{seen: map[any]bool{}, bound: map[string]string{}, times: map[string]int{}}
	w.walk(reflect.ValueOf(tree.Body), false)
	if err := m.check(w, name, func(at file.Idx) int { return tree.File.Position(int(at) - tree.File.Base()).Line }); err != nil {
		return nil, err
	}
	if len(w.calls) > 0 {
		// Nothing moves: the new name is as long as the old.
		octets := []byte(whole)
		for _, at := range w.calls {
			at -= tree.File.Base()
			if at >= 0 && at+len(addressCall) <= len(octets) && string(octets[at:at+len(addressCall)]) == "address" {
				copy(octets[at:], addressCall)
			}
		}
		if tree, err = goja.Parse(name, string(octets), parser.WithDisableSourceMaps); err != nil {
			return nil, err
		}
	}
	return goja.CompileAST(tree, false)
}

// check refuses what scripts do not have, by file and line.
func (m *modules) check(w *walker, name string, line func(file.Idx) int) error {
	for _, q := range w.requires {
		if !m.known(q.module, path.Dir(name)) {
			return fmt.Errorf("%s:%d: %s", name, line(q.at), m.refusal(q.module))
		}
	}
	for _, u := range w.uses {
		module := u.module
		if module == "" && w.times[u.variable] == 1 { // the name means nothing else in this file
			module = w.bound[u.variable]
		}
		if module == "" && w.times[u.variable] == 0 && (u.variable == "process" || u.variable == "console") {
			module = u.variable
		}
		b, ok := m.builtinName(module)
		if !ok {
			continue
		}
		var lacks bool
		if ex := m.r.vm.Try(func() { m.builtin(b); lacks = m.lacks[b+"."+u.member] }); ex != nil {
			return ex
		}
		if lacks {
			return fmt.Errorf("%s:%d: %s", name, line(u.at), lacking(b, u.member))
		}
	}
	return nil
}

// lacking is the refusal of a function that a module has in Node and not here.
func lacking(module, member string) string {
	return module + "." + member + ": scripts do not have it (docs/scripts.md)"
}

// addressCall takes the place of the name in x.address(…). Of the addresses that
// Haraka hands to plugins, address was a method once and is a string today, and
// plugins of both times are in use. Reading address gives the string; calling it
// comes to this method of all objects, which does as the old one did.
const addressCall = "addre$$"

// walker goes through a program's tree, and notes what is asked for outside of try.
type walker struct {
	seen     map[any]bool
	requires []required
	uses     []use
	bound    map[string]string // const fs = require('node:fs'): variable → module
	times    map[string]int    // how often a variable or parameter of a name is declared
	calls    []int             // where the name stands in x.address(…)
}

type required struct {
	module string
	at     file.Idx
}

// use is variable.member, or require(module).member.
type use struct {
	variable, module, member string
	at                       file.Idx
}

var nodes = reflect.TypeFor[ast.Node]().PkgPath()

// walk visits v and what is below. tried: inside a try statement's block.
func (w *walker) walk(v reflect.Value, tried bool) {
	switch v.Kind() {
	case reflect.Interface:
		w.walk(v.Elem(), tried)
	case reflect.Slice:
		for i := range v.Len() {
			w.walk(v.Index(i), tried)
		}
	case reflect.Pointer:
		if v.IsNil() || v.Type().Elem().PkgPath() != nodes || w.seen[v.Interface()] {
			return
		}
		w.seen[v.Interface()] = true
		switch x := v.Interface().(type) {
		case *ast.CallExpression:
			w.call(x, tried)
		case *ast.Binding:
			if id, ok := x.Target.(*ast.Identifier); ok {
				w.times[id.Name.String()]++
				if module, ok := requireOf(x.Initializer); ok {
					w.bound[id.Name.String()] = module
				}
			}
		case *ast.DotExpression:
			u := use{member: x.Identifier.Name.String(), at: x.Identifier.Idx}
			left := x.Left
			if o, ok := left.(*ast.Optional); ok {
				left = o.Expression
			}
			if id, ok := left.(*ast.Identifier); ok {
				u.variable = id.Name.String()
			} else if u.module, ok = requireOf(left); !ok {
				break
			}
			if !tried {
				w.uses = append(w.uses, u)
			}
		case *ast.TryStatement:
			w.walk(reflect.ValueOf(x.Body), true)
			w.walk(reflect.ValueOf(x.Catch), tried)
			w.walk(reflect.ValueOf(x.Finally), tried)
			return
		}
		w.walk(v.Elem(), tried)
	case reflect.Struct:
		if v.Type().PkgPath() != nodes {
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				w.walk(v.Field(i), tried)
			}
		}
	}
}

func (w *walker) call(x *ast.CallExpression, tried bool) {
	callee := x.Callee
	if o, ok := callee.(*ast.Optional); ok {
		callee = o.Expression
	}
	if f, ok := callee.(*ast.DotExpression); ok && f.Identifier.Name == "address" {
		w.calls = append(w.calls, int(f.Identifier.Idx))
	}
	if module, ok := requireOf(x); ok && !tried {
		w.requires = append(w.requires, required{module, x.Callee.Idx0()})
	}
}

// requireOf is the module of require('module').
func requireOf(x ast.Expression) (string, bool) {
	c, ok := x.(*ast.CallExpression)
	if !ok || len(c.ArgumentList) == 0 {
		return "", false
	}
	if f, ok := c.Callee.(*ast.Identifier); !ok || f.Name != "require" {
		return "", false
	}
	s, ok := c.ArgumentList[0].(*ast.StringLiteral)
	if !ok {
		return "", false
	}
	return s.Value.String(), true
}
