// Package trial lets tests see what plugins do to a client: a dialogue through the
// real SMTP engine and the real ingress, with the plugins made of settings and files as
// a node makes them. It is for tests alone.
package trial

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/smtp"
)

// Use is a plugin and its settings, in YAML.
type Use struct {
	Kind     plugin.Kind
	Settings string
}

// Files are what plugins read, by name.
type Files map[string]string

// Read is the Read of a Setup.
func (f Files) Read(name string) ([]byte, error) {
	text, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

// Make makes one plugin.
func Make(u Use, files Files) (plugin.Plugin, error) {
	s, err := daemon.ParseSettings("tarishi.yaml", []byte(u.Settings))
	if err != nil {
		return nil, err
	}
	return u.Kind.New(plugin.Setup{Name: u.Kind.Name, Settings: s.Read, Read: files.Read, Log: slog.New(slog.DiscardHandler)})
}

// Chain makes a chain.
func Chain(t testing.TB, files Files, uses ...Use) *plugin.Chain {
	t.Helper()
	var ps []plugin.Plugin
	for _, u := range uses {
		p, err := Make(u, files)
		if err != nil {
			t.Fatalf("%s: %v", u.Kind.Name, err)
		}
		ps = append(ps, p)
	}
	c, err := plugin.New(plugin.Options{}, ps...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Refused has each of a plugin's bad settings and files refused with a word that says
// what is wrong, and where.
func Refused(t *testing.T, kind plugin.Kind, settings string, files Files, words ...string) {
	t.Helper()
	_, err := Make(Use{kind, settings}, files)
	if err == nil {
		t.Errorf("%s took %q with %v", kind.Name, settings, files)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s with %q and %v: %v; that does not say %q", kind.Name, settings, files, err, w)
		}
	}
}

// Node is an SMTP server with plugins. Its zero fields take the defaults named.
type Node struct {
	Plugins []Use
	Files   Files
	Client  string            // its address; 192.0.2.7, a stranger
	Names   map[string]string // host names, by client's address
	Policy  func(*ingress.Policy)
	Own     []plugin.Plugin // further ones, that go first

	mu     sync.Mutex
	stored []Stored
	chain  plugin.Current
}

// Stored is a message that was taken.
type Stored struct {
	Text       string
	Message    *mail.Message
	Recipients []mail.Recipient
}

// To are a message's recipients.
func (s Stored) To() string {
	var out []string
	for _, r := range s.Recipients {
		out = append(out, r.Raw)
	}
	return strings.Join(out, " ")
}

// Mail are the messages that were taken.
func (n *Node) Mail() []Stored {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.stored)
}

// Reload makes the plugins anew of files that have changed.
func (n *Node) Reload(t testing.TB) {
	c := Chain(t, n.Files, n.Plugins...)
	n.chain.Swap(c)
}

// Run plays a dialogue; see play.go. Time in it is that of a bubble.
func (n *Node) Run(t *testing.T, script string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := n.server(t)
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); srv.ServeConn(from{theirs, n.client()}, false) }()
		defer n.close(t, srv)
		defer func() { <-done }()
		p := &player{t: t, n: n, conn: ours, lines: make(chan string, 1<<12)}
		p.run(script)
	})
}

// RunTCP is Run over a real connection, from loopback: for what a pipe cannot tell.
func (n *Node) RunTCP(t *testing.T, script string) {
	t.Helper()
	early := ""
	if text, ok := strings.CutPrefix(strings.TrimSpace(script), "EARLY "); ok {
		early, _, _ = strings.Cut(text, "\n")
		early += "\r\n"
	}
	n.serve(t, early, func(ours net.Conn) {
		p := &player{t: t, n: n, conn: ours, lines: make(chan string, 1<<12)}
		p.run(script)
	})
}

// Serve has a test play the client over a real connection itself.
func (n *Node) Serve(t *testing.T, play func(net.Conn)) { n.serve(t, "", play) }

// serve takes the connection once early is on its way.
func (n *Node) serve(t *testing.T, early string, play func(net.Conn)) {
	t.Helper()
	srv := n.server(t)
	defer n.close(t, srv)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(ours, early)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			srv.ServeConn(fromTCP{c.(*net.TCPConn), n.client()}, false)
		}
	}()
	defer func() { <-done }()
	defer ours.Close()
	play(ours)
}

func (n *Node) client() net.Addr {
	ip := netip.MustParseAddr("192.0.2.7")
	if n.Client != "" {
		ip = netip.MustParseAddr(n.Client)
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 4711))
}

func (n *Node) server(t *testing.T) *smtp.Server {
	var ps []plugin.Plugin
	ps = append(ps, n.Own...)
	for _, u := range n.Plugins {
		p, err := Make(u, n.Files)
		if err != nil {
			t.Fatalf("%s: %v", u.Kind.Name, err)
		}
		ps = append(ps, p)
	}
	c, err := plugin.New(plugin.Options{}, ps...)
	if err != nil {
		t.Fatal(err)
	}
	n.chain.Swap(c)
	p := ingress.Policy{
		Hostname: "mx.test", Plugins: &n.chain, Spool: t.TempDir(),
		ReverseName: func(_ context.Context, ip netip.Addr) string { return n.Names[ip.String()] },
	}
	if n.Policy != nil {
		n.Policy(&p)
	}
	h := ingress.New(p, ingress.Store{
		NewWriter: func(string) ingress.Writer { return &writer{n: n} },
		Room:      func() error { return nil },
		Full:      errors.New("full"),
	})
	return &smtp.Server{Hostname: "mx.test", Handler: h, Limits: smtp.Limits{Errors: -1, Junk: -1, Refusals: -1}}
}

func (n *Node) close(t *testing.T, srv *smtp.Server) {
	_ = srv.Shutdown(t.Context())
	if err := n.chain.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// writer keeps what is committed.
type writer struct {
	n   *Node
	buf []byte
}

func (w *writer) Write(p []byte) (int, error) { w.buf = append(w.buf, p...); return len(p), nil }

func (w *writer) Commit(_ context.Context, m *mail.Message, ds []mail.Delivery) error {
	s := Stored{Text: string(w.buf), Message: m}
	for _, d := range ds {
		s.Recipients = append(s.Recipients, d.Recipients...)
	}
	w.n.mu.Lock()
	defer w.n.mu.Unlock()
	w.n.stored = append(w.n.stored, s)
	return nil
}

func (w *writer) Abort() {}

// from is a connection that comes from an address of the test's choice.
type from struct {
	net.Conn
	addr net.Addr
}

func (c from) RemoteAddr() net.Addr { return c.addr }

type fromTCP struct {
	*net.TCPConn
	addr net.Addr
}

func (c fromTCP) RemoteAddr() net.Addr { return c.addr }
