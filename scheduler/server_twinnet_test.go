package scheduler

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// twinNet is the network between clients and servers, by name. Octets take delay to
// arrive; what crosses a cut is lost, and the connection breaks when it is mended.
type twinNet struct {
	delay time.Duration
	mu    sync.Mutex
	serve map[string]func(net.Conn)
	cuts  map[[2]string]bool
	conns []*twinConn
	stops map[string]chan struct{} // nodes that do not run: closed when they go on
}

func newTwinNet(delay time.Duration) *twinNet {
	return &twinNet{delay: delay, serve: map[string]func(net.Conn){}, cuts: map[[2]string]bool{}, stops: map[string]chan struct{}{}}
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

func (w *twinNet) dial(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, to string) (net.Conn, error) {
		select {
		case <-time.After(2 * w.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		w.mu.Lock()
		serve, cut := w.serve[to], w.cuts[pair(from, to)]
		w.mu.Unlock()
		if cut {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if serve == nil {
			return nil, errors.New("connection refused")
		}
		a, b := newTwinConns(w, from, to)
		w.mu.Lock()
		w.conns = append(w.conns, a, b)
		w.mu.Unlock()
		go serve(b)
		return a, nil
	}
}

// cut parts two names, or mends the way between them.
func (w *twinNet) cut(a, b string, yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cuts[pair(a, b)] = yes
	for _, c := range w.conns {
		if pair(c.from, c.to) == pair(a, b) {
			if yes {
				c.lossy.Store(true)
			} else if c.lossy.Load() {
				c.Close()
			}
		}
	}
}

// breakAll ends every connection of a name, as its death does.
func (w *twinNet) breakAll(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.serve, name)
	for _, c := range w.conns {
		if c.from == name || c.to == name {
			c.Close()
		}
	}
}

// lose takes a name off the network, as when its machine loses power: nobody hears.
func (w *twinNet) lose(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for to := range w.serve {
		w.cuts[pair(name, to)] = true
	}
	for _, c := range w.conns {
		if c.from == name || c.to == name {
			c.lossy.Store(true)
		}
	}
}

// stop freezes a name's reads and writes; start lets them go on.
func (w *twinNet) stop(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stops[name] = make(chan struct{})
}

func (w *twinNet) start(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.stops[name])
	delete(w.stops, name)
}

func (w *twinNet) running(name string) {
	w.mu.Lock()
	c := w.stops[name]
	w.mu.Unlock()
	if c != nil {
		<-c
	}
}

// twinConn is one end of a connection.
type twinConn struct {
	w        *twinNet
	from, to string
	lossy    toggle
	in, out  *twinWay
	mu       sync.Mutex
	deadline time.Time
}

type toggle struct {
	mu sync.Mutex
	on bool
}

func (f *toggle) Store(v bool) { f.mu.Lock(); f.on = v; f.mu.Unlock() }
func (f *toggle) Load() bool   { f.mu.Lock(); defer f.mu.Unlock(); return f.on }

// twinWay is one direction.
type twinWay struct {
	mu     sync.Mutex
	chunks []twinChunk
	closed bool
	more   chan struct{}
}

type twinChunk struct {
	due time.Time
	b   []byte
}

func newTwinConns(w *twinNet, a, b string) (*twinConn, *twinConn) {
	up, down := &twinWay{more: make(chan struct{}, 1)}, &twinWay{more: make(chan struct{}, 1)}
	return &twinConn{w: w, from: a, to: b, in: down, out: up}, &twinConn{w: w, from: b, to: a, in: up, out: down}
}

func (c *twinConn) Write(b []byte) (int, error) {
	c.w.running(c.from)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.closed {
		return 0, io.ErrClosedPipe
	}
	if !c.lossy.Load() {
		c.out.chunks = append(c.out.chunks, twinChunk{time.Now().Add(c.w.delay), append([]byte(nil), b...)})
		select {
		case c.out.more <- struct{}{}:
		default:
		}
	}
	return len(b), nil
}

func (c *twinConn) Read(b []byte) (int, error) {
	for {
		c.in.mu.Lock()
		var wait time.Duration = -1
		if len(c.in.chunks) > 0 {
			h := &c.in.chunks[0]
			if wait = time.Until(h.due); wait <= 0 {
				n := copy(b, h.b)
				if h.b = h.b[n:]; len(h.b) == 0 {
					c.in.chunks = c.in.chunks[1:]
				}
				c.in.mu.Unlock()
				c.w.running(c.from)
				return n, nil
			}
		} else if c.in.closed {
			c.in.mu.Unlock()
			return 0, io.EOF
		}
		c.in.mu.Unlock()
		c.mu.Lock()
		until := c.deadline
		c.mu.Unlock()
		if !until.IsZero() {
			left := time.Until(until)
			if left <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
			if wait < 0 || left < wait {
				wait = left
			}
		}
		if wait < 0 {
			<-c.in.more
			continue
		}
		select {
		case <-c.in.more:
		case <-time.After(wait):
		}
	}
}

func (c *twinConn) Close() error {
	for _, w := range []*twinWay{c.in, c.out} {
		w.mu.Lock()
		w.closed = true
		w.mu.Unlock()
		select {
		case w.more <- struct{}{}:
		default:
		}
	}
	return nil
}

func (c *twinConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return nil
}
func (c *twinConn) SetWriteDeadline(time.Time) error { return nil }
func (c *twinConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *twinConn) LocalAddr() net.Addr              { return &net.IPAddr{} }
func (c *twinConn) RemoteAddr() net.Addr             { return &net.IPAddr{} }
