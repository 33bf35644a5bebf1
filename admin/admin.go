// Package admin answers the operator: is this node alive, is it ready, is mail
// moving, what waits for whom, and do this to that part of the queue, to a limit or
// to a node. It serves the HTTP API, the metrics and the status page on the admin
// port, and holds the Client that the command line speaks through.
//
// It decides nothing: everything is asked of the parts behind the small interfaces in
// ports.go and limitports.go.
// There are no passwords here: whoever reaches the port may act, so it listens on
// loopback by default, and guard.go keeps web pages of others from reaching it.
// It never touches mail by itself: no request, no change.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"
)

// Config is what a Server needs. Queue is required; the rest has a sane zero value.
type Config struct {
	Version string
	Node    string   // this node's name, as shown to people
	Roles   []string // the roles that run here
	Started time.Time

	// Hosts are further names under which browsers may reach this node, without
	// port: the hostname, a service name. Addresses and localhost always may.
	Hosts []string

	Queue    Queue
	Limits   Limits    // nil: this node cannot ask who keeps them
	Defaults *Defaults // of a destination without limits; nil: not known here
	Cluster  Cluster   // nil: likewise
	Whys     Whys      // nil: likewise

	Suppressions Suppressions // nil: this node has no such list
	Plugins      Plugins      // nil: this node runs none

	Stats  func() Stats // nil: no counters. Called for every scrape and status: must be cheap
	Checks []Check      // all must pass for /readyz

	Log *slog.Logger     // nil: nothing is logged
	Now func() time.Time // nil: time.Now
}

// Check is one condition of being ready. Ask returns nil, or the reason why not;
// it is asked on every /readyz and must return within a second or so.
type Check struct {
	Name string
	Ask  func(ctx context.Context) error
}

// Server is the admin port of one node. All methods may be called concurrently.
type Server struct {
	c       Config
	hosts   map[string]bool
	handler http.Handler
	lanes   *shared[Overview]
	live    *shared[liveList]
	page    page
}

// New makes a Server; it opens nothing.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Started.IsZero() {
		c.Started = c.Now()
	}
	if c.Stats == nil {
		c.Stats = func() Stats { return Stats{} }
	}
	s := &Server{
		c: c, hosts: map[string]bool{}, page: newPage(),
		lanes: &shared[Overview]{now: c.Now, ask: func(ctx context.Context) (Overview, error) { return c.Queue.Lanes(ctx, maxRows) }},
		live:  &shared[liveList]{now: c.Now, ask: func(ctx context.Context) (liveList, error) { return askLive(ctx, c.Limits) }},
	}
	for _, h := range append([]string{c.Node}, c.Hosts...) {
		if h != "" {
			s.hosts[strings.ToLower(strings.TrimSuffix(h, "."))] = true
		}
	}
	s.handler = s.routes()
	return s
}

