package worker

import (
	"errors"
	"strings"
	"time"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/api"
	"github.com/tarishi/tarishi/script/frame"
)

// call is one call of a hook's function: the owner of all that the function starts.
type call struct {
	w    *worker
	f    *frame.Call
	at   int // which of its functions
	fn   *function
	conn *connection
	mail *hmail
	done bool // answered, or nobody waits any more

	began time.Time
}

// run calls the function, inside the loop.
func (c *call) run() error {
	w := c.w
	c.began = time.Now()
	if c.at >= len(c.f.Functions) || c.f.Functions[c.at] >= uint64(len(w.functions)) {
		return errors.New("a call names a function that there is not")
	}
	c.fn = &w.functions[c.f.Functions[c.at]]
	fn, err := c.fn.callable()
	if err != nil {
		return err
	}
	w.calls[c.seq()] = c
	subject := goja.Undefined()
	switch {
	case c.f.Connection.ID != 0:
		if c.conn == nil {
			c.conn = w.meet(&c.f.Connection, &c.f.Transaction)
		}
		c.conn.hook = string(c.fn.hook)
		c.conn.call = c
		subject = c.conn.object
		if err := c.conn.ready(c.fn.hook); err != nil {
			return err
		}
	case c.f.Delivery != nil:
		c.mail = w.hmail(c.f.Delivery, string(c.fn.hook))
		subject = c.mail.object
	}
	next := w.vm.ToValue(c.next)
	switch args, n := c.params(); n {
	case 0:
		_, err = fn(c.fn.plugin.object, next, subject)
	case 1:
		_, err = fn(c.fn.plugin.object, next, subject, args[0])
	default:
		_, err = fn(c.fn.plugin.object, next, subject, args[0], args[1])
	}
	return err
}

// seq is the number of this function's call.
func (c *call) seq() uint64 { return c.f.Seq + uint64(c.at) }

// goOn calls the function behind this one, which has said CONT.
func (c *call) goOn() {
	if c.at+1 >= len(c.f.Functions) || c.conn == nil {
		return
	}
	if n := c.f.Functions[c.at+1]; n < uint64(len(c.w.functions)) && c.conn.tx.skips(c.w.functions[n].plugin.name) {
		return // the node will not ask it either
	}
	next := &call{w: c.w, f: c.f, at: c.at + 1, conn: c.conn}
	c.w.rt.Do(next, next.run)
}

// Failed answers for a script that cannot any more.
func (c *call) Failed(err error) {
	var stop *goja.InterruptedError
	var deep *goja.StackOverflowError
	if errors.As(err, &deep) {
		err = errors.New("its functions call one another too deep")
	}
	if errors.As(err, &stop) {
		if cause, ok := stop.Value().(error); ok {
			err = cause
		}
	}
	if c.done {
		c.w.logOf(api.Crit, c.plugin(), c.id(), "after it had answered: %v", err)
		return
	}
	c.finish(&frame.Answer{Fault: oneLine(err)})
}

// oneLine is an error with the beginning of its stack.
func oneLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	text := strings.Join(lines[:min(len(lines), 4)], " ")
	return text[:min(len(text), 1000)]
}

func (c *call) plugin() *loaded {
	if c.fn == nil {
		return nil
	}
	return c.fn.plugin
}

func (c *call) id() string {
	switch {
	case c.conn != nil:
		return c.conn.logID()
	case c.mail != nil:
		return c.mail.name
	}
	return ""
}

func (c *call) finish(a *frame.Answer) {
	c.done = true
	a.Seq, a.Took = c.seq(), uint64(max(1, time.Since(c.began).Microseconds()))
	delete(c.w.calls, a.Seq)
	if err := c.w.w.Add(a); err != nil {
		c.w.w.Add(&frame.Answer{Seq: a.Seq, Fault: err.Error()})
	}
	// Whoever waits for many answers is not kept by the slowest of them.
	if c.w.w.Pending() > 16<<10 {
		c.w.w.Flush()
	}
}

// next is what the function calls when it is done: next(rc, msg).
func (c *call) next(f goja.FunctionCall) goja.Value {
	if c.done {
		c.w.logOf(api.Warn, c.plugin(), c.id(), "next was called again, or too late, at hook %s", c.fn.hook)
		return goja.Undefined()
	}
	a := &frame.Answer{}
	code, ok := codeOf(f.Argument(0))
	if !ok {
		c.Failed(errors.New("next was called with a code that there is not: " + f.Argument(0).String()))
		return goja.Undefined()
	}
	a.Code = byte(code)
	if err := c.said(a, code, f.Argument(1)); err != nil {
		c.Failed(err)
		return goja.Undefined()
	}
	if c.conn != nil {
		if err := c.conn.collect(&a.Changes); err != nil {
			c.Failed(err)
			return goja.Undefined()
		}
	}
	if c.mail != nil {
		c.mail.collect(&a.Changes)
	}
	c.finish(a)
	if code == plugin.Cont {
		c.goOn()
	}
	return goja.Undefined()
}

