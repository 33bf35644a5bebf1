package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/tarishi/tarishi/smtp"
)

// Service is a running ingress: its listeners and the engine behind them.
type Service struct {
	server *smtp.Server
	drain  time.Duration
	open   []opened
}

// Listener is an address, and what it is for.
type Listener struct {
	Address string
	Port    smtp.Port
}

type opened struct {
	net.Listener
	port *smtp.Port
}

// Listen opens all addresses, or none and says why. Clients can connect when it
// returns; they are greeted once Run runs. At the end of Run, open transactions
// have drain to finish.
func Listen(server *smtp.Server, listeners []Listener, drain time.Duration) (*Service, error) {
	s := &Service{server: server, drain: drain}
	// Every wait of ours has an end of its own, so nobody needs TCP's keep-alive: Go's, every
	// 15 seconds, would have 20,000 idle connections exchange 2,700 segments a second.
	quiet := net.ListenConfig{KeepAlive: -1}
	for i := range listeners {
		l, err := quiet.Listen(context.Background(), "tcp", listeners[i].Address)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("cannot listen for SMTP on %s: %w", listeners[i].Address, err)
		}
		s.open = append(s.open, opened{l, &listeners[i].Port})
	}
	return s, nil
}

// Addrs lists what is listened on, in the order of the listeners.
func (s *Service) Addrs() []net.Addr {
	var out []net.Addr
	for _, l := range s.open {
		out = append(out, l.Addr())
	}
	return out
}

// Run serves until ctx ends, then drains: no new connections, 421 4.3.2 for idle
// clients, time to finish for open transactions. It owns one goroutine per
// listener and returns when all have ended: nil after a drain, else why a
// listener failed.
func (s *Service) Run(ctx context.Context) error {
	n := len(s.open)
	ended := make(chan error, n)
	for _, l := range s.open {
		go func() { ended <- s.server.ServePort(l, l.port) }()
	}
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-ended:
		n--
	}
	// ctx has ended, which is why we are here; the drain has its own clock.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	if err := s.server.Shutdown(limit); err != nil && s.server.Log != nil {
		s.server.Log.Warn("smtp: transactions cut at the end of the drain", "after", s.drain)
	}
	for range n {
		<-ended
	}
	if failed != nil && !errors.Is(failed, smtp.ErrServerClosed) {
		return fmt.Errorf("SMTP listener failed: %w", failed)
	}
	return nil
}

func (s *Service) close() {
	for _, l := range s.open {
		_ = l.Close()
	}
}
