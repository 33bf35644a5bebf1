package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// memNet is a network in memory for a bubble. A cut link behaves like a cut wire: what
// is written stays under way until the link is whole again, and dialling waits.
type memNet struct {
	mu    sync.Mutex
	ls    map[string]*memListener
	conns map[*memConn]bool
	cut   map[[2]string]bool // from, to: nothing travels this way
}

func newMemNet() *memNet {
	return &memNet{ls: map[string]*memListener{}, conns: map[*memConn]bool{}, cut: map[[2]string]bool{}}
}

// set cuts or mends one direction.
func (n *memNet) set(from, to string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = cut
	for c := range n.conns {
		c.poke()
	}
}

// isolate cuts or mends a node from and to these others.
func (n *memNet) isolate(node string, others []string, cut bool) {
	for _, o := range others {
		if o != node {
			n.set(node, o, cut)
			n.set(o, node, cut)
		}
	}
}

func (n *memNet) isCut(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[[2]string{from, to}]
}

// vanish resets a node's connections, as the death of its process does.
func (n *memNet) vanish(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.here == node || c.there == node {
			c.reset()
		}
	}
}

func (n *memNet) listen(addr string) *memListener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &memListener{net: n, addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
	n.ls[addr] = l
	return l
}

// dial is TransportOptions.Dial for one node.
func (n *memNet) dial(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		for n.isCut(from, to) || n.isCut(to, from) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(50 * time.Millisecond):
			}
		}
		n.mu.Lock()
		l := n.ls[to]
		n.mu.Unlock()
		if l == nil {
			return nil, syscall.ECONNREFUSED
		}
		out, in := &half{}, &half{}
		a := &memConn{net: n, here: from, there: to, r: in, w: out}
		b := &memConn{net: n, here: to, there: from, r: out, w: in}
		out.poke, in.poke = make(chan struct{}), make(chan struct{})
		n.mu.Lock()
		n.conns[a], n.conns[b] = true, true
		n.mu.Unlock()
		select {
		case l.conns <- b:
			return a, nil
		case <-l.done:
			return nil, syscall.ECONNREFUSED
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

type memListener struct {
	net   *memNet
	addr  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.ls[l.addr] == l {
			delete(l.net.ls, l.addr)
		}
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return memAddr(l.addr) }

type memAddr string

func (a memAddr) Network() string { return "mem" }
func (a memAddr) String() string  { return string(a) }

// half is one direction of a connection.
type half struct {
	mu     sync.Mutex
	buf    []byte
	closed bool
	gone   bool          // reset
	poke   chan struct{} // closed and renewed when something has changed
}

func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.poke)
	h.poke = make(chan struct{})
}

type memConn struct {
	net         *memNet
	here, there string
	r, w        *half

	mu       sync.Mutex
	deadline time.Time
	closed   bool // here
}

func (c *memConn) Read(p []byte) (int, error) {
	for {
		cut := c.net.isCut(c.there, c.here)
		c.mu.Lock()
		deadline, closed := c.deadline, c.closed
		c.mu.Unlock()
		if closed {
			return 0, net.ErrClosed
		}
		c.r.mu.Lock()
		poke := c.r.poke
		switch {
		case c.r.gone:
			c.r.mu.Unlock()
			return 0, syscall.ECONNRESET
		case !deadline.IsZero() && !time.Now().Before(deadline):
			c.r.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(c.r.buf) > 0 && !cut:
			n := copy(p, c.r.buf)
			c.r.buf = c.r.buf[n:]
			c.r.mu.Unlock()
			return n, nil
		case c.r.closed && !cut:
			c.r.mu.Unlock()
			return 0, io.EOF
		}
		c.r.mu.Unlock()
		if deadline.IsZero() {
			<-poke
			continue
		}
		t := time.NewTimer(time.Until(deadline))
		select {
		case <-poke:
		case <-t.C:
		}
		t.Stop()
	}
}

func (c *memConn) Write(p []byte) (int, error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.w.gone || c.w.closed {
		return 0, syscall.EPIPE
	}
	c.w.buf = append(c.w.buf, p...)
	close(c.w.poke)
	c.w.poke = make(chan struct{})
	return len(p), nil
}

func (c *memConn) poke() { c.r.change(func() {}) }

func (c *memConn) reset() {
	c.r.change(func() { c.r.gone = true })
	c.w.change(func() { c.w.gone = true })
}

func (c *memConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.r.change(func() { c.r.closed, c.r.buf = true, nil })
	c.w.change(func() { c.w.closed = true })
	return nil
}

func (c *memConn) LocalAddr() net.Addr  { return memAddr(c.here) }
func (c *memConn) RemoteAddr() net.Addr { return memAddr(c.there) }

func (c *memConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	c.poke()
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *memConn) SetWriteDeadline(t time.Time) error { return nil }

func (c *memConn) String() string { return fmt.Sprintf("%s-%s", c.here, c.there) }
