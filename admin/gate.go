package admin

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
)

// Gate is the admin port from the moment it is open: one Server answers while the
// node is starting, which may take as long as its peers do, and another one from then on.
type Gate struct {
	s atomic.Pointer[Server]
}

// NewGate makes a Gate at which first answers.
func NewGate(first *Server) *Gate {
	g := &Gate{}
	g.s.Store(first)
	return g
}

// Pass has s answer from now on.
func (g *Gate) Pass(s *Server) { g.s.Store(s) }

// Serve is Server.Serve for whichever it is.
func (g *Gate) Serve(ctx context.Context, l net.Listener) error {
	return serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.s.Load().handler.ServeHTTP(w, r)
	}), g.s.Load().c.Log)
}

// NewStarting makes the Server of a node that is not there yet. It says that it
// lives, that it is not ready and why: the first of c.Checks that has a reason.
func NewStarting(c Config) *Server {
	s := New(c)
	mux := http.NewServeMux()
	mux.Handle("/healthz", get(s.healthz))
	mux.Handle("/readyz", get(s.readyz))
	mux.Handle("/v1/status", s.guarded(get(s.status)))
	mux.Handle("/", s.guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		why := "this node is still starting"
		if rd := s.readiness(r.Context()); len(rd.Reasons) > 0 {
			why = rd.Reasons[0]
		}
		fail(w, http.StatusServiceUnavailable, why)
	})))
	s.handler = mux
	return s
}
