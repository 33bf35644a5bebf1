package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/hjson/hjson-go/v4"

	"github.com/dop251/goja"
)

// What a settings file says is kept as Go values, and every get makes new objects of
// them: nobody changes what the others read. A value is nil, undefined, a bool, a
// float64, a string, []byte, []any or an *object.

// undefined is the value of a key without one.
type undefined struct{}

// object keeps its keys in the order of the file.
type object struct {
	keys   []string
	values map[string]any
}

func newObject() *object { return &object{values: map[string]any{}} }

func (o *object) get(key string) any { return o.values[key] }

func (o *object) has(key string) bool { _, ok := o.values[key]; return ok }

func (o *object) set(key string, v any) {
	if !o.has(key) {
		o.keys = append(o.keys, key)
	}
	o.values[key] = v
}

// section is the object at key, made if there is none.
func (o *object) section(key string) *object {
	if s, ok := o.values[key].(*object); ok {
		return s
	}
	s := newObject()
	o.set(key, s)
	return s
}

// maxNesting bounds how deep a settings file goes, and maxValues how much is in it:
// an alias in YAML can say the same again and again.
const (
	maxNesting = 100
	maxValues  = 1 << 20
)

var (
	errNesting = fmt.Errorf("nested deeper than %d", maxNesting)
	errValues  = fmt.Errorf("more than %d values", maxValues)
)

// toJS makes a script's value.
func (r *Runtime) toJS(v any) goja.Value {
	switch x := v.(type) {
	case nil:
		return goja.Null()
	case undefined:
		return goja.Undefined()
	case string:
		return asString(x)
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			return r.vm.ToValue(int64(x))
		}
		return r.vm.ToValue(x)
	case []byte:
		return r.Buffer(bytes.Clone(x))
	case []any:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = r.toJS(e)
		}
		return r.vm.NewArray(list...)
	case *object:
		o := r.vm.NewObject()
		for _, k := range x.keys {
			if k == "__proto__" { // it would become the object's prototype
				continue
			}
			o.Set(k, r.toJS(x.values[k]))
		}
		return o
	}
	return r.vm.ToValue(v)
}

// parseJSON makes a script's value of a JSON file.
func (r *Runtime) parseJSON(name string, src []byte) (goja.Value, error) {
	v, err := readJSON(name, src)
	if err != nil {
		return nil, err
	}
	return r.toJS(v), nil
}

// readJSON reads one JSON value; keys keep their order.
func readJSON(name string, src []byte) (any, error) {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	d := json.NewDecoder(bytes.NewReader(src))
	v, err := readToken(d, 0)
	if err == nil {
		if _, more := d.Token(); more == nil {
			err = errors.New("text behind the value")
		}
	}
	if err != nil {
		line := 1 + bytes.Count(src[:min(max(d.InputOffset(), 0), int64(len(src)))], []byte("\n"))
		return nil, fmt.Errorf("%s:%d: %w", name, line, err)
	}
	return v, nil
}

func readToken(d *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, errNesting
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := readToken(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	case json.Delim('{'):
		o := newObject()
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := readToken(d, depth+1)
			if err != nil {
				return nil, err
			}
			o.set(k.(string), v)
		}
		_, err = d.Token()
		return o, err
	}
	return t, nil // nil, bool, float64, string
}

// readYAML reads one YAML document.
func readYAML(name string, src []byte) (any, error) {
	if nesting(src) > maxBrackets {
		return nil, fmt.Errorf("%s: %w", name, errNesting)
	}
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", name, yaml.FormatError(err, false, false))
	}
	switch len(file.Docs) {
	case 0:
		return undefined{}, nil
	case 1:
	default:
		return nil, fmt.Errorf("%s: more than one document", name)
	}
	if err := bounded(file.Docs[0]); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var v any
	if err := yaml.UnmarshalWithOptions(src, &v, yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("%s: %s", name, yaml.FormatError(err, false, false))
	}
	n := 0
	out, err := fromYAML(v, 0, &n)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// bounded refuses what would become too deep or too much, before it is made. An alias
