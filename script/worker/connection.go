package worker

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/script/frame"
)

// connection is Haraka's connection object. What it is made of is made when a script
// looks at it first: most scripts look at little.
type connection struct {
	w      *worker
	f      frame.Connection // as the node has told
	object *goja.Object
	hook   string
	call   *call
	tx     *transaction // nil: none is open

	remote, local, hello, tls, proxy goja.Value
	capabilities                     *goja.Object
	notes                            *notes
	results                          *results
	own                              extras
	dirty                            uint64 // what a script has set
}

// extras are properties that a script has put to an object.
type extras map[string]goja.Value

func (x *extras) set(key string, v goja.Value) {
	if *x == nil {
		*x = extras{}
	}
	(*x)[key] = v
}

// meet takes what the node tells of a connection and its transaction.
func (w *worker) meet(f *frame.Connection, t *frame.Transaction) *connection {
	c := w.conns[f.ID]
	if c == nil || f.Changed&frame.ChangedBirth != 0 {
		c = &connection{w: w}
		c.f.Name, c.f.ID = f.Name, f.ID
		c.object = w.vm.NewDynamicObject(c)
		c.object.SetPrototype(w.protos.connection)
		c.notes = newNotes(w)
		c.results = newResults(w, c.logID, func(name string) (string, error) { return c.result(frame.AskResult, name) })
		w.conns[f.ID] = c
	}
	c.learn(f)
	switch {
	case t.No == 0:
		c.tx = nil
	case c.tx == nil || c.tx.no != t.No || t.Changed&frame.ChangedBirth != 0:
		c.tx = newTransaction(c, t.No)
		fallthrough
	default:
		c.tx.learn(t)
	}
	return c
}

func (c *connection) learn(f *frame.Connection) {
	has := func(x uint64) bool { return f.Changed&x != 0 }
	if has(frame.ChangedBirth) {
		c.f.Name, c.f.RemoteIP, c.f.RemotePort = f.Name, f.RemoteIP, f.RemotePort
		c.f.LocalIP, c.f.LocalPort, c.f.ProxyIP, c.f.StartedMilliseconds = f.LocalIP, f.LocalPort, f.ProxyIP, f.StartedMilliseconds
	}
	if has(frame.ChangedHost) {
		c.f.Host = f.Host
		if o, ok := c.remote.(*goja.Object); ok {
			o.Set("host", c.host())
		}
	}
	if has(frame.ChangedHello) {
		c.f.HelloName, c.f.HelloVerb = f.HelloName, f.HelloVerb
		c.hello = nil
	}
	if has(frame.ChangedTLS) {
		c.f.TLS, c.f.TLSVersion, c.f.TLSCipher, c.f.TLSServer, c.f.TLSPeer = f.TLS, f.TLSVersion, f.TLSCipher, f.TLSServer, f.TLSPeer
		c.tls = nil
	}
	if has(frame.ChangedUser) {
		c.f.User = f.User
		if f.User != "" { // as Haraka's AUTH plugins do
			c.notes.told([]frame.Pair{{Key: "auth_user", Value: f.User}})
		}
		c.notes.secret = nil
		if f.Secret {
			c.notes.secret = func() (string, error) { return c.result(frame.AskSecret, "") }
		}
		c.notes.hide()
	}
	if has(frame.ChangedFlags) {
		c.f.Relaying, c.f.Early, c.f.Messages = f.Relaying, f.Early, f.Messages
	}
	if has(frame.ChangedCapabilities) {
		c.f.Capabilities = f.Capabilities
		c.capabilities = nil
	}
	c.notes.told(f.Notes)
	c.results.told(f.Results)
}

// result asks the node for what another plugin has found out.
func (c *connection) result(what frame.What, name string) (string, error) {
	if c.call == nil || c.call.done {
		return "", errGone
	}
	p, err := c.w.ask(&frame.Ask{Seq: c.call.seq(), What: what, Name: name})
	if err != nil {
		return "", err
	}
	return string(p.Octets), nil
}

// ready is called before a function of the hook is.
func (c *connection) ready(h plugin.Hook) error {
	if c.tx == nil {
		return nil
	}
	switch h {
	case plugin.DataPost, plugin.PreSend, plugin.Queue, plugin.QueueOutbound:
		return c.tx.parse()
	}
	return nil
}

// logID is what log lines call it.
func (c *connection) logID() string {
	if c.tx != nil {
		return c.tx.name
	}
	return c.f.Name
}

var connectionKeys = []string{
	"uuid", "remote", "local", "hello", "tls", "proxy", "notes", "results", "transaction", "relaying",
	"capabilities", "esmtp", "early_talker", "tran_count", "start_time", "hook", "server",
}

