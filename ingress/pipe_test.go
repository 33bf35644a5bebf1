package ingress

import (
	"context"
	"net"
	"sync"
	"testing"
)

// pipeListener hands out net.Pipe ends, so that a listener can live in a bubble.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	gone  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), gone: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.gone) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// ctxOf is a context that ends when stop is closed.
func ctxOf(t *testing.T, stop chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-stop
		cancel()
	}()
	return ctx
}

func newPlayer(t *testing.T, conn net.Conn) *player {
	p := &player{t: t, conn: conn, lines: make(chan string, 1<<16)}
	p.wg.Add(1)
	go p.read()
	return p
}
