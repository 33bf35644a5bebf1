package daemon

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/tarishi/tarishi/internal/nearest"
	"github.com/tarishi/tarishi/shaping"
)

// loader collects what was read, where it stood, and what was wrong with it.
type loader struct {
	file     string
	env      string            // name of the variable being read; empty: the file
	where    map[string]string // path → "file:line" or "TARISHI_X", for messages of later checks
	lines    map[string]int    // path → order of the fault
	problems Problems
}

func (l *loader) place(line int) string {
	if l.env != "" {
		return l.env
	}
	return fmt.Sprintf("%s:%d", l.file, line)
}

// bad records a fault at a place in the source being read.
func (l *loader) bad(line int, field, what, mend string) {
	order := line
	if l.env != "" {
		order = 1 << 30
	}
	l.problems = append(l.problems, &Problem{Where: l.place(line), Field: field, What: what, Mend: mend, order: order})
}

// mark remembers where a path was set.
func (l *loader) mark(path string, line int) {
	if l.lines == nil {
		l.lines = map[string]int{}
	}
	l.where[path] = l.place(line)
	l.lines[path] = line
	if l.env != "" {
		l.lines[path] = 1 << 30
	}
}

// decodeFile reads the YAML document into c.
func (l *loader) decodeFile(src []byte, c *Config) {
	if node := l.parse(src); node != nil {
		l.section(node, reflect.ValueOf(c).Elem(), "")
	}
}

// parse returns the single document of src, or nil when it is empty or bad.
func (l *loader) parse(src []byte) ast.Node {
	// Duplicate keys are found by us, to say where the first one stands.
	f, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, what := 1, err.Error()
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			what = syntax.Message
			if syntax.Token != nil {
				line = syntax.Token.Position.Line
			}
		}
		what, _, _ = strings.Cut(what, "\n")
		l.bad(line, "", "not YAML: "+what, "")
		return nil
	}
	var body ast.Node
	for _, d := range f.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			l.bad(lineOf(d.Body), "", "a second YAML document", "keep everything in one, without ---")
			return nil
		}
		body = d.Body
	}
	return body
}

// section reads a mapping into a struct.
func (l *loader) section(node ast.Node, v reflect.Value, path string) {
	pairs, ok := l.pairs(node, path, "keys and values")
	if !ok {
		return
	}
	keys := keysOf(v, path)
	for _, p := range pairs {
		k, known := find(keys, p.name)
		if !known {
			l.unknown(p, keys, path)
			continue
		}
		l.mark(k.path, p.line)
		l.value(p.value, k.value, k)
	}
	for _, k := range keys {
		if k.tag.Get("required") != "" && k.value.IsZero() && len(l.problems) == 0 {
			l.bad(lineOf(node), k.path, "missing", k.doc())
		}
	}
}

// value reads one node into v; k gives its path and its rules.
func (l *loader) value(node ast.Node, v reflect.Value, k key) {
	switch n := node.(type) {
	case *ast.NullNode:
		return // "smtp:" with everything below it commented out: not set
	case *ast.AnchorNode, *ast.AliasNode:
		mend := "write the value out"
		if _, ok := n.(*ast.AliasNode); ok {
			mend = `write the value out, or put quotes round text that begins with *`
		}
		l.bad(lineOf(node), k.path, "YAML anchors and aliases are not understood", mend)
		return
	case *ast.TagNode:
		l.bad(lineOf(node), k.path, "YAML tags are not understood", "remove "+n.Start.Value)
		return
	}
	switch {
	case v.Type() == typeWindow && isScalar(node):
		l.window(node, v.Addr().Interface().(*Window), k)
	case v.Type() == typeRun && isScalar(node):
		l.pluginRun(node, v, k)
	case v.Type() == typeSettings:
		l.settings(node, v, k)
	case k.isSection():
		l.section(node, v, k.path)
	case v.Kind() == reflect.Map:
		l.named(node, v, k)
	case v.Kind() == reflect.Slice:
		l.list(node, v, k)
	default:
		text, ok := scalarText(node)
		if !ok {
			mend := ""
			if shape(node) == "keys and values" && v.Kind() == reflect.String {
				mend = "put quotes round text that holds a colon"
			}
			l.bad(lineOf(node), k.path, "wants "+wants(v.Type())+", not "+shape(node), mend)
			return
		}
		l.scalar(lineOf(node), text, v, k)
	}
}

// window reads the short form of a window, "1000/1h".
func (l *loader) window(node ast.Node, w *Window, k key) {
	text, _ := scalarText(node)
	v, err := shaping.ParseWindow(text)
	if err != nil {
		l.bad(lineOf(node), k.path, err.Error(), "")
		return
	}
	w.Max, w.Window = &v.Max, v.Length
}

func isScalar(node ast.Node) bool {
	_, ok := scalarText(node)
	return ok
}

