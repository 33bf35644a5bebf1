package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/queue"
	"github.com/tarishi/tarishi/shaping"
	"github.com/tarishi/tarishi/smtp"
)

func serveCommand() *cobra.Command {
	var file string
	var accept bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a node: accept mail, keep it, deliver it",
		Long: `Run a node. Without a configuration file it accepts SMTP on 127.0.0.1:2525,
keeps its queue in ./tarishi-data and answers operators on 127.0.0.1:8025.
SIGTERM drains and exits with 0; a second signal exits at once.

A damaged queue refuses to start, with exit code 1 and nothing changed. With
--accept-damage what is damaged is copied to the folder "damaged" in the data
folder, and the node goes on with what can be read.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := daemon.Load(file, os.Environ())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			overlapDisk()
			ctx, stop := daemon.Signals(c.Context(), os.Exit)
			defer stop()
			return serve(ctx, conf, accept, func(line string) { fmt.Fprintln(c.OutOrStdout(), line) })
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (YAML); see `tarishi config print`")
	c.Flags().BoolVar(&accept, "accept-damage", false, "start with a damaged queue: keep copies of its damaged files and go on without what cannot be read")
	return c
}

// serve runs a node until ctx ends and it has drained. A damaged queue is an error
// unless accept is set. ready is told, once, that mail is accepted. Data goes one
// way: ingress, queue, deliverer.
func serve(ctx context.Context, c *daemon.Config, accept bool, ready func(line string)) (err error) {
	log := c.Log.Logger(os.Stderr)
	slog.SetDefault(log)
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	started := time.Now()
	if c.Clustered() || c.Delivery.Source != "" {
		return errors.New("serve runs a node on its own so far, from the system's own address: leave out cluster.peers and delivery.source")
	}

	folder, err := daemon.OpenFolder(c.Data, daemon.Standalone)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()

	// Before JetStream sees the files: it mends a damaged one by cutting it off.
	rest, err := cluster.Prepare(ctx, cluster.PrepareOptions{
		Dir: queueDir(folder), Keep: filepath.Join(folder.Path, "damaged"), Accept: accept, Log: log,
	})
	if stoppedEarly(ctx, err) {
		return nil
	}
	if err != nil {
		return err
	}
	nats, q, err := openQueue(ctx, c, folder, log)
	if stoppedEarly(ctx, err) {
		return nil
	}
	if err != nil {
		return err
	}
	checkCtx, endCheck := context.WithCancel(ctx)
	var check sync.WaitGroup
	check.Go(func() { rest.Run(checkCtx) })
	defer func() {
		endCheck()
		check.Wait()
		// The queue closes last: whoever settles a delivery until then finds it open.
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, q.Close(limit))
		nats.Stop()
	}()

	resolver := dns.New(dns.Config{
		Servers: c.Delivery.DNS.Servers, Timeout: c.Delivery.DNS.Timeout, Attempts: c.Delivery.DNS.Attempts,
		Allow: c.Delivery.AllowTargets, Log: log,
	})

	var out *deliverer.Deliverer
	if c.Has("deliverer") {
		conf, err := delivererConfig(c, q, resolver, log)
		if err != nil {
			return err
		}
		if out, err = deliverer.New(conf); err != nil {
			return err
		}
	}

	var in *ingress.Service
	var policy *ingress.Handler
	var server *smtp.Server
	if c.Has("ingress") {
		policy = newPolicy(c, q, resolver, log)
		if server, err = newServer(c, policy, log); err != nil {
			return err
		}
		if in, err = ingress.Listen(server, c.SMTP.Listen, c.SMTP.TLSListen, c.Drain); err != nil {
			return err
		}
	}

	line := "tarishi " + version() + ":"
	var draining atomic.Bool
	var board *admin.Server
	var adminPort net.Listener
	if c.Admin.Listen != "" {
		if adminPort, err = net.Listen("tcp", c.Admin.Listen); err != nil {
			return fmt.Errorf("cannot listen for operators on %s: %w", c.Admin.Listen, err)
		}
		board = admin.New(admin.Config{
			Version: version(), Node: c.Hostname, Roles: c.Roles, Started: started,
			Hosts: []string{c.SMTP.Hostname}, Queue: adminQueue{q, out}, Stats: func() admin.Stats { return stats(q, server, policy, out) },
			Checks: []admin.Check{
				{Name: "queue", Ask: func(context.Context) error { return q.Room() }},
				{Name: "running", Ask: func(context.Context) error {
					if draining.Load() {
						return errors.New("draining: this node is about to stop")
					}
					return nil
				}},
			},
			Log: log,
		})
	}

	// Each part ends in its own time: first no more mail comes in, then what is
	// under way goes out, and operators may watch to the end.
	var g errgroup.Group
	ingressDone := make(chan struct{})
	runCtx, failed := context.WithCancel(ctx)
	defer failed()
	if in != nil {
		g.Go(func() error { defer failed(); defer close(ingressDone); return in.Run(runCtx) })
		line += " SMTP on " + addrs(in.Addrs()) + ","
	} else {
		close(ingressDone)
	}
	delivererDone := make(chan struct{})
	if out != nil {
		g.Go(func() error { defer failed(); defer close(delivererDone); return out.Run(runCtx) })
	} else {
		close(delivererDone)
	}
	adminCtx, endAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer endAdmin()
	if board != nil {
		g.Go(func() error { defer failed(); return board.Serve(adminCtx, adminPort) })
		line += " admin on " + adminPort.Addr().String() + ","
	}
	ready(line + " data in " + folder.Path)

	<-runCtx.Done()
	draining.Store(true)
	log.Info("draining")
	<-ingressDone
	<-delivererDone
	endAdmin()
	return g.Wait()
}

// stoppedEarly tells that the start was given up because we were asked to stop.
func stoppedEarly(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// queueDir is where JetStream keeps the queue.
func queueDir(f *daemon.Folder) string { return filepath.Join(f.Path, "queue") }

// overlapDisk lets twice as many goroutines run as there are cores. A goroutine in
// fsync keeps its place until the runtime takes it away, which can be milliseconds:
// with two cores and two places, every barrier stopped half the node. Measured on
// two cores: a fifth more messages a second, from half the barriers.
func overlapDisk() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
}

// openQueue starts the embedded JetStream and the queue on it. Where JetStream
// turns out to acknowledge before it writes, it must sync every write itself.
func openQueue(ctx context.Context, c *daemon.Config, folder *daemon.Folder, log *slog.Logger) (*cluster.NATS, *queue.Queue, error) {
	size := int64(c.Queue.MaxBytes)
	if size == 0 {
		var err error
		if size, err = folder.QueueBytes(); err != nil {
			return nil, nil, err
		}
	}
	dir := queueDir(folder)
	always := c.Queue.Sync == "always"
	if c.Queue.Sync == "auto" {
		if why := barrierUnsafe(folder.Path); why != "" {
			log.Warn("every write is synced by itself, which is much slower", "reason", why)
			always = true
		}
	}
	for {
		nats, err := cluster.StartNATS(cluster.NATSOptions{Dir: dir, SyncAlways: always, Log: log})
		if err != nil {
			return nil, nil, err
		}
		q, err := queue.Open(ctx, queue.Options{
			Server: nats, StreamsDir: cluster.StreamsDir(dir), Node: c.Hostname,
			MaxBytes: size, MaxInline: int(c.Queue.MaxInline), NoBarrier: always, Log: log,
		})
		if err == nil {
			if err := nats.KeepMeta(); err != nil {
				log.Warn("if the streams' configuration is ever damaged, this node will not be able to mend it", "error", err)
			}
			return nats, q, nil
		}
		nats.Stop()
		if errors.Is(err, queue.ErrBarrier) && c.Queue.Sync == "auto" {
			log.Warn("every write is synced by itself, which is much slower", "reason", err)
			always = true
			continue
		}
		return nil, nil, err
	}
}

func newPolicy(c *daemon.Config, q *queue.Queue, resolver *dns.Resolver, log *slog.Logger) *ingress.Handler {
	return ingress.New(ingress.Policy{
		Hostname: c.SMTP.Hostname, RelayFrom: c.SMTP.RelayFrom, LocalDomains: c.Local.Domains,
		Postmaster: c.Local.Postmaster, MaxRecipients: c.SMTP.MaxRecipients, MaxReceived: c.SMTP.MaxReceived,
		MaxHeader: int64(c.SMTP.MaxHeaderSize), Expire: c.Retry.Expire, TenantHeader: c.SMTP.TenantHeader, Log: log,
		ReverseName: func(ctx context.Context, ip netip.Addr) string { return verifiedName(ctx, resolver, ip) },
	}, ingress.Store{
		NewWriter: func(id string) ingress.Writer { return q.NewWriter(id) },
		Room:      q.Room,
		Full:      queue.ErrFull,
	})
}

func newServer(c *daemon.Config, h smtp.Handler, log *slog.Logger) (*smtp.Server, error) {
	var t *tls.Config
	if c.SMTP.TLS.Cert != "" {
		cert, err := tls.LoadX509KeyPair(c.SMTP.TLS.Cert, c.SMTP.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("smtp.tls: %w", err)
		}
		t = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	l, w := c.SMTP.Limits, c.SMTP.Timeouts
	return &smtp.Server{
		Hostname: c.SMTP.Hostname, Handler: h, TLS: t, Log: log, LaxPaths: c.SMTP.LaxPaths,
		// Our own hosts may open as many connections as the node has.
		Exempt: func(ip netip.Addr) bool {
			return slices.ContainsFunc(c.SMTP.RelayFrom, func(p netip.Prefix) bool { return p.Contains(ip) })
		},
		Limits: smtp.Limits{
			Connections: l.Connections, PerIP: l.ConnectionsPerIP, BodyLine: int(l.BodyLine),
			MessageSize: int64(c.SMTP.MaxMessageSize), Discard: int64(l.Discard), Recipients: c.SMTP.MaxRecipients,
			Errors: l.Errors, Junk: l.Junk, Refusals: l.Refusals,
		},
		Timeouts: smtp.Timeouts{
			Command: w.Command, Block: w.Block, Message: w.Message, Session: w.Session,
			Handshake: w.Handshake, Write: w.Write, Greeting: w.Greeting, MinRate: orNone(int(w.MinRate)),
		},
	}, nil
}

// orNone turns the configuration's "0: any" into the engine's.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

func delivererConfig(c *daemon.Config, q *queue.Queue, resolver *dns.Resolver, log *slog.Logger) (conf deliverer.Config, err error) {
	var routes []deliverer.Route
	for _, r := range c.Routes {
		routes = append(routes, deliverer.Route{To: r.To, Via: r.Via})
	}
	if c.Local.Via != "" {
		for _, d := range c.Local.Domains {
			routes = append(routes, deliverer.Route{To: d, Via: c.Local.Via})
		}
	}
	table, err := deliverer.NewRoutes(routes)
	if err != nil {
		return conf, err
	}
	rules := []shaping.ConnectionRule{{To: "*", Limit: shaping.Limit{Connections: c.Delivery.Connections, PerConnection: c.Delivery.PerConnection}}}
	for _, l := range c.Rules() {
		x, err := connectionRule(l)
		if err != nil {
			return conf, err
		}
		if l.To == "*" {
			rules[0] = mergeRule(x, rules[0])
			continue
		}
		rules = append(rules, x)
	}
	limits, err := shaping.NewRules(rules)
	if err != nil {
		return conf, err
	}
	self := dns.SelfInfo{Names: []string{c.Hostname, c.SMTP.Hostname}, Addrs: ownAddrs()}
	d := c.Delivery
	policy := smtp.TLSOpportunistic
	if d.TLS == "off" {
		policy = smtp.TLSNever
	}
	attempts := log
	if !c.Log.Attempts {
		attempts = slog.New(quiet{log.Handler()})
	}
	return deliverer.Config{
		Hostname: d.Helo, Queue: outQueue{q}, Store: q, Hosts: mailHosts{resolver, self}, Routes: table, Rules: limits,
		Retry: shaping.Retry{Schedule: c.Retry.Schedule, Expire: c.Retry.Expire, Jitter: c.Retry.Jitter},
		Log:   attempts, HandJobs: d.Hand.Jobs, HandBytes: int64(d.Hand.Bytes), IdleClose: orNever(d.Idle),
		ConnectTimeout: d.Timeouts.Connect, DrainTimeout: max(c.Drain, time.Nanosecond), DelayNotice: orNever(c.Retry.DelayNotice),
		Timeouts: smtp.ClientTimeouts{
			Greeting: d.Timeouts.Banner, Hello: d.Timeouts.Banner, Mail: d.Timeouts.Command, Rcpt: d.Timeouts.Command,
			Data: d.Timeouts.Data, Block: d.Timeouts.Block, Dot: d.Timeouts.Dot,
		},
		TLS: policy,
	}, nil
}

// connectionRule is the part of a limit that a node keeps by itself. What needs the
// scheduler is refused, never left out.
func connectionRule(l shaping.Rule) (x shaping.ConnectionRule, err error) {
	for _, f := range shaping.Fields {
		n := l.Number(f)
		switch {
		case !l.Gives(f):
		case n == nil || *n == 0 || l.Per != 0 || !strings.ContainsAny(l.To, ".*"):
			return x, fmt.Errorf("limits: to %s: %s per %s cannot be kept without the scheduler; leave it out", l.To, f, l.Per)
		case f == shaping.Connections:
			x.Connections = *n
		default:
			x.PerConnection = *n
		}
	}
	x.To = l.To
	return x, nil
}

func mergeRule(x, def shaping.ConnectionRule) shaping.ConnectionRule {
	if x.Connections == 0 {
		x.Connections = def.Connections
	}
	if x.PerConnection == 0 {
		x.PerConnection = def.PerConnection
	}
	return x
}

// orNever turns the configuration's "0: never" into the deliverer's.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// ownAddrs are this machine's addresses: mail that resolves to them would loop.
func ownAddrs() []netip.Addr {
	var out []netip.Addr
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, n := range nets {
		if p, err := netip.ParsePrefix(n.String()); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out
}

func addrs(list []net.Addr) string {
	var s []string
	for _, a := range list {
		s = append(s, a.String())
	}
	return strings.Join(s, " and ")
}
