package plugin

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/tarishi/tarishi/mail"
)

// TLS is what is known of a connection's encryption.
type TLS struct {
	Enabled     bool
	Version     string
	Cipher      string
	ServerName  string // SNI
	PeerSubject string // of the client's verified certificate
}

// Connection is one client's visit. What it says of the client is set by whoever
// runs the chain, before the hook at which it becomes known. Its methods are safe
// for concurrent use.
type Connection struct {
	ID     string         // names the connection in logs
	Remote netip.AddrPort // the client, behind a trusted proxy the real one
	Local  netip.AddrPort
	Proxy  netip.AddrPort // the proxy that brought it; not valid: none

	// Spoke tells whether the client has said something that nobody has read yet. At
	// connect_init, connect and data it should not have. nil: nobody can tell.
	Spoke func() bool

	Notes   Notes
	Results Results

	mu           sync.Mutex
	host         string
	hello, verb  string
	tls          TLS
	user         string
	password     string
	relaying     bool
	earlyTalker  bool
	capabilities []string
	tx           *Transaction
	messages     int
	onEnd        []func()
	attached     map[any]any
}

// Host is the client's host name, as DNS or a plugin says; empty: not known.
func (c *Connection) Host() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.host
}

// SetHost says what the client's host name is.
func (c *Connection) SetHost(name string) { c.with(func() { c.host = name }) }

// Hello is the name the client gave, and the verb by which it did.
func (c *Connection) Hello() (name, verb string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hello, c.verb
}

// SetHello notes the client's name.
func (c *Connection) SetHello(name, verb string) { c.with(func() { c.hello, c.verb = name, verb }) }

// TLS is the connection's encryption.
func (c *Connection) TLS() TLS {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tls
}

// SetTLS notes it.
func (c *Connection) SetTLS(t TLS) { c.with(func() { c.tls = t }) }

// User is who has authenticated; empty: nobody.
func (c *Connection) User() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.user
}

// SetUser notes who has authenticated.
func (c *Connection) SetUser(name string) { c.with(func() { c.user = name }) }

// Password is the one that the user has proved to be with, where the mechanism shows
// it: for plugins that look for it in mail. It never goes into notes.
func (c *Connection) Password() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.password
}

// SetPassword notes it.
func (c *Connection) SetPassword(p string) { c.with(func() { c.password = p }) }

// Relaying tells whether the client may send to any domain.
func (c *Connection) Relaying() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.relaying
}

// SetRelaying lets the client send to any domain, or forbids it.
func (c *Connection) SetRelaying(yes bool) { c.with(func() { c.relaying = yes }) }

// EarlyTalker tells whether the client spoke before it was its turn.
func (c *Connection) EarlyTalker() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.earlyTalker
}

// SetEarlyTalker notes it.
func (c *Connection) SetEarlyTalker() { c.with(func() { c.earlyTalker = true }) }

// Capabilities are the keywords that plugins add to the answer to EHLO.
func (c *Connection) Capabilities() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.capabilities)
}

// AddCapability adds one.
func (c *Connection) AddCapability(keyword string) {
	c.with(func() {
		if !slices.Contains(c.capabilities, keyword) {
			c.capabilities = append(c.capabilities, keyword)
		}
	})
}

// DropCapabilities forgets them: they are asked for anew at each EHLO.
func (c *Connection) DropCapabilities() { c.with(func() { c.capabilities = nil }) }

// OnEnd has f called once when the connection is over, after the last hook. Those who
// keep something for the connection beyond a call give it back there.
func (c *Connection) OnEnd(f func()) { c.with(func() { c.onEnd = append(c.onEnd, f) }) }

// Over is called when the connection is over.
func (c *Connection) Over() {
	var fs []func()
	c.with(func() { fs, c.onEnd = c.onEnd, nil })
	for _, f := range fs {
		f()
	}
}

// Transaction is the one under way; nil: none is.
func (c *Connection) Transaction() *Transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tx
}

// Begin opens a transaction.
func (c *Connection) Begin(id string, from mail.Address) *Transaction {
	tx := &Transaction{ID: id, conn: c, from: from}
	c.with(func() { c.tx, c.messages = tx, c.messages+1 })
	return tx
}

// End forgets the transaction under way.
func (c *Connection) End() { c.with(func() { c.tx = nil }) }

// Messages is how many transactions were opened.
func (c *Connection) Messages() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.messages
}

// Attached is what somebody has put to the connection under a key of their own, for as
// long as it lasts; made when it is asked for first.
func (c *Connection) Attached(key any, make func() any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.attached[key]
	if !ok {
		if c.attached == nil {
			c.attached = map[any]any{}
		}
		v = make()
		c.attached[key] = v
	}
	return v
}

func (c *Connection) with(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}
