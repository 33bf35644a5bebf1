package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/daemon"
)

// adminPort is the port for operators. It is open from the first moment on: a node
// that waits for its peers says so, and is not taken for a dead one.
type adminPort struct {
	listener net.Listener // nil: there is none
	gate     *admin.Gate
	end      context.CancelFunc
	once     sync.Once
	ended    chan struct{}
	err      error // after ended
}

// openAdminPort opens it; waits says what a node that is starting waits for.
func openAdminPort(c *daemon.Config, started time.Time, waits *note, log *slog.Logger) (*adminPort, error) {
	p := &adminPort{ended: make(chan struct{}), end: func() {}}
	if c.Admin.Listen == "" {
		close(p.ended)
		return p, nil
	}
	var err error
	if p.listener, err = net.Listen("tcp", c.Admin.Listen); err != nil {
		return nil, fmt.Errorf("cannot listen for operators on %s: %w", c.Admin.Listen, err)
	}
	p.gate = admin.NewGate(admin.NewStarting(admin.Config{
		Version: version(), Node: c.Hostname, Roles: c.Roles, Started: started, Hosts: []string{c.SMTP.Hostname}, Log: log,
		Checks: []admin.Check{{Name: "starting", Ask: func(context.Context) error { return errors.New(waits.get()) }}},
	}))
	ctx, end := context.WithCancel(context.Background()) // close ends it, when all else has ended
	p.end = end
	go func() {
		defer close(p.ended)
		p.err = p.gate.Serve(ctx, p.listener)
	}()
	return p, nil
}

// pass has the node itself answer.
func (p *adminPort) pass(s *admin.Server) {
	if p.gate != nil {
		p.gate.Pass(s)
	}
}

// addr is where it listens; empty: nowhere.
func (p *adminPort) addr() string {
	if p.listener == nil {
		return ""
	}
	return p.listener.Addr().String()
}

// close lets requests under way finish and returns why the port failed, if it did.
func (p *adminPort) close() (err error) {
	p.end()
	<-p.ended
	p.once.Do(func() { err = p.err })
	return err
}

// note is one line that somebody writes and others read.
type note struct{ text atomic.Pointer[string] }

func (n *note) set(text string) { n.text.Store(&text) }

func (n *note) get() string {
	if t := n.text.Load(); t != nil {
		return *t
	}
	return "this node is still starting"
}
