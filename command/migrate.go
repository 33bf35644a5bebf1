package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/queue"
	"github.com/tarishi/tarishi/scheduler"
	"github.com/tarishi/tarishi/shaping"
)

func migrateCommand() *cobra.Command {
	var from, file string
	var accept, mailOnly bool
	c := &cobra.Command{
		Use:   "migrate --from FOLDER --config FILE",
		Short: "Move what a node on its own keeps into a cluster that runs",
		Long: `Move the mail, the limits set at run time, the history of all windows and the
doubts of a node on its own into a cluster that runs. FILE is the configuration
of one of the cluster's nodes.

Stop the node first. Before anything is copied its folder is marked, so that no
node opens it any more; at the end it is spent. A cluster that cannot be reached, or
does not take it, leaves the folder as it was. What was broken off, by whatever,
goes on with the same command. Start the cluster with new data folders, and move
the old one into it before the cluster has sent mail to limited destinations.`,
		Example: `  tarishi migrate --from ./tarishi-data --config node1.yaml`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if from == "" || file == "" {
				return usageError("--from and --config are both needed; see `%s --help`", c.CommandPath())
			}
			conf, err := daemon.Load(file, os.Environ())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if !conf.Clustered() {
				return usageError("%s is the configuration of a node on its own; give that of a node of the cluster", file)
			}
			ctx, stop := daemon.Signals(c.Context(), os.Exit)
			defer stop()
			return migrate(ctx, conf, from, accept, mailOnly, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&from, "from", "", "data `folder` of the node on its own")
	c.Flags().StringVar(&file, "config", "", "configuration `file` of a node of the cluster")
	c.Flags().BoolVar(&mailOnly, "mail-only", false, "leave the limits set at run time and the history of the windows behind; for a cluster that has its own")
	c.Flags().BoolVar(&accept, "accept-damage", false, "go on with a damaged queue, without what cannot be read")
	return operator(c)
}

// migration is what is kept in the old folder of how far it has come.
type migration struct {
	Limits bool            `json:"limits"` // the limits and the windows are in the cluster
	Queue  queue.Migration `json:"queue"`
}

const migrationName = "migration.json"

// migrate moves the content of the folder. Limits and windows come first: mail must
// not get ahead of them.
func migrate(ctx context.Context, c *daemon.Config, from string, accept, mailOnly bool, out io.Writer) (err error) {
	log := c.Log.Logger(os.Stderr)
	folder, begun, err := daemon.OpenFolderToMove(from, c.Cluster.Name)
	if err != nil {
		return partly("%w", err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	if begun == daemon.Moved {
		fmt.Fprintf(out, "Everything in %s is in cluster %s already; the folder can be removed.\n", from, c.Cluster.Name)
		return nil
	}
	m, err := readMigration(folder)
	if err != nil {
		return partly("%w", err)
	}

	k, err := openDialer(c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	if begun == daemon.MoveNotBegun {
		if err := reachable(ctx, k, log); err != nil {
			return partly("the cluster cannot be reached, and nothing was changed in %s: %w", from, err)
		}
		if err := folder.MarkMoving(c.Cluster.Name); err != nil {
			return partly("%w", err)
		}
	}
	if !m.Limits {
		if mailOnly {
			log.Warn("the limits set at run time and the history of the windows stay behind: the cluster does not know what this node has sent in the last hour")
		} else if err := moveLimits(ctx, folder, k, log, out); err != nil {
			var refused *shaping.RefusedError
			if !errors.As(err, &refused) {
				return partly("the limits and the history of the windows were not moved; the same command tries again: %w", err)
			}
			if begun != daemon.MoveNotBegun {
				return partly("the limits and the history of the windows were not moved: %w", err) // an earlier run may have
			}
			// Nothing of the folder is in the cluster, and nothing will be.
			if e := folder.UnmarkMoving(); e != nil {
				return partly("%w", errors.Join(err, e))
			}
			return partly("the limits and the history of the windows were not moved, and nothing was changed in %s: %w", from, err)
		}
		m.Limits = true
		if err := m.save(folder); err != nil {
			return partly("%w", err)
		}
	}
	if err := moveQueue(ctx, c, folder, k, &m, accept, log, out); err != nil {
		if m.Queue.Deliveries > 0 {
			fmt.Fprintf(out, "%d deliveries were moved so far; the same command goes on.\n", m.Queue.Deliveries)
		}
		return partly("the queue was not moved: %w", err)
	}
	if err := folder.MarkMoved(c.Cluster.Name); err != nil {
		return partly("%w", err)
	}
	fmt.Fprintf(out, "Moved %d deliveries (%d messages ready, %d records waiting, %s) into cluster %s. The folder %s is spent and can be removed.\n",
		m.Queue.Deliveries, m.Queue.Messages, m.Queue.Waiting, size(m.Queue.Octets), c.Cluster.Name, from)
	if n := m.Queue.Suppressed; n > 0 {
		fmt.Fprintf(out, "%s of the suppression list went with them.\n", plural(n, "entry", "entries"))
	}
	return nil
}

// reachable asks the cluster for anything at all.
func reachable(ctx context.Context, k *council, log *slog.Logger) error {
	ask, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := scheduler.NewOperator(k.reach, log).Book(ask)
	return err
}

// openDialer opens a way to the schedulers for a process that is no node.
func openDialer(c *daemon.Config, log *slog.Logger) (*council, error) {
	guest := *c
	guest.Cluster.Listen, guest.Roles = "", nil
	k, err := openCouncil(&guest, log)
	if err != nil {
		return nil, err
	}
	k.reach.Addrs = nil // the node whose configuration this is, too
	for _, p := range k.peers {
		k.reach.Addrs = append(k.reach.Addrs, p.Addr)
	}
	return k, nil
}

// moveLimits hands the old node's limits and windows to the cluster's leader.
func moveLimits(ctx context.Context, folder *daemon.Folder, k *council, log *slog.Logger, out io.Writer) error {
	dir := cluster.RaftDir(folder.Path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // a node of a version without limits
	}
	old := scheduler.NewServer(scheduler.ServerOptions{
		Node: "migrate", Params: schedulerParams(), Clock: scheduler.BootTime, Log: log,
	})
	raft, err := cluster.StartRaft(ctx, cluster.RaftOptions{Dir: dir, FSM: old.State(), Release: version(), Log: log})
	if err != nil {
		return err
	}
	defer raft.Stop()
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for raft.Barrier(wait) != nil { // until it leads, which for one node is a moment
		select {
		case <-wait.Done():
			return fmt.Errorf("the old node's log could not be read to its end: %w", wait.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	snapshot, err := old.State().Snapshot()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Moving the limits and the history of the windows…")
	ask, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return scheduler.NewOperator(k.reach, log).Import(ask, snapshot)
}

// moveQueue copies the queue, record by record.
func moveQueue(ctx context.Context, c *daemon.Config, folder *daemon.Folder, k *council, m *migration, accept bool, log *slog.Logger, out io.Writer) (err error) {
	dir := queueDir(folder)
	if _, err := cluster.Prepare(ctx, cluster.PrepareOptions{
		Dir: dir, Keep: filepath.Join(folder.Path, "damaged"), Accept: accept, Log: log,
	}); err != nil {
		return err
	}
	nats, err := cluster.StartNATS(cluster.NATSOptions{Dir: dir, Log: log})
	if err != nil {
		return err
	}
	defer nats.Stop()
	old, err := queue.Open(ctx, queue.Options{
		Server: nats, StreamsDir: cluster.StreamsDir(dir), Node: c.Hostname, MaxBytes: 1 << 46, Log: log, // nothing comes in
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeQueue(ctx, old)) }()

	guest := *c
	guest.Roles, guest.Cluster.Node = nil, c.Cluster.Node+"-migrate" // no node's name
	o, err := sharedOptions(&guest, k, log)
	if err != nil {
		return err
	}
	o.MayWork = func(uint32, uint64) bool { return false } // it holds no partition
	shared, err := queue.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeQueue(ctx, shared)) }()

	told := time.Now()
	_, err = queue.Migrate(ctx, old, shared, m.Queue, func(q queue.Migration) error {
		m.Queue = q
		if time.Since(told) >= 2*time.Second {
			told = time.Now()
			fmt.Fprintf(out, "%d deliveries, %s so far…\n", q.Deliveries, size(q.Octets))
		}
		return m.save(folder)
	})
	return err
}

func closeQueue(ctx context.Context, q *queue.Queue) error {
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return q.Close(limit)
}

func readMigration(f *daemon.Folder) (m migration, err error) {
	b, err := os.ReadFile(filepath.Join(f.Path, migrationName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return m, fmt.Errorf("how far the move has come cannot be read: %w", err)
	}
	return m, nil
}

// save keeps how far it has come: whole or as before, and on disk.
func (m *migration) save(f *daemon.Folder) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return f.WriteFile(migrationName, b)
}