// counts as all that it stands for.
func bounded(doc ast.Node) error {
	sizes := map[string]int{} // of anchors
	var size func(n ast.Node, depth int) (int, error)
	size = func(n ast.Node, depth int) (total int, err error) {
		if depth > 2*maxNesting {
			return 0, errNesting
		}
		add := func(c ast.Node) error {
			if c == nil {
				return nil
			}
			k, err := size(c, depth+1)
			if total += k; err == nil && total > maxValues {
				err = errValues
			}
			return err
		}
		total = 1
		switch x := n.(type) {
		case *ast.DocumentNode:
			err = add(x.Body)
		case *ast.MappingNode:
			for _, v := range x.Values {
				if err = add(v); err != nil {
					return total, err
				}
			}
		case *ast.MappingValueNode:
			err = add(x.Value)
		case *ast.SequenceNode:
			for _, v := range x.Values {
				if err = add(v); err != nil {
					return total, err
				}
			}
		case *ast.AnchorNode:
			err = add(x.Value)
			sizes[x.Name.String()] = total
		case *ast.AliasNode:
			total += sizes[x.Value.String()]
		case *ast.TagNode:
			err = add(x.Value)
		}
		return total, err
	}
	total, err := size(doc, 0)
	if err == nil && total > maxValues {
		err = errValues
	}
	return err
}

func fromYAML(v any, depth int, count *int) (any, error) {
	if *count++; *count > maxValues {
		return nil, errValues
	}
	if depth > maxNesting {
		return nil, errNesting
	}
	switch x := v.(type) {
	case yaml.MapSlice:
		o := newObject()
		for _, item := range x {
			e, err := fromYAML(item.Value, depth+1, count)
			if err != nil {
				return nil, err
			}
			o.set(fmt.Sprint(item.Key), e)
		}
		return o, nil
	case []any:
		list := make([]any, len(x))
		for i, e := range x {
			var err error
			if list[i], err = fromYAML(e, depth+1, count); err != nil {
				return nil, err
			}
		}
		return list, nil
	case uint64:
		return float64(x), nil
	case int64:
		return float64(x), nil
	case int:
		return float64(x), nil
	case float64, bool, string, nil:
		return x, nil
	}
	return fmt.Sprint(v), nil
}

// readHjson reads Hjson.
func readHjson(name string, src []byte) (any, error) {
	if nesting(src) > maxBrackets {
		return nil, fmt.Errorf("%s: %w", name, errNesting)
	}
	var v any
	o := hjson.DefaultDecoderOptions()
	o.UseJSONNumber = false
	var root hjson.OrderedMap
	if err := hjson.UnmarshalWithOptions(src, &root, o); err == nil {
		v = &root
	} else if err := hjson.UnmarshalWithOptions(src, &v, o); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out, err := fromHjson(v, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// maxBrackets is how many brackets may be open for a parser to be let loose on a text,
// as parsers go as deep. Brackets in text count too, so it is far more than maxNesting.
const maxBrackets = 20000

// nesting is at most how deep the brackets go.
func nesting(src []byte) int {
	depth, most := 0, 0
	for _, c := range src {
		switch c {
		case '{', '[':
			depth++
			most = max(most, depth)
		case '}', ']':
			depth = max(depth-1, 0)
		}
	}
	return most
}

func fromHjson(v any, depth int) (any, error) {
	if depth > maxNesting {
		return nil, errNesting
	}
	switch x := v.(type) {
	case *hjson.OrderedMap:
		o := newObject()
		for _, k := range x.Keys {
			e, err := fromHjson(x.Map[k], depth+1)
			if err != nil {
				return nil, err
			}
			o.set(k, e)
		}
		return o, nil
	case map[string]any: // below a list, where the library keeps no order
		o := newObject()
		for _, k := range slices.Sorted(maps.Keys(x)) {
			e, err := fromHjson(x[k], depth+1)
			if err != nil {
				return nil, err
			}
			o.set(k, e)
		}
		return o, nil
	case []any:
		list := make([]any, len(x))
		for i, e := range x {
			var err error
			if list[i], err = fromHjson(e, depth+1); err != nil {
				return nil, err
			}
		}
		return list, nil
	case json.Number:
		if f, err := strconv.ParseFloat(x.String(), 64); err == nil {
			return f, nil
		}
		return x.String(), nil
	}
	return v, nil
}