// decodeRules reads a list of limits, with or without the key limits above it.
func (l *loader) decodeRules(src []byte, into *[]Limit) {
	node := l.parse(src)
	if node == nil {
		return
	}
	k := key{name: "limits", path: "limits", value: reflect.ValueOf(into).Elem()}
	if _, bare := node.(*ast.SequenceNode); bare {
		l.value(node, k.value, k)
		return
	}
	doc := struct {
		Limits []Limit `yaml:"limits" doc:"How much one destination is sent."`
	}{}
	l.section(node, reflect.ValueOf(&doc).Elem(), "")
	*into = doc.Limits
}

// scalar sets one value and checks it against the key's own rules.
func (l *loader) scalar(line int, text string, v reflect.Value, k key) {
	if err := setScalar(v, text); err != nil {
		l.bad(line, k.path, fmt.Sprintf("%q %s", text, err), "")
		return
	}
	if what, mend := checkValue(v, text, k.tag); what != "" {
		l.bad(line, k.path, what, mend)
	}
}

// list reads a sequence. It replaces the default, it does not add to it.
func (l *loader) list(node ast.Node, v reflect.Value, k key) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		mend := ""
		if text, scalar := scalarText(node); scalar && !k.isCompound() {
			mend = fmt.Sprintf("write [%q]", text)
		}
		l.bad(lineOf(node), k.path, "wants a list, not "+shape(node), mend)
		return
	}
	out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		e := key{name: k.name, path: fmt.Sprintf("%s[%d]", k.path, i), tag: k.tag, value: out.Index(i)}
		l.mark(e.path, lineOf(item))
		if _, empty := item.(*ast.NullNode); empty {
			l.bad(lineOf(item), e.path, "is empty", "write it, or take its dash away")
			continue
		}
		l.value(item, e.value, e)
	}
	v.Set(out)
}

// named reads a mapping from names to structs.
func (l *loader) named(node ast.Node, v reflect.Value, k key) {
	pairs, ok := l.pairs(node, k.path, "names with keys and values")
	if !ok {
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(pairs))
	for _, p := range pairs {
		e := key{name: p.name, path: join(k.path, p.name), value: reflect.New(v.Type().Elem()).Elem()}
		l.mark(e.path, p.line)
		l.value(p.value, e.value, e)
		out.SetMapIndex(reflect.ValueOf(p.name), e.value)
	}
	v.Set(out)
}

// pair is one "key: value" of a mapping.
type pair struct {
	name  string
	line  int
	value ast.Node
}

// pairs takes a mapping apart; keys that are no text, or stand twice, are faults.
func (l *loader) pairs(node ast.Node, path, want string) ([]pair, bool) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return nil, true
	default:
		l.bad(lineOf(node), path, "wants "+want+", not "+shape(node), "")
		return nil, false
	}
	out := make([]pair, 0, len(values))
	first := map[string]int{}
	for _, mv := range values {
		name, ok := scalarText(mv.Key)
		line := lineOf(mv.Key)
		if !ok {
			l.bad(line, path, "a key that is no plain name", "YAML merge keys, anchors and tags are not understood")
			continue
		}
		if at, twice := first[name]; twice {
			what := fmt.Sprintf("key %q stands twice", name)
			if l.env == "" {
				what += fmt.Sprintf(" (first in line %d)", at)
			}
			l.bad(line, path, what, "keep one")
			continue
		}
		first[name] = line
		out = append(out, pair{name, line, mv.Value})
	}
	return out, true
}

// unknown reports a key nobody declared, with the one that was probably meant.
func (l *loader) unknown(p pair, keys []key, path string) {
	what := fmt.Sprintf("unknown key %q", p.name)
	if path != "" {
		what += " in " + path
	}
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	mend := "keys here: " + strings.Join(names, ", ")
	if n := nearest.To(p.name, names); n != "" {
		mend = fmt.Sprintf("did you mean %q?", n)
	} else if home := homeOf(p.name); home != "" && home != join(path, p.name) {
		mend = fmt.Sprintf("did you mean %s?", home)
	}
	l.bad(p.line, "", what, mend)
}

// homeOf finds the section a key really lives in: relay_from → smtp.relay_from.
func homeOf(name string) string {
	var c Config
	for _, k := range leaves(reflect.ValueOf(&c).Elem(), "") {
		if k.name == name {
			return k.path
		}
	}
	return ""
}

func find(keys []key, name string) (key, bool) {
	for _, k := range keys {
		if k.name == name {
			return k, true
		}
	}
	return key{}, false
}

// scalarText returns the text of a scalar as the operator wrote it (1_000 stays
// 1_000), without quotes.
func scalarText(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	default:
		return "", false
	}
}

// shape names what was found, for "wants X, not Y".
func shape(node ast.Node) string {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	default:
		if text, ok := scalarText(node); ok {
			return fmt.Sprintf("%q", text)
		}
		return "this"
	}
}

// lineOf is the line a node begins on. A block mapping's own token is its first
// colon, so the first key is asked instead.
func lineOf(node ast.Node) int {
	var t *token.Token
	switch n := node.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			return lineOf(n.Values[0].Key)
		}
		t = n.Start
	case *ast.MappingValueNode:
		return lineOf(n.Key)
	default:
		t = node.GetToken()
	}
	if t == nil || t.Position == nil {
		return 1
	}
	return t.Position.Line
}