// Handler is the whole admin port as an http.Handler.
func (s *Server) Handler() http.Handler { return s.handler }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	// Probes and scrapers come under any host name and learn nothing but counts.
	mux.Handle("/healthz", get(s.healthz))
	mux.Handle("/readyz", get(s.readyz))
	mux.Handle("/metrics", get(s.metricsHandler().ServeHTTP))

	mux.Handle("/v1/status", s.guarded(get(s.status)))
	mux.Handle("/v1/queue", s.guarded(get(s.listLanes)))
	mux.Handle("/v1/queue/messages", s.guarded(get(s.findMessages)))
	mux.Handle("/v1/queue/messages/{id}/body", s.guarded(get(s.body)))
	mux.Handle("/v1/queue/doubts", s.guarded(get(s.doubts)))
	mux.Handle("/v1/queue/why/{id}", s.guarded(get(s.why)))
	mux.Handle("/v1/queue/summary", s.guarded(get(s.summary)))
	for _, v := range Verbs {
		mux.Handle("/v1/queue/"+string(v), s.guarded(post(func(w http.ResponseWriter, r *http.Request) {
			s.act(w, r, v)
		})))
	}
	mux.Handle("/v1/queue/actions", s.guarded(get(s.listActions)))
	mux.Handle("/v1/queue/actions/{id}", s.guarded(get(s.showAction)))
	mux.Handle("/v1/queue/actions/{id}/progress", s.guarded(get(s.watchAction)))
	mux.Handle("/v1/queue/actions/{id}/cancel", s.guarded(post(s.cancelAction)))
	mux.Handle("/v1/limits", s.guarded(get(s.withLimits(s.listLimits))))
	mux.Handle("/v1/limits/explain", s.guarded(get(s.withLimits(s.explainLimits))))
	mux.Handle("/v1/limits/history", s.guarded(get(s.withLimits(s.limitHistory))))
	mux.Handle("/v1/limits/plan", s.guarded(post(s.withLimits(s.planLimits))))
	mux.Handle("/v1/limits/diff", s.guarded(post(s.withLimits(s.diffLimits))))
	for v := range limitKeys {
		if v != diffVerb {
			mux.Handle("/v1/limits/"+string(v), s.guarded(post(s.withLimits(func(w http.ResponseWriter, r *http.Request) {
				s.changeLimits(w, r, v)
			}))))
		}
	}
	mux.Handle("/v1/reactions", s.guarded(get(s.withLimits(s.listReactions))))
	for _, v := range []ReactionVerb{AddReaction, UndoReactions} {
		mux.Handle("/v1/reactions/"+string(v), s.guarded(post(s.withLimits(func(w http.ResponseWriter, r *http.Request) {
			s.changeReactions(w, r, v)
		}))))
	}
	mux.Handle("/v1/suppress", s.guarded(get(s.withSuppressions(s.listSuppressions))))
	mux.Handle("/v1/suppress/check", s.guarded(get(s.withSuppressions(s.checkSuppression))))
	mux.Handle("/v1/suppress/add", s.guarded(post(s.withSuppressions(s.addSuppressions))))
	mux.Handle("/v1/suppress/rm", s.guarded(post(s.withSuppressions(s.removeSuppressions))))
	mux.Handle("/v1/plugins", s.guarded(get(s.withPlugins(s.listPlugins))))
	mux.Handle("/v1/plugins/reload", s.guarded(post(s.withPlugins(s.reloadPlugins))))
	mux.Handle("/v1/nodes", s.guarded(get(s.withCluster(s.listNodes))))
	mux.Handle("/v1/nodes/remove", s.guarded(post(s.withCluster(s.removeNode))))
	mux.Handle("/v1/nodes/transfer", s.guarded(post(s.withCluster(s.transfer))))
	mux.Handle("/v1/", s.guarded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Sprintf("there is no %s here; the API begins at /v1/status, /v1/queue, /v1/limits, /v1/suppress, /v1/plugins and /v1/nodes", r.URL.Path))
	})))
	// What a developer asks for when a node is slow: `go tool pprof http://…/debug/pprof/profile`.
	mux.Handle("/debug/pprof/", s.guarded(get(pprof.Index)))
	mux.Handle("/debug/pprof/profile", s.guarded(get(pprof.Profile)))
	mux.Handle("/debug/pprof/trace", s.guarded(get(pprof.Trace)))
	mux.Handle("/{$}", s.guarded(get(s.index)))
	return mux
}

// drainTime is how long requests under way may go on once Serve's context ends.
const drainTime = 5 * time.Second

// Serve answers on l until ctx ends, then lets requests under way finish for up
// to five seconds. It returns nil after such an end, else why it stopped. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return serve(ctx, l, s.handler, s.c.Log)
}

func serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		log.Warn("admin port is reachable from other hosts and asks for no password: let only operators through the firewall",
			"listen", a.String())
	}
	// A request's context must end with ctx, or a long action would outlive the drain.
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	hs := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      writeTime, // streams move it on, see extend
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- hs.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("admin port %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if hs.Shutdown(grace) != nil {
		stop()
		_ = hs.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin port %s: %w", l.Addr(), err)
	}
	return nil
}
