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
	plain  []net.Listener
	tls    []net.Listener
}

// Listen opens all addresses, or none and says why. plain speaks SMTP with
// STARTTLS, implicit speaks TLS from the first octet. Clients can connect when it
// returns; they are greeted once Run runs. At the end of Run, open transactions
// have drain to finish.
func Listen(server *smtp.Server, plain, implicit []string, drain time.Duration) (*Service, error) {
	s := &Service{server: server, drain: drain}
	for _, x := range []struct {
		addrs []string
		to    *[]net.Listener
	}{{plain, &s.plain}, {implicit, &s.tls}} {
		for _, a := range x.addrs {
			l, err := net.Listen("tcp", a)
			if err != nil {
				s.close()
				return nil, fmt.Errorf("cannot listen for SMTP on %s: %w", a, err)
			}
			*x.to = append(*x.to, l)
		}
	}
	return s, nil
}

// Addrs lists what is listened on, plaintext first.
func (s *Service) Addrs() []net.Addr {
	var out []net.Addr
	for _, l := range append(s.plain[:len(s.plain):len(s.plain)], s.tls...) {
		out = append(out, l.Addr())
	}
	return out
}

// Run serves until ctx ends, then drains: no new connections, 421 4.3.2 for idle
// clients, time to finish for open transactions. It owns one goroutine per
// listener and returns when all have ended: nil after a drain, else why a
// listener failed.
func (s *Service) Run(ctx context.Context) error {
	n := len(s.plain) + len(s.tls)
	ended := make(chan error, n)
	for _, l := range s.plain {
		go func() { ended <- s.server.Serve(l) }()
	}
	for _, l := range s.tls {
		go func() { ended <- s.server.ServeTLS(l) }()
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
	for _, l := range append(s.plain, s.tls...) {
		_ = l.Close()
	}
}