// Get is one property; nil: there is none, and the prototype is asked.
func (c *connection) Get(key string) goja.Value {
	vm := c.w.vm
	switch key {
	case "transaction":
		if c.tx == nil {
			return goja.Null()
		}
		return c.tx.object
	case "notes":
		return c.notes.get()
	case "results":
		return c.results.get()
	case "relaying":
		return vm.ToValue(c.f.Relaying)
	case "remote":
		if c.remote == nil {
			o := vm.NewObject()
			o.Set("ip", c.f.RemoteIP)
			o.Set("port", c.f.RemotePort)
			o.Set("host", c.host())
			o.Set("info", "")
			o.Set("closed", false)
			c.place(o, c.f.RemoteIP)
			c.remote = o
		}
		return c.remote
	case "local":
		if c.local == nil {
			o := vm.NewObject()
			o.Set("ip", c.f.LocalIP)
			o.Set("port", c.f.LocalPort)
			o.Set("host", c.w.me)
			o.Set("info", "Tarishi")
			c.local = o
		}
		return c.local
	case "hello":
		if c.hello == nil {
			o := vm.NewObject()
			if c.f.HelloVerb == "" {
				o.Set("host", goja.Null())
				o.Set("verb", goja.Null())
			} else {
				o.Set("host", c.f.HelloName)
				o.Set("verb", c.f.HelloVerb)
			}
			c.hello = o
		}
		return c.hello
	case "tls":
		if c.tls == nil {
			c.tls = c.secured()
		}
		return c.tls
	case "proxy":
		if c.proxy == nil {
			o := vm.NewObject()
			o.Set("allowed", c.f.ProxyIP != "")
			o.Set("ip", orNull(vm, c.f.ProxyIP))
			o.Set("type", orNull(vm, strings.Repeat("haproxy", min(1, len(c.f.ProxyIP)))))
			c.proxy = o
		}
		return c.proxy
	case "capabilities":
		if c.capabilities == nil {
			c.capabilities = texts(vm, c.f.Capabilities)
		}
		return c.capabilities
	case "uuid":
		return vm.ToValue(c.f.Name)
	case "esmtp":
		return vm.ToValue(c.f.HelloVerb == "EHLO")
	case "early_talker":
		return vm.ToValue(c.f.Early)
	case "tran_count":
		return vm.ToValue(c.f.Messages)
	case "start_time":
		return vm.ToValue(c.f.StartedMilliseconds)
	case "hook":
		return vm.ToValue(c.hook)
	case "server":
		return c.w.rt.Server()
	}
	if v, ok := c.own[key]; ok {
		return v
	}
	return nil
}

func (c *connection) host() string {
	if c.f.Host == "" {
		return "Unknown"
	}
	return c.f.Host
}

// place says where an address is.
func (c *connection) place(o *goja.Object, ip string) {
	a, _ := netip.ParseAddr(ip)
	o.Set("is_local", a.IsLoopback())
	o.Set("is_private", a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast())
}

func (c *connection) secured() *goja.Object {
	vm := c.w.vm
	o := vm.NewObject()
	o.Set("enabled", c.f.TLS)
	o.Set("verified", c.f.TLSPeer != "")
	if c.f.TLS {
		cipher := vm.NewObject()
		cipher.Set("name", c.f.TLSCipher)
		cipher.Set("version", c.f.TLSVersion)
		o.Set("cipher", cipher)
		o.Set("servername", c.f.TLSServer)
	} else {
		o.Set("cipher", vm.NewObject())
	}
	if c.f.TLSPeer != "" {
		peer := vm.NewObject()
		peer.Set("subject", c.f.TLSPeer)
		o.Set("peerCertificate", peer)
	}
	return o
}

// Set takes what a script sets. What is the client's own stays as it is.
func (c *connection) Set(key string, v goja.Value) bool {
	switch key {
	case "relaying":
		c.f.Relaying = v.ToBoolean()
		c.dirty |= frame.ChangedFlags
		return true
	case "early_talker":
		if v.ToBoolean() {
			c.f.Early = true
			c.dirty |= frame.ChangedFlags
		}
		return true
	case "notes", "results", "transaction", "uuid", "remote", "local", "hello", "tls", "proxy", "esmtp", "hook", "server",
		"tran_count", "start_time", "capabilities":
		return false
	}
	c.own.set(key, v)
	return true
}

// Has tells whether there is such a property.
func (c *connection) Has(key string) bool {
	_, own := c.own[key]
	return own || slices.Contains(connectionKeys, key)
}

// Delete takes away what a script has put there.
func (c *connection) Delete(key string) bool {
	delete(c.own, key)
	return !slices.Contains(connectionKeys, key)
}

// Keys lists the properties.
func (c *connection) Keys() []string { return c.own.keys(connectionKeys) }

func (x extras) keys(fixed []string) []string {
	out := slices.Clone(fixed)
	for k := range x {
		out = append(out, k)
	}
	slices.Sort(out[len(fixed):])
	return out
}

// collect tells what scripts have changed since it was called last.
func (c *connection) collect(ch *frame.Changes) error {
	e := &ch.Connection
	e.Changed = c.dirty
	if c.dirty&frame.ChangedFlags != 0 {
		e.Relaying, e.Early = c.f.Relaying, c.f.Early
	}
	c.dirty = 0
	if o, ok := c.remote.(*goja.Object); ok {
		if host := o.Get("host"); host != nil && !goja.IsUndefined(host) && !goja.IsNull(host) {
			if s := host.String(); s != c.host() {
				c.f.Host, e.Host = s, s
				e.Changed |= frame.ChangedHost
			}
		}
	}
	if c.capabilities != nil {
		var now []string
		if c.w.vm.ExportTo(c.capabilities, &now) == nil && !slices.Equal(now, c.f.Capabilities) {
			e.Capabilities, c.f.Capabilities = now, now
			e.Changed |= frame.ChangedCapabilities
		}
	}
	if e.Notes = c.notes.changes(); e.Notes != nil {
		e.Changed |= frame.ChangedNotes
	}
	if e.Results = c.results.changes(); e.Results != nil {
		e.Changed |= frame.ChangedResults
	}
	if c.tx != nil {
		return c.tx.collect(ch)
	}
	return nil
}

func texts(vm *goja.Runtime, s []string) *goja.Object {
	values := make([]any, len(s))
	for i := range s {
		values[i] = s[i]
	}
	return vm.NewArray(values...)
}

func orNull(vm *goja.Runtime, s string) goja.Value {
	if s == "" {
		return goja.Null()
	}
	return vm.ToValue(s)
}
