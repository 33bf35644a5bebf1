package worker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/frame"
)

func itoa(i int) string { return strconv.Itoa(i) }

// transaction is Haraka's transaction object.
type transaction struct {
	w      *worker
	c      *connection
	no     uint64
	name   string
	object *goja.Object

	from    string
	fromObj *goja.Object // nil: no script has looked
	rcpts   []string
	was     string         // what the last one was called before a script changed it; empty: it has not been
	objs    []*goja.Object // of rcpts; nil: nobody has looked at that one
	rcptTo  *goja.Object   // the list of them
	looked  map[*goja.Object]looked

	in           bool // the message is
	size         uint64
	version      uint64 // of its header in the node
	header       *header
	octets       []byte // of the header, sent along
	hasOctets    bool
	bodyOctets   []byte
	hasBody      bool
	headerEdits  []frame.HeaderEdit // that the node does not know of
	before       []frame.HeaderEdit // that it keeps until the message is in
	parseBody    bool
	discard      bool
	starts       []goja.Callable // attachment_hooks
	body         *part
	notes        *notes
	results      *results
	own          extras
	skipped      []string // plugins of notes.skip_plugins that the node knows of
	dirty        uint64
	streamObject *goja.Object
}

// skips tells whether scripts have put a plugin to notes.skip_plugins.
func (t *transaction) skips(name string) (yes bool) {
	if t == nil || t.skipped == nil {
		return false
	}
	return slices.Contains(t.skipped, name)
}

func newTransaction(c *connection, no uint64) *transaction {
	t := &transaction{w: c.w, c: c, no: no}
	t.object = c.w.vm.NewDynamicObject(t)
	t.object.SetPrototype(c.w.protos.transaction)
	t.notes = newNotes(c.w)
	t.notes.waiting = []frame.Pair{{Key: "skip_plugins", Value: frame.JSON("[]")}}
	t.results = newResults(c.w, func() string { return t.name }, func(name string) (string, error) { return c.result(frame.AskTxResult, name) })
	return t
}

func (t *transaction) learn(f *frame.Transaction) {
	has := func(x uint64) bool { return f.Changed&x != 0 }
	if has(frame.ChangedBirth) {
		t.name = f.Name
	}
	if has(frame.ChangedFrom) {
		t.from, t.fromObj = f.From, nil
	}
	if has(frame.ChangedRecipients) {
		t.learnRecipients(f.Recipients)
	}
	if has(frame.ChangedMessage) {
		if !t.in || f.Header != t.version {
			t.header, t.octets, t.hasOctets = nil, nil, false
		}
		t.in, t.size, t.version = true, f.Size, f.Header
		if f.HasHeader {
			t.octets, t.hasOctets = f.HeaderOctets, true
		}
		if f.HasBody {
			t.bodyOctets, t.hasBody = f.BodyOctets, true
		}
	}
	t.notes.told(f.Notes)
	t.results.told(f.Results)
}

var transactionKeys = []string{
	"uuid", "mail_from", "rcpt_to", "header", "body", "message_stream", "data_bytes", "parse_body", "discard_data",
	"notes", "results", "mime_part_count", "encoding",
}

// Get is one property.
func (t *transaction) Get(key string) goja.Value {
	vm := t.w.vm
	switch key {
	case "notes":
		return t.notes.get()
	case "results":
		return t.results.get()
	case "mail_from":
		return t.sender()
	case "rcpt_to":
		return t.list()
	case "header":
		return t.head().value()
	case "body":
		if t.body == nil {
			if !t.parseBody || !t.in {
				return goja.Undefined()
			}
			if err := t.parse(); err != nil {
				panic(vm.NewGoError(err))
			}
		}
		return t.body.value()
	case "parse_body":
		return vm.ToValue(t.parseBody)
	case "discard_data":
		return vm.ToValue(t.discard)
	case "data_bytes":
		return vm.ToValue(t.size)
	case "uuid":
		return vm.ToValue(t.name)
	case "message_stream":
		if t.streamObject == nil {
			t.streamObject = t.w.stream(t)
		}
		return t.streamObject
	case "mime_part_count":
		return vm.ToValue(t.body.count())
	case "encoding":
		return vm.ToValue("utf8")
	}
	if v, ok := t.own[key]; ok {
		return v
	}
	return nil
}

// Set takes what a script sets.
func (t *transaction) Set(key string, v goja.Value) bool {
	switch key {
	case "mail_from":
		o, ok := v.(*goja.Object)
		if ok {
			t.fromObj = o
		}
		return ok
	case "rcpt_to":
		o, ok := v.(*goja.Object)
		if ok = ok && o.ClassName() == "Array"; ok {
			t.rcptTo = o
		}
		return ok
	case "parse_body":
		t.parseBody = v.ToBoolean()
		return true
	case "discard_data":
		t.discard = v.ToBoolean()
		t.dirty |= frame.ChangedMessage
		return true
	case "encoding":
		return true
	}
	if slices.Contains(transactionKeys, key) {
		return false
	}
	t.own.set(key, v)
	return true
}

// Has tells whether there is such a property.
func (t *transaction) Has(key string) bool {
	_, own := t.own[key]
	return own || slices.Contains(transactionKeys, key)
}

// Delete takes away what a script has put there.
func (t *transaction) Delete(key string) bool {
	delete(t.own, key)
	return !slices.Contains(transactionKeys, key)
}

