package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/scheduler"
	"github.com/tarishi/tarishi/shaping"
)

// council is this process's way to the schedulers: it is one of them, or it knows
// where they are.
type council struct {
	c     *daemon.Config
	log   *slog.Logger
	peers []cluster.Peer
	creds *cluster.Credentials

	clock     func() int64 // see scheduler.BootTime
	rates     func() (steered, raw int64)
	transport *cluster.Transport // nil: one node on its own
	raft      *cluster.Raft      // nil: the schedulers are elsewhere
	server    *scheduler.Server  // with raft
	reach     scheduler.Peers

	waits *note  // what a node that is starting waits for
	end   func() // of the server
	wg    sync.WaitGroup
}

// lastWords is how long a node that stops may take to hand over what it leads.
const lastWords = 5 * time.Second

// openCouncil opens port P, if there are other nodes. Nothing is agreed on yet.
func openCouncil(c *daemon.Config, log *slog.Logger) (*council, error) {
	k := &council{c: c, log: log, clock: scheduler.BootTime, rates: scheduler.Rates, waits: &note{}}
	if !c.Clustered() {
		return k, nil
	}
	var err error
	if k.peers, err = cluster.ParsePeers(c.Cluster.Peers); err != nil {
		return nil, fmt.Errorf("cluster.peers: %w", err)
	}
	if t := c.Cluster.TLS; t.CA != "" {
		if k.creds, err = cluster.LoadCredentials(t.CA, t.Cert, t.Key, c.Cluster.Node); err != nil {
			return nil, fmt.Errorf("cluster.tls: %w", err)
		}
	}
	k.transport, err = cluster.NewTransport(cluster.TransportOptions{
		Cluster: c.Cluster.Name, Node: c.Cluster.Node, Listen: c.Cluster.Listen,
		Credentials: k.creds, AllowInsecure: c.Cluster.Insecure, Log: log,
	})
	if err != nil {
		return nil, err
	}
	for _, p := range k.peers {
		if p.Node != c.Cluster.Node {
			k.reach.Addrs = append(k.reach.Addrs, p.Addr)
		}
	}
	k.reach.Dial = k.transport.DialControl
	return k, nil
}

// join takes part in what the schedulers agree on, for a node with that role; it
// returns when this node does.
func (k *council) join(ctx context.Context, folder *daemon.Folder) error {
	if !k.c.Has("scheduler") {
		return nil
	}
	boot, err := scheduler.BootID()
	if err != nil {
		k.log.Warn("the clock will not be kept over a restart: windows longer than the stop begin anew", "error", err)
	}
	k.server = scheduler.NewServer(scheduler.ServerOptions{
		Node: k.node(), Params: schedulerParams(), Clock: k.clock, Boot: boot,
		ClockFile: filepath.Join(folder.Path, "clock"), Rates: k.rates, Alone: k.transport == nil, Fatal: k.fatal, Log: k.log,
	})
	k.reach.Local = k.server
	if k.transport != nil {
		k.transport.Handle('C', func(conn net.Conn, _ string) { k.server.Serve(conn) })
	}
	o := cluster.RaftOptions{
		Waits: k.waits.set,
		Dir:   cluster.RaftDir(folder.Path), FSM: k.server.State(), Fatal: k.fatal, Release: version(), Log: k.log,
	}
	if k.transport != nil {
		o.Cluster, o.Node, o.Peers, o.Transport = k.c.Cluster.Name, k.c.Cluster.Node, k.peers, k.transport
	}
	if k.raft, err = cluster.StartRaft(ctx, o); err != nil {
		return err
	}
	run, end := context.WithCancel(context.WithoutCancel(ctx))
	k.end = end
	changes := make(chan scheduler.Leadership)
	k.wg.Go(func() {
		defer close(changes)
		for l := range k.raft.Leadership() {
			select {
			case changes <- scheduler.Leadership(l):
			case <-run.Done():
				return
			}
		}
	})
	k.wg.Go(func() { _ = k.server.Run(run, consensus{k.raft}, changes) })
	return nil
}

// belongs is an error when those who answer at cluster.peers are another cluster's, for
// a node that keeps no state; the others find out when they join. It can never work, and
// must not even begin to look into that cluster's queue.
func (k *council) belongs(ctx context.Context) error {
	if k.c.Has("scheduler") {
		return nil
	}
	answers := make([]error, len(k.peers))
	var wg sync.WaitGroup
	for i, p := range k.peers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			_, answers[i] = k.transport.Status(ctx, p.Addr)
		})
	}
	wg.Wait()
	return foreign(answers)
}

// foreign is an error if some say that they are another cluster's and nobody is ours.
func foreign(answers []error) error {
	var found error
	for _, err := range answers {
		var r *cluster.RefusedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &r) && r.Foreign:
			found = fmt.Errorf("%w: %s; see cluster.name and cluster.peers", cluster.ErrForeign, r.Reason)
		}
	}
	return found
}

// node is this node's name among the nodes.
func (k *council) node() string {
	if k.c.Cluster.Node != "" {
		return k.c.Cluster.Node
	}
	return k.c.Hostname
}

// fatal ends the process: what stands still must make room for another node.
func (k *council) fatal(err error) {
	k.log.Error("this node stops at once", "error", err)
	os.Exit(exitPartly)
}

// bringFile hands in the limits of this node's configuration. Until that is done,
// nothing is sent from here: mail must not get ahead of its limits.
func (k *council) bringFile(ctx context.Context, op *scheduler.Operator) error {
	if k.server == nil {
		return nil
	}
	groups, rules, shares := k.c.Groups(), k.c.Rules(), k.c.Shares()
	return op.SubmitFile(ctx, shaping.Change{
		Op: shaping.OpFile, Author: "configuration", At: time.Now().UTC(), Node: k.node(),
		Hash: shaping.FileHash(groups, rules, shares), Destinations: groups, Rules: rules, Shares: shares,
	})
}

// close hands over what this node leads and ends its part.
func (k *council) close() error {
	var err error
	if k.server != nil && k.raft != nil {
		ctx, cancel := context.WithTimeout(context.Background(), lastWords)
		if e := k.server.Drain(ctx); e != nil {
			k.log.Info("leadership was not handed over", "reason", e)
		}
		cancel()
		k.end()
	}
	if k.raft != nil {
		err = k.raft.Stop()
	}
	k.wg.Wait()
	if k.transport != nil {
		err = errors.Join(err, k.transport.Close())
	}
	return err
}

// consensus is raft as the scheduler sees it.
type consensus struct{ *cluster.Raft }

func (c consensus) Propose(ctx context.Context, entry []byte) (any, error) {
	v, err := c.Raft.Propose(ctx, entry)
	return v, consensusError(err)
}

func (c consensus) Barrier(ctx context.Context) error { return consensusError(c.Raft.Barrier(ctx)) }

func consensusError(err error) error {
	switch {
	case errors.Is(err, cluster.ErrNotLeader):
		return fmt.Errorf("%w: %w", scheduler.ErrNotLeader, err)
	case errors.Is(err, cluster.ErrUnknownOutcome):
		return fmt.Errorf("%w: %w", scheduler.ErrUnknownOutcome, err)
	}
	return err
}
