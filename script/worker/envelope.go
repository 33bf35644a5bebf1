package worker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dop251/goja"
)

// The envelope of a transaction as scripts see it: mail_from and rcpt_to. An Address
// is made when a script looks at it, and looked at again when the script is done.

// learnRecipients keeps the objects of those that stay where they are.
func (t *transaction) learnRecipients(now []string) {
	same := 0
	for same < len(now) && same < len(t.rcpts) && now[same] == t.rcpts[same] {
		same++
	}
	whole := same == len(t.rcpts)
	if same < len(now) || !whole {
		t.was = ""
	}
	t.rcpts = now
	t.objs = append(t.objs[:same:same], make([]*goja.Object, len(now)-same)...)
	if t.rcptTo == nil {
		return
	}
	if !whole {
		t.rcptTo = nil
		return
	}
	for i := same; i < len(now); i++ {
		t.rcptTo.Set(itoa(i), t.recipientAt(i))
	}
}

func (t *transaction) address(raw string) *goja.Object {
	o, err := t.w.rt.Address(raw)
	if err != nil {
		panic(t.w.vm.NewGoError(err))
	}
	t.note(o, raw)
	return o
}

// looked is an Address as it was when somebody looked last.
type looked struct {
	user, host, original goja.Value
	raw                  string
}

func (t *transaction) note(o *goja.Object, raw string) {
	if t.looked == nil {
		t.looked = map[*goja.Object]looked{}
	}
	t.looked[o] = looked{o.Get("user"), o.Get("host"), o.Get("original_host"), raw}
}

// text is the path that an Address means. One that is as it was is not read anew: most
// scripts change none, and all are looked at after each call.
func (t *transaction) text(v goja.Value) (string, bool) {
	o, isObject := v.(*goja.Object)
	if isObject {
		if x, ok := t.looked[o]; ok && same(o.Get("user"), x.user) && same(o.Get("host"), x.host) && same(o.Get("original_host"), x.original) {
			return x.raw, true
		}
	}
	raw, ok := t.w.rt.AddressText(v)
	if isObject && ok {
		t.note(o, raw)
	}
	return raw, ok
}

func same(a, b goja.Value) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.SameAs(b)
}

// sender is mail_from.
func (t *transaction) sender() *goja.Object {
	if t.fromObj == nil {
		t.fromObj = t.address(t.from)
	}
	return t.fromObj
}

func (t *transaction) recipientAt(i int) *goja.Object {
	if t.objs[i] == nil {
		t.objs[i] = t.address(t.rcpts[i])
	}
	return t.objs[i]
}

// recipient is the one that a hook is about: the last one, unless it is not one of
// the transaction's. What one script makes of it, the next ones at the hook see.
func (t *transaction) recipient(raw string) *goja.Object {
	if n := len(t.rcpts); n > 0 && (t.rcpts[n-1] == raw || t.was != "" && t.was == raw) {
		return t.recipientAt(n - 1)
	}
	return t.address(raw)
}

func (t *transaction) list() *goja.Object {
	if t.rcptTo == nil {
		values := make([]any, len(t.rcpts))
		for i := range t.rcpts {
			values[i] = t.recipientAt(i)
		}
		t.rcptTo = t.w.vm.NewArray(values...)
	}
	return t.rcptTo
}

// sameAddress tells whether a script has left an address as it was.
func sameAddress(now, was string) bool {
	return now == was || strings.EqualFold(now, "postmaster") && strings.EqualFold(was, "postmaster")
}

// recipients are those that rcpt_to has now.
func (t *transaction) recipients() (out []string, err error) {
	text := func(v goja.Value) string {
		raw, ok := t.text(v)
		if !ok || raw == "" {
			err = fmt.Errorf("rcpt_to has something that is no address: %v", v)
		}
		return raw
	}
	if t.rcptTo != nil {
		var objs []*goja.Object
		each(t.w.vm, t.rcptTo, func(v goja.Value) {
			o, _ := v.(*goja.Object)
			out, objs = append(out, text(v)), append(objs, o)
		})
		t.objs = objs
		return out, err
	}
	for i, o := range t.objs {
		if o == nil {
			continue
		}
		if raw := text(o); !sameAddress(raw, t.rcpts[i]) {
			if out == nil { // made when one differs
				out = slices.Clone(t.rcpts)
			}
			out[i] = raw
		}
	}
	if out == nil {
		out = t.rcpts
	}
	return out, err
}
