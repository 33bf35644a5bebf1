package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/certs"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/deliverer"
	"github.com/tarishi/tarishi/dns"
	"github.com/tarishi/tarishi/ingress"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/scheduler"
	"github.com/tarishi/tarishi/smtp"
)

func serveCommand(kinds []plugin.Kind) *cobra.Command {
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
			return serve(ctx, conf, kinds, accept, func(line string) { fmt.Fprintln(c.OutOrStdout(), line) })
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (YAML); see `tarishi config print`")
	c.Flags().BoolVar(&accept, "accept-damage", false, "start with a damaged queue: keep copies of its damaged files and go on without what cannot be read")
	return c
}

// serve runs a node until ctx ends and it has drained. A damaged queue is an error
// unless accept is set. ready is told, once, that mail is accepted. Data goes one
// way: ingress, queue, deliverer; control comes from the scheduler to the deliverer.
func serve(ctx context.Context, c *daemon.Config, kinds []plugin.Kind, accept bool, ready func(line string)) (err error) {
	log := c.Log.Logger(os.Stderr)
	slog.SetDefault(log)
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	started := time.Now()
	defer func() { // whoever reads the log sees that nothing was cut off
		if err == nil {
			log.Info("stopped", "after", time.Since(started).Round(time.Second))
		}
	}()

	// A node with the scheduler role keeps state; others of a cluster keep none.
	mode, where := daemon.Standalone, "no data here"
	if c.Clustered() {
		mode = daemon.Cluster
	}
	var folder *daemon.Folder
	if c.Has("scheduler") || !c.Clustered() {
		if folder, err = daemon.OpenFolder(c.Data, mode); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, folder.Close()) }()
		where = "data in " + folder.Path
	}

	var waits note
	port, err := openAdminPort(c, started, &waits, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, port.close()) }()

	k, err := openCouncil(c, log)
	if err != nil {
		return err
	}
	k.waits = &waits
	defer func() { err = errors.Join(err, k.close()) }()

	// The session with the scheduler, the queue and the deliverer ask one another;
	// what is made later is asked for when it is there.
	var out *deliverer.Deliverer
	back := &backQueue{c: c}
	var q *store
	s := newSession(c, k, log)
	q, err = openStore(ctx, c, k, folder, accept, storeNeeds{
		mayWork: s.holds,
		bounce:  back.bounce, deadline: back.deadline, retried: back.retried, answer: back.answer,
	}, log)
	if stoppedEarly(ctx, err) {
		return nil
	}
	if err != nil {
		return err
	}
	// The queue closes last: whoever settles a delivery until then finds it open.
	defer func() { err = errors.Join(err, q.close(ctx)) }()

	if err = k.join(ctx, folder); err != nil {
		if stoppedEarly(ctx, err) {
			return nil
		}
		return err
	}

	resolver := dns.New(dns.Config{
		Servers: c.Delivery.DNS.Servers, Timeout: c.Delivery.DNS.Timeout, Attempts: c.Delivery.DNS.Attempts,
		Allow: c.Delivery.AllowTargets, Log: log,
	})

	// Hangups are heard before anybody can be told that we are ready for them.
	hangups, deaf := daemon.Hangups()
	defer deaf()
	plugins := newPluginHost(c, kinds, resolver, log)
	if asksPlugins(c) {
		if plugins, err = openPlugins(c, kinds, resolver, log); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, plugins.close()) }()
	}

	if c.Has("deliverer") {
		conf, err := delivererConfig(c, q.Queue, resolver, log)
		if err != nil {
			return err
		}
		sched := s.open(folder)
		conf.Scheduler, conf.Reactor, conf.Plugins = sched, sched, &plugins.loader.Current
		if out, err = deliverer.New(conf); err != nil {
			return err
		}
		back.out.Store(out)
		s.attach(q.Queue, out)
	}

	var in *ingress.Service
	var policy *ingress.Handler
	var server *smtp.Server
	var certificates *certs.Store
	if c.Has("ingress") {
		spool, err := spoolFolder(folder)
		if err != nil {
			return err
		}
		if policy, err = newPolicy(c, q.Queue, plugins, spool, resolver, log); err != nil {
			return err
		}
		if certificates, err = openCerts(c, log); err != nil {
			return err
		}
		server = newServer(c, policy, certificates, log)
		if in, err = ingress.Listen(server, listenersOf(c), c.Drain); err != nil {
			return err
		}
	}

	op := scheduler.NewOperator(k.reach, log)
	line := "tarishi " + version() + ":"
	var draining atomic.Bool
	if port.addr() != "" {
		port.pass(admin.New(admin.Config{
			Version: version(), Node: c.Hostname, Roles: c.Roles, Started: started,
			Hosts: []string{c.SMTP.Hostname}, Queue: adminQueue{q.Queue},
			Stats:    func() admin.Stats { return stats(q.Queue, server, certificates, policy, out, s) },
			Limits:   operatorLimits{op, resolver, c},
			Defaults: &admin.Defaults{Connections: c.Delivery.Connections, PerConnection: c.Delivery.PerConnection},
			Cluster:  operatorNodes{k, op, q, c},
			Whys:     whys{q.Queue, operatorLimits{op, resolver, c}},

			Suppressions: operatorSuppressions{q.Suppressions()},
			Plugins:      operatorPluginsOf(c, plugins),
			Checks: []admin.Check{
				{Name: "queue", Ask: func(context.Context) error { return q.Room() }},
				{Name: "scheduler", Ask: func(context.Context) error { return schedulerReady(k, s) }},
				{Name: "running", Ask: func(context.Context) error {
					if draining.Load() {
						return errors.New("draining: this node is about to stop")
					}
					return nil
				}},
			},
			Log: log,
		}))
	}

	// Each part ends in its own time: first no more mail comes in, then what is
	// under way goes out, and operators may watch to the end.
	var g errgroup.Group
	ingressDone := make(chan struct{})
	runCtx, failed := context.WithCancel(ctx)
	defer failed()
	if certificates != nil {
		g.Go(func() error { return certificates.Run(runCtx) })
	}
	if in != nil {
		g.Go(func() error { defer failed(); defer close(ingressDone); return in.Run(runCtx) })
		line += " SMTP on " + addrs(in.Addrs()) + ","
	} else {
		close(ingressDone)
	}
	delivererDone := make(chan struct{})
	sessionCtx, endSession := context.WithCancel(context.WithoutCancel(ctx))
	defer endSession()
	if out != nil {
		g.Go(func() error {
			defer failed()
			if err := k.bringFile(runCtx, op); err != nil {
				if runCtx.Err() != nil {
					return nil
				}
				return fmt.Errorf("the limits of the configuration were not taken: %w", err)
			}
			return s.run(sessionCtx)
		})
		g.Go(func() error { defer failed(); defer close(delivererDone); return out.Run(runCtx) })
	} else {
		g.Go(func() error { // limits come from nodes with the scheduler role, whoever delivers
			if err := k.bringFile(runCtx, op); err != nil && runCtx.Err() == nil {
				return fmt.Errorf("the limits of the configuration were not taken: %w", err)
			}
			return nil
		})
		close(delivererDone)
	}
	g.Go(func() error { return plugins.run(runCtx, hangups) })
	if port.addr() != "" {
		g.Go(func() error {
			select {
			case <-port.ended:
				defer failed()
				return port.close()
			case <-runCtx.Done():
				return nil
			}
		})
	}
	if a := port.addr(); a != "" {
		line += " admin on " + a + ","
	}
	ready(line + " " + where)

	<-runCtx.Done()
	draining.Store(true)
	log.Info("draining")
	s.drain()
	<-ingressDone
	<-delivererDone
	s.settled()
	endSession()
	return errors.Join(port.close(), g.Wait())
}

// stoppedEarly tells that the start was given up because we were asked to stop.
func stoppedEarly(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// overlapDisk lets twice as many goroutines run as there are cores. A goroutine in
// fsync keeps its place until the runtime takes it away, which can be milliseconds:
// with two cores and two places, every barrier stopped half the node. Measured on
// two cores: a fifth more messages a second, from half the barriers.
func overlapDisk() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
}
