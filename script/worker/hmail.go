package worker

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/script/frame"
)

// hmail is what the hooks of a delivery are given. It lasts for one call.
type hmail struct {
	w      *worker
	f      *frame.Delivery
	name   string
	hook   string
	object *goja.Object
	todo   *goja.Object
	notes  *notes
	own    extras
}

func (w *worker) hmail(f *frame.Delivery, hook string) *hmail {
	h := &hmail{w: w, f: f, name: f.Name, hook: hook, notes: newNotes(w)}
	h.notes.told(f.Notes)
	h.object = w.vm.NewDynamicObject(h)
	h.object.SetPrototype(w.protos.hmail)
	return h
}

var hmailKeys = []string{"filename", "path", "num_failures", "notes", "todo", "hook", "server"}

// Get is one property.
func (h *hmail) Get(key string) goja.Value {
	vm := h.w.vm
	switch key {
	case "todo":
		if h.todo == nil {
			h.todo = h.what()
		}
		return h.todo
	case "notes":
		return h.notes.get()
	case "filename", "path":
		return vm.ToValue(h.f.Name)
	case "num_failures":
		return vm.ToValue(h.f.Failures)
	case "hook":
		return vm.ToValue(h.hook)
	case "server":
		return h.w.rt.Server()
	}
	if v, ok := h.own[key]; ok {
		return v
	}
	return nil
}

// what is to be done: hmail.todo.
func (h *hmail) what() *goja.Object {
	o := h.w.vm.NewObject()
	o.Set("mail_from", h.address(h.f.From))
	o.Set("rcpt_to", h.list(h.f.Recipients))
	o.Set("domain", h.f.Domain)
	o.Set("notes", h.notes.get())
	o.Set("queue_time", h.f.Queued)
	o.Set("uuid", h.f.Message)
	return o
}

func (h *hmail) address(raw string) *goja.Object {
	o, err := h.w.rt.Address(raw)
	if err != nil {
		panic(h.w.vm.NewGoError(err))
	}
	return o
}

func (h *hmail) list(raws []string) *goja.Object {
	values := make([]any, len(raws))
	for i, raw := range raws {
		values[i] = h.address(raw)
	}
	return h.w.vm.NewArray(values...)
}

// Set takes what a script sets.
func (h *hmail) Set(key string, v goja.Value) bool {
	if slices.Contains(hmailKeys, key) {
		return false
	}
	h.own.set(key, v)
	return true
}

// Has tells whether there is such a property.
func (h *hmail) Has(key string) bool {
	_, own := h.own[key]
	return own || slices.Contains(hmailKeys, key)
}

// Delete takes away what a script has put there.
func (h *hmail) Delete(key string) bool {
	delete(h.own, key)
	return !slices.Contains(hmailKeys, key)
}

// Keys lists the properties.
func (h *hmail) Keys() []string { return h.own.keys(hmailKeys) }

func (h *hmail) collect(ch *frame.Changes) {
	if ch.Transaction.Notes = h.notes.changes(); ch.Transaction.Notes != nil {
		ch.Transaction.Changed |= frame.ChangedNotes
	}
}

// hostOf takes "mx.example.net[192.0.2.1]:25" apart.
func hostOf(s string) (name, ip, port string) {
	name = s
	if i := strings.IndexByte(s, '['); i >= 0 {
		rest := s[i+1:]
		name = s[:i]
		ip, rest, _ = strings.Cut(rest, "]")
		port = strings.TrimPrefix(rest, ":")
		if name == "" {
			name = ip
		}
		return name, ip, port
	}
	if host, p, err := net.SplitHostPort(s); err == nil {
		return host, host, p
	}
	return name, "", ""
}

// delivered is [host, ip, response, delay, port, mode, ok_recips, secured, authenticated].
func (h *hmail) delivered(a *frame.Args) goja.Value {
	vm := h.w.vm
	name, ip, port := hostOf(a.Host)
	response := ""
	var rcpts []string
	for _, o := range a.Outcomes {
		rcpts = append(rcpts, o.Recipient)
		response = o.Reply
	}
	delay := float64(time.Now().UnixMilli()-int64(h.f.Queued)) / 1000
	return vm.NewArray(name, ip, response, delay, port, "smtp", h.list(rcpts), a.Secured, a.Authenticated)
}

// deferred is {delay, err}: seconds until the next attempt, and what was said.
func (h *hmail) deferred(a *frame.Args) goja.Value {
	o := h.w.vm.NewObject()
	o.Set("delay", float64(a.Expected)/1000)
	o.Set("err", saidBy(a))
	o.Set("host", a.Host)
	o.Set("fail_recips", h.outcomes(a))
	return o
}

// bounced is an Error with mx and bounced_rcpt.
func (h *hmail) bounced(a *frame.Args) goja.Value {
	vm := h.w.vm
	e, err := vm.New(vm.GlobalObject().Get("Error"), vm.ToValue(saidBy(a)))
	if err != nil {
		return goja.Undefined()
	}
	if name, _, port := hostOf(a.Host); name != "" {
		mx := vm.NewObject()
		mx.Set("exchange", name)
		mx.Set("port", port)
		e.Set("mx", mx)
	}
	e.Set("bounced_rcpt", h.outcomes(a))
	return e
}

func (h *hmail) outcomes(a *frame.Args) *goja.Object {
	values := make([]any, len(a.Outcomes))
	for i, o := range a.Outcomes {
		r := h.address(o.Recipient)
		r.Set("reason", o.Reply)
		values[i] = r
	}
	return h.w.vm.NewArray(values...)
}

func saidBy(a *frame.Args) string {
	for _, o := range a.Outcomes {
		return o.Reply
	}
	return ""
}
