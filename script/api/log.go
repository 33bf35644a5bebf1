package api

import (
	"strings"

	"github.com/dop251/goja"
)

// maxLine bounds one line of a script's in the log, in octets.
const maxLine = 8 << 10

// symID marks an object that lines may be about: its value is a function of Go's that
// tells the id.
var symID = goja.NewSymbol("id")

// AddLog puts loginfo and its kin to o. id tells what the lines are about when they
// are logged by o, or when o is among the arguments of somebody else's; nil: nothing.
func (r *Runtime) AddLog(o *goja.Object, id func(this *goja.Object) string) {
	if id != nil {
		o.SetSymbol(symID, r.vm.ToValue(&identity{id}))
	}
	for _, l := range levels {
		hidden(o, "log"+l.name, r.vm.ToValue(r.logger(l.level)))
	}
}

type identity struct{ of func(*goja.Object) string }

// logger is the function of one level, with Haraka's arguments: strings, the plugin,
// the connection or transaction, an Error and plain objects, in any order.
func (r *Runtime) logger(l Level) func(goja.FunctionCall) goja.Value {
	return func(c goja.FunctionCall) goja.Value {
		if !r.o.Enabled(l) {
			return goja.Undefined()
		}
		line := Line{Level: l}
		var text strings.Builder
		r.mention(&line, &text, c.This, true)
		for _, v := range c.Arguments {
			r.mention(&line, &text, v, false)
		}
		if line.Plugin == "" { // connection.loginfo('…') says only what it is about
			line.Plugin = r.running()
		}
		line.Text = oneLine(text.String())
		r.o.Log(line)
		return r.vm.ToValue(true)
	}
}

// mention takes what one argument says: whose line it is, what about, or its text.
func (r *Runtime) mention(line *Line, text *strings.Builder, v goja.Value, this bool) {
	o, ok := v.(*goja.Object)
	if !ok {
		if !this && v != nil && !goja.IsNull(v) && text.Len() <= maxLine {
			text.WriteString(v.String())
		}
		return
	}
	if s := o.GetSymbol(symID); s != nil {
		if id, ok := s.Export().(*identity); ok {
			line.ID = id.of(o)
			return
		}
	}
	if name, ok := pluginName(o); ok {
		line.Plugin = name
		return
	}
	if this || text.Len() > maxLine {
		return
	}
	switch {
	case o.ClassName() == "Error":
		space(text)
		text.WriteString(r.Fault(o).Error())
	case o.ClassName() == "Object" && isPlain(r, o):
		space(text)
		for i, key := range o.Keys() {
			if i > 0 {
				text.WriteByte(' ')
			}
			text.WriteString(key)
			text.WriteByte('=')
			text.WriteString(quoted(o.Get(key)))
			if text.Len() > maxLine {
				break
			}
		}
	default:
		text.WriteString(r.inspect(o))
	}
}

// isPlain tells whether o is an object as {} makes it, and no instance of a class.
func isPlain(r *Runtime, o *goja.Object) bool {
	p := o.Prototype()
	return p == nil || p == r.vm.GlobalObject().Get("Object").ToObject(r.vm).Get("prototype")
}

// inspect shows any value as util.inspect does.
func (r *Runtime) inspect(v goja.Value) string {
	util := r.modules.builtin("util").ToObject(r.vm)
	f, ok := goja.AssertFunction(util.Get("inspect"))
	if !ok {
		return v.String()
	}
	s, err := f(util, v)
	if err != nil {
		return "an object that cannot be shown"
	}
	return s.String()
}

func space(b *strings.Builder) {
	if s := b.String(); s != "" && !strings.HasSuffix(s, " ") {
		b.WriteByte(' ')
	}
}

// quoted is a value in key=value, with quotes where it needs them.
func quoted(v goja.Value) string {
	if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
		return `""`
	}
	s := v.String()
	if s == "" || strings.ContainsAny(s, " =\"\\\r\n") {
		return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\r", `\r`, "\n", `\n`).Replace(s) + `"`
	}
	return s
}

// oneLine keeps a script from making lines of its own in the log, and from long ones.
func oneLine(s string) string {
	gap := false
	s = strings.Map(func(c rune) rune {
		was := gap
		gap = c == '\n' || c == '\r' || c == '\t'
		switch {
		case gap && !was:
			return ' '
		case c < ' ' || c == 0x7f:
			return -1
		}
		return c
	}, strings.TrimRight(s, "\r\n"))
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + " …"
	}
	return s
}

// running is the file of the folder whose function runs, without .js: for most lines
// that do not say whose they are the plugin.
func (r *Runtime) running() string {
	for _, f := range r.vm.CaptureCallStack(20, nil) {
		if name, ok := strings.CutSuffix(f.SrcName(), ".js"); ok && !strings.HasPrefix(name, "tarishi:") {
			return name
		}
	}
	return ""
}

// nativeConsole gives the module console its way to the log.
func nativeConsole(r *Runtime) any {
	o := r.vm.NewObject()
	o.Set("log", func(level int, text string) {
		if r.o.Enabled(Level(level)) {
			r.o.Log(Line{Level: Level(level), Plugin: r.running(), Text: oneLine(text)})
		}
	})
	return o
}
