package worker

import (
	"mime"
	netmail "net/mail"
	"slices"
	"strings"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/script/frame"
)

// header is a header as scripts see it: every line ends in \n alone, as in Haraka.
type header struct {
	w      *worker
	fields []fieldLines
	object *goja.Object
	own    extras
}

// fieldLines is one field: its name in lower case, and all its lines.
type fieldLines struct{ name, raw string }

// parseHeader reads a header block.
func parseHeader(w *worker, block []byte) *header {
	h := &header{w: w}
	for line := range strings.Lines(string(block)) {
		line = strings.TrimRight(line, "\r\n") + "\n"
		if n := len(h.fields); n > 0 && (line[0] == ' ' || line[0] == '\t') {
			h.fields[n-1].raw += line
			continue
		}
		if line == "\n" {
			break
		}
		name, _, _ := strings.Cut(line, ":")
		h.fields = append(h.fields, fieldLines{strings.ToLower(strings.TrimRight(name, " \t")), line})
	}
	return h
}

func (h *header) apply(edits []frame.HeaderEdit) {
	for _, e := range edits {
		f := fieldLines{strings.ToLower(e.Name), e.Name + ": " + strings.TrimRight(strings.ReplaceAll(e.Value, "\r\n", "\n"), "\n") + "\n"}
		switch e.Kind {
		case frame.HeaderAdd:
			h.fields = append(h.fields, f)
		case frame.HeaderLead:
			h.fields = append([]fieldLines{f}, h.fields...)
		case frame.HeaderRemove:
			h.fields = slices.DeleteFunc(h.fields, func(x fieldLines) bool { return x.name == f.name })
		}
	}
}

func validName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' {
			return false
		}
	}
	return s != ""
}

// encoded is a value that can stand in a header (RFC 2047), if it is not ASCII.
func encoded(v string) string {
	for i := range len(v) {
		if v[i] >= 0x80 {
			return mime.QEncoding.Encode("UTF-8", v)
		}
	}
	return v
}

// all are the values of a name, from the top, with the line ends they stand with.
func (h *header) all(name string) (out []string) {
	name = strings.ToLower(name)
	for _, f := range h.fields {
		if f.name == name {
			_, v, _ := strings.Cut(f.raw, ":")
			out = append(out, strings.TrimLeft(v, " \t"))
		}
	}
	return out
}

var words = mime.WordDecoder{CharsetReader: charsetReader}

func decoded(v string) string {
	v = strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "").Replace(v))
	if out, err := words.DecodeHeader(v); err == nil {
		return out
	}
	return v
}

// octets is the header as it goes on a wire.
func (h *header) octets() []byte {
	var b strings.Builder
	for _, f := range h.fields {
		b.WriteString(strings.ReplaceAll(f.raw, "\n", "\r\n"))
	}
	return []byte(b.String())
}

func (h *header) lines() []string {
	out := make([]string, len(h.fields))
	for i, f := range h.fields {
		out[i] = f.raw
	}
	return out
}

func (h *header) value() *goja.Object {
	if h.object == nil {
		h.object = h.w.vm.NewDynamicObject(h)
		h.object.SetPrototype(h.w.protos.header)
	}
	return h.object
}

// Get is one property.
func (h *header) Get(key string) goja.Value {
	if key == "header_list" {
		return texts(h.w.vm, h.lines())
	}
	if v, ok := h.own[key]; ok {
		return v
	}
	return nil
}

// Set takes what a script sets.
func (h *header) Set(key string, v goja.Value) bool {
	if key == "header_list" {
		return false
	}
	h.own.set(key, v)
	return true
}

// Has tells whether there is such a property.
func (h *header) Has(key string) bool {
	_, ok := h.own[key]
	return ok || key == "header_list"
}

// Delete takes away what a script has put there.
func (h *header) Delete(key string) bool {
	delete(h.own, key)
	return key != "header_list"
}

// Keys lists the properties.
func (h *header) Keys() []string { return h.own.keys([]string{"header_list"}) }

func (w *worker) headerMethods() {
	vm := w.vm
	edit := func(kind byte) func(*header, goja.FunctionCall) goja.Value {
		return func(h *header, c goja.FunctionCall) goja.Value {
			value := ""
			if v := c.Argument(1); !goja.IsUndefined(v) {
				value = encoded(v.String())
			}
			h.apply([]frame.HeaderEdit{{Kind: kind, Name: c.Argument(0).String(), Value: value}})
			return goja.Undefined()
		}
	}
	methods(w, w.protos.header, map[string]func(*header, goja.FunctionCall) goja.Value{
		"get": func(h *header, c goja.FunctionCall) goja.Value {
			return vm.ToValue(strings.Join(h.all(c.Argument(0).String()), "\n"))
		},
		"get_all": func(h *header, c goja.FunctionCall) goja.Value {
			return texts(vm, h.all(c.Argument(0).String()))
		},
		"get_decoded": func(h *header, c goja.FunctionCall) goja.Value {
			all := h.all(c.Argument(0).String())
			for i := range all {
				all[i] = decoded(all[i])
			}
			return vm.ToValue(strings.Join(all, "\n"))
		},
		"get_addresses": func(h *header, c goja.FunctionCall) goja.Value { return h.addresses(c.Argument(0).String()) },
		"lines":         func(h *header, c goja.FunctionCall) goja.Value { return texts(vm, h.lines()) },
		"toString":      func(h *header, c goja.FunctionCall) goja.Value { return vm.ToValue(strings.Join(h.lines(), "")) },
		// These change what scripts see; transaction.add_header and its kin the message.
		"add":     edit(frame.HeaderLead),
		"add_end": edit(frame.HeaderAdd),
		"remove":  edit(frame.HeaderRemove),
	})
}

// addresses are those of a From, To, ... field; malformed ones throw.
func (h *header) addresses(name string) goja.Value {
	vm := h.w.vm
	parser := netmail.AddressParser{WordDecoder: &words}
	var out []any
	for _, v := range h.all(name) {
		list, err := parser.ParseList(strings.ReplaceAll(strings.TrimSpace(v), "\n", ""))
		if err != nil {
			h.w.throw("field %s: %v", name, err)
		}
		for _, a := range list {
			o := vm.NewObject()
			o.Set("address", a.Address)
			o.Set("phrase", a.Name)
			user, host, _ := strings.Cut(a.Address, "@")
			if i := strings.LastIndexByte(a.Address, '@'); i >= 0 {
				user, host = a.Address[:i], a.Address[i+1:]
			}
			o.Set("user", user)
			o.Set("host", host)
			out = append(out, o)
		}
	}
	return vm.NewArray(out...)
}
