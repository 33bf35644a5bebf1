package worker

import (
	"bytes"
	"errors"
	"slices"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/script/frame"
)

var errGone = errors.New("the message is not to be had: the hook has called next already")

// object is a part as scripts see it: Haraka's Body.
type object struct {
	w        *worker
	object   *goja.Object
	children *goja.Object
	own      extras
}

// value is the part for scripts.
func (p *part) value() *goja.Object {
	if p.bound.object == nil {
		p.bound.object = p.bound.w.vm.NewDynamicObject(p)
		p.bound.object.SetPrototype(p.bound.w.protos.body)
	}
	return p.bound.object
}

var partKeys = []string{"bodytext", "ct", "children", "header", "body_encoding", "is_html", "state"}

// Get is one property.
func (p *part) Get(key string) goja.Value {
	vm := p.bound.w.vm
	switch key {
	case "bodytext":
		return vm.ToValue(p.text)
	case "ct":
		return vm.ToValue(p.ct)
	case "children":
		if p.bound.children == nil {
			values := make([]any, len(p.children))
			for i, c := range p.children {
				values[i] = c.value()
			}
			p.bound.children = vm.NewArray(values...)
		}
		return p.bound.children
	case "header":
		return p.header.value()
	case "body_encoding":
		return vm.ToValue(p.charset)
	case "is_html":
		return vm.ToValue(p.kind == "text/html")
	case "state":
		if p.attachment {
			return vm.ToValue("attachment")
		}
		return vm.ToValue("end")
	}
	if v, ok := p.bound.own[key]; ok {
		return v
	}
	return nil
}

// Set takes what a script sets; what the message says stays.
func (p *part) Set(key string, v goja.Value) bool {
	if slices.Contains(partKeys, key) {
		return false
	}
	p.bound.own.set(key, v)
	return true
}

// Has tells whether there is such a property.
func (p *part) Has(key string) bool {
	_, own := p.bound.own[key]
	return own || slices.Contains(partKeys, key)
}

// Delete takes away what a script has put there.
func (p *part) Delete(key string) bool {
	delete(p.bound.own, key)
	return !slices.Contains(partKeys, key)
}

// Keys lists the properties.
func (p *part) Keys() []string { return p.bound.own.keys(partKeys) }

// whole fetches the body, piece after piece.
func (t *transaction) whole() ([]byte, error) {
	if t.hasBody {
		return t.bodyOctets, nil
	}
	var b bytes.Buffer
	b.Grow(int(t.size) + bytes.MinRead) // or it would be there twice while it grows
	for {
		p, err := t.ask(frame.AskBody, uint64(b.Len()))
		if err != nil {
			return nil, err
		}
		b.Write(p.Octets)
		if p.Last {
			return b.Bytes(), nil
		}
	}
}

// parse takes the body apart, if scripts want that and it has not been done, and
// tells attachment hooks what there is.
func (t *transaction) parse() error {
	if !t.parseBody || !t.in || t.body != nil {
		return nil
	}
	body, err := t.whole()
	if err != nil {
		return err
	}
	t.body = parseMIME(t.w, t.head(), body)
	t.bodyOctets, t.hasBody = nil, false
	if len(t.starts) > 0 {
		err = t.attachments(t.body)
	}
	t.body.forget()
	return err
}

// attachments calls the attachment hooks for each attachment below p.
func (t *transaction) attachments(p *part) error {
	if p.attachment {
		for _, start := range t.starts {
			s, err := t.w.attachment(t.c.object, p.decoding())
			if err != nil {
				return err
			}
			if _, err := start(t.object, t.w.vm.ToValue(p.ct), t.w.vm.ToValue(p.filename), p.value(), s); err != nil {
				return err
			}
		}
	}
	for _, c := range p.children {
		if err := t.attachments(c); err != nil {
			return err
		}
	}
	return nil
}
