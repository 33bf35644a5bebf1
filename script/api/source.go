package api

import (
	"fmt"
	"path"
	"reflect"
	"strings"

	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/parser"
)

// A script's file becomes a function, as in Node. It stands on one line with the
// script's first one, so that lines in messages are those of the file.
const (
	wrapHead = "(function(exports,require,module,__filename,__dirname){\"use strict\";"
	wrapTail = "\n})"
)

// compile makes a program of a script's file. Modules that scripts do not have are
// refused here, by name, wherever in the file they are asked for: a plugin that could
// fail at the first message is not loaded. Who asks inside try is prepared for a
// refusal, and gets it when the line runs.
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
	w := &walker{seen: map[any]bool{}, require: func(module string, at int) {
		if err == nil && !m.known(module, path.Dir(name)) {
			pos := tree.File.Position(at - tree.File.Base())
			err = fmt.Errorf("%s:%d: %s", name, pos.Line, m.refusal(module))
		}
	}}
	w.walk(reflect.ValueOf(tree.Body), false)
	if err != nil {
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

// addressCall takes the place of the name in x.address(…). Of the addresses that
// Haraka hands to plugins, address was a method once and is a string today, and
// plugins of both times are in use. Reading address gives the string; calling it
// comes to this method of all objects, which does as the old one did.
const addressCall = "addre$$"

// walker goes through a program's tree.
type walker struct {
	seen    map[any]bool
	require func(module string, at int)
	calls   []int // where the name stands in x.address(…)
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
	switch f := callee.(type) {
	case *ast.Identifier:
		if f.Name == "require" && !tried && len(x.ArgumentList) > 0 {
			if s, ok := x.ArgumentList[0].(*ast.StringLiteral); ok {
				w.require(s.Value.String(), int(f.Idx))
			}
		}
	case *ast.DotExpression:
		if f.Identifier.Name == "address" {
			w.calls = append(w.calls, int(f.Identifier.Idx))
		}
	}
}