// Keys lists the properties.
func (t *transaction) Keys() []string { return t.own.keys(transactionKeys) }

// head is the header; of a message that is not in yet, what was added to it so far.
func (t *transaction) head() *header {
	if t.header != nil {
		return t.header
	}
	if !t.in {
		t.header = &header{w: t.w}
		t.header.apply(t.before)
		t.header.apply(t.headerEdits)
		return t.header
	}
	if !t.hasOctets {
		p, err := t.ask(frame.AskHeader, 0)
		if err != nil {
			panic(t.w.vm.NewGoError(err))
		}
		t.octets, t.hasOctets = p.Octets, true
	}
	t.header = parseHeader(t.w, t.octets)
	t.header.apply(t.headerEdits)
	return t.header
}

// ask asks the node about the message, on behalf of the call under way.
func (t *transaction) ask(what frame.What, offset uint64) (*frame.Piece, error) {
	if t.c.call == nil || t.c.call.done {
		return nil, errGone
	}
	return t.w.ask(&frame.Ask{Seq: t.c.call.seq(), What: what, Offset: offset})
}

// edit changes the header here and, with the answer, in the node.
func (t *transaction) edit(kind byte, name, value string) {
	if !validName(name) {
		t.w.throw("%q cannot be a header field's name", name)
	}
	// Folded here, so that scripts see it as the message has it.
	value, err := plugin.Fold(name, strings.ReplaceAll(strings.TrimRight(encoded(value), "\r\n"), "\r\n", "\n"))
	if err != nil {
		panic(t.w.vm.NewGoError(err))
	}
	e := frame.HeaderEdit{Kind: kind, Name: name, Value: value}
	t.headerEdits = append(t.headerEdits, e)
	if t.header != nil {
		t.header.apply([]frame.HeaderEdit{e})
	}
}

// collect tells what scripts have changed.
func (t *transaction) collect(ch *frame.Changes) error {
	e := &ch.Transaction
	e.Changed = t.dirty
	e.Discard = t.discard
	t.dirty = 0
	if t.fromObj != nil {
		raw, ok := t.text(t.fromObj)
		if !ok {
			return fmt.Errorf("mail_from is no address any more: %v", t.fromObj)
		}
		if !sameAddress(raw, t.from) {
			t.from, e.From = raw, raw
			e.Changed |= frame.ChangedFrom
		}
	}
	now, err := t.recipients()
	if err != nil {
		return err
	}
	if !slices.EqualFunc(now, t.rcpts, sameAddress) {
		if n := len(now); n > 0 && n == len(t.rcpts) && now[n-1] != t.rcpts[n-1] && t.was == "" {
			t.was = t.rcpts[n-1]
		}
		t.rcpts, e.Recipients = now, now
		e.Changed |= frame.ChangedRecipients
	}
	if t.notes.object != nil {
		if o, ok := t.notes.object.Get("skip_plugins").(*goja.Object); ok {
			n := 0
			each(t.w.vm, o, func(v goja.Value) {
				if n++; n > len(t.skipped) && v != nil {
					ch.Skip = append(ch.Skip, v.String())
				}
			})
			t.skipped = append(t.skipped, ch.Skip...)
		}
	}
	if e.Notes = t.notes.changes(); e.Notes != nil {
		e.Changed |= frame.ChangedNotes
	}
	if e.Results = t.results.changes(); e.Results != nil {
		e.Changed |= frame.ChangedResults
	}
	ch.Header, t.headerEdits = t.headerEdits, nil
	if !t.in {
		t.before = append(t.before, ch.Header...)
	}
	if t.in && len(ch.Header) > 0 && t.header == nil {
		t.octets, t.hasOctets = nil, false // the node's is not so any more
	}
	return nil
}

func (w *worker) transactionMethods() {
	edit := func(kind byte) func(*transaction, goja.FunctionCall) goja.Value {
		return func(t *transaction, c goja.FunctionCall) goja.Value {
			value := ""
			if v := c.Argument(1); !goja.IsUndefined(v) {
				value = v.String()
			}
			t.edit(kind, c.Argument(0).String(), value)
			return goja.Undefined()
		}
	}
	missing := func(name, why string) func(*transaction, goja.FunctionCall) goja.Value {
		return func(*transaction, goja.FunctionCall) goja.Value {
			w.throw("transaction.%s is not there: %s (docs/scripts.md)", name, why)
			return nil
		}
	}
	methods(w, w.protos.transaction, map[string]func(*transaction, goja.FunctionCall) goja.Value{
		"add_header":         edit(frame.HeaderAdd),
		"add_leading_header": edit(frame.HeaderLead),
		"remove_header":      edit(frame.HeaderRemove),
		"attachment_hooks": func(t *transaction, c goja.FunctionCall) goja.Value {
			fn, ok := goja.AssertFunction(c.Argument(0))
			if !ok {
				w.throw("attachment_hooks takes a function")
			}
			t.parseBody = true
			t.starts = append(t.starts, fn)
			return goja.Undefined()
		},
		"add_data":        missing("add_data", "a script does not change a message's body"),
		"set_banner":      missing("set_banner", "a script does not change a message's body"),
		"add_body_filter": missing("add_body_filter", "a script does not change a message's body"),
	})
}