// said takes the second argument of next: what the client is told, seconds, or what
// the hook has asked for.
func (c *call) said(a *frame.Answer, code plugin.Code, v goja.Value) error {
	if goja.IsUndefined(v) || goja.IsNull(v) {
		return nil
	}
	h := c.fn.hook
	switch {
	case code == plugin.OK && h == plugin.GetMX:
		j, err := asJSON(v)
		a.Value = j
		return err
	case code == plugin.OK && h == plugin.LookupRDNS:
		a.Value = v.String()
		return nil
	case code == plugin.Delay, code == plugin.Defer && h == plugin.Deferred:
		if a.Number = v.ToFloat(); a.Number != a.Number || a.Number < 0 || a.Number > 1e9 {
			return errors.New("next was called with a delay that is no number of seconds: " + v.String())
		}
		return nil
	}
	if o, ok := v.(*goja.Object); ok {
		if o.ClassName() == "Array" {
			var lines []string
			if err := c.w.vm.ExportTo(o, &lines); err != nil {
				return err
			}
			a.Text = strings.Join(lines, "\n")
			return nil
		}
		// What haraka-dsn makes: a reply with its codes.
		if code := o.Get("code"); code != nil && !goja.IsUndefined(code) && o.Get("reply") != nil {
			a.ReplyCode = uint64(max(0, code.ToInteger()))
			a.Enhanced, a.Text = splitDSN(o.Get("reply").String())
			return nil
		}
	}
	a.Text = v.String()
	return nil
}

// splitDSN takes the enhanced code from the front of a reply.
func splitDSN(reply string) (enhanced, text string) {
	head, rest, ok := strings.Cut(reply, " ")
	if ok && len(head) >= 5 && head[1] == '.' && strings.Trim(head, "0123456789.") == "" {
		return head, rest
	}
	return "", reply
}

// Haraka's numbers of the codes.
var codeNumbers = [...]int64{
	plugin.Cont: 900, plugin.OK: 906, plugin.Refuse: 902, plugin.Defer: 903, plugin.RefuseDisconnect: 904,
	plugin.DeferDisconnect: 909, plugin.Hangup: 905, plugin.NextHook: 907, plugin.Delay: 908, plugin.Stop: 901,
}

func codeOf(v goja.Value) (plugin.Code, bool) {
	if goja.IsUndefined(v) || goja.IsNull(v) {
		return plugin.Cont, true
	}
	n := v.ToInteger()
	for code, number := range codeNumbers {
		if number == n {
			return plugin.Code(code), true
		}
	}
	return plugin.Cont, false
}

// params are what the function is given behind the connection, and how many.
func (c *call) params() (p [2]goja.Value, n int) {
	w, a := c.w, &c.f.Args
	text := func(s string) goja.Value { return w.vm.ToValue(s) }
	switch c.fn.hook {
	case plugin.Helo, plugin.Ehlo:
		return [2]goja.Value{text(a.Name)}, 1
	case plugin.Mail:
		return [2]goja.Value{w.vm.NewArray(c.conn.tx.sender(), w.esmtp(a.Params))}, 1
	case plugin.Rcpt:
		return [2]goja.Value{w.vm.NewArray(c.conn.tx.recipient(a.Address), w.esmtp(a.Params))}, 1
	case plugin.RcptOK:
		return [2]goja.Value{c.conn.tx.recipient(a.Address)}, 1
	case plugin.UnknownCommand:
		return [2]goja.Value{w.vm.NewArray(a.Verb, a.Name)}, 1
	case plugin.Vrfy, plugin.Noop:
		return [2]goja.Value{w.vm.NewArray(a.Name)}, 1
	case plugin.QueueOK:
		return [2]goja.Value{text(a.Text)}, 1
	case plugin.Deny:
		return [2]goja.Value{c.refused()}, 1
	case plugin.GetMX:
		return [2]goja.Value{text(a.Name)}, 1
	case plugin.Delivered:
		return [2]goja.Value{c.mail.delivered(a)}, 1
	case plugin.Deferred:
		return [2]goja.Value{c.mail.deferred(a)}, 1
	case plugin.Bounce:
		return [2]goja.Value{c.mail.bounced(a)}, 1
	}
	return p, 0
}

// refused is what hook deny is told: code, message, plugin, function, params, hook.
func (c *call) refused() goja.Value {
	w, a := c.w, &c.f.Args
	params := goja.Undefined()
	switch {
	case a.DenyArgs && c.conn.tx != nil && plugin.Hook(a.At) == plugin.Mail:
		params = w.vm.NewArray(c.conn.tx.sender(), w.esmtp(a.Params))
	case a.DenyArgs && c.conn.tx != nil && plugin.Hook(a.At) == plugin.Rcpt:
		params = w.vm.NewArray(c.conn.tx.recipient(a.Address), w.esmtp(a.Params))
	case a.DenyArgs && c.conn.tx != nil:
		params = c.conn.tx.recipient(a.Address)
	case a.Name != "":
		params = w.vm.ToValue(a.Name)
	}
	code := codeNumbers[plugin.Refuse]
	if int(a.Code) < len(codeNumbers) {
		code = codeNumbers[a.Code]
	}
	return w.vm.NewArray(code, strings.Join(a.Lines, "\n"), a.Plugin, a.Function, params, a.At)
}

// esmtp are the parameters of MAIL and RCPT as an object.
func (w *worker) esmtp(ps []frame.Param) *goja.Object {
	o := w.vm.NewObject()
	for _, p := range ps {
		if p.Value == "" {
			o.Set(p.Key, goja.Undefined())
			continue
		}
		o.Set(p.Key, p.Value)
	}
	return o
}
