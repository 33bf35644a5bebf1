// Package cluster runs the parts that keep state and agree on it: raft with its log,
// the port that nodes talk on, who is a member of the cluster, and the embedded NATS
// server with JetStream. Before a standalone store is opened its files are checked
// (Prepare): JetStream mends a damaged file by cutting it off, and an operator must
// hear of it before. It is the only importer of raft, bbolt and nats-server. It never
// looks into a message, nor into what raft replicates.
package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSOptions says how to run the embedded server.
type NATSOptions struct {
	Dir        string        // JetStream's folder; made when missing
	SyncAlways bool          // fsync every write (where a barrier cannot be relied on)
	SyncEvery  time.Duration // JetStream's own background sync; zero means 1 s
	Cluster    *NATSCluster  // nil: one node on its own
	Log        *slog.Logger  // nil: silent
}

// NATS is an embedded server. Clients of this process connect through memory; a node on
// its own listens on no port.
type NATS struct {
	srv     *server.Server
	dir     string
	cluster *NATSCluster // nil: one node on its own
	log     *slog.Logger
	lines   *natsLog

	door *doorman // in a cluster
}

// MaxRecord is the largest record a stream takes, in octets: a body chunk or
// an inline message with its envelope, with room to spare.
const MaxRecord = 8 << 20

// StartNATS starts a server. One node on its own is ready then; in a cluster JetStream
// answers when a majority of the nodes is there: see Ready.
func StartNATS(o NATSOptions) (*NATS, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Second
	}
	if err := roomToStart(o.Dir); err != nil {
		return nil, err
	}
	opts := &server.Options{
		ServerName: "tarishi",
		DontListen: true, // no port unless clustered
		JetStream:  true,
		StoreDir:   o.Dir,
		SyncAlways: o.SyncAlways,
		// Removals are as durable as this; what must not be lost waits for the barrier instead.
		SyncInterval: o.SyncEvery,
		// The streams have limits of their own and the ingress stops before them;
		// the server's would refuse the streams at start on a disk that has filled up.
		JetStreamMaxStore:  1 << 50,
		JetStreamMaxMemory: 64 << 20,
		MaxPayload:         MaxRecord,
		MaxPending:         256 << 20,
		NoSigs:             true,
	}
	var door *doorman
	if o.Cluster != nil {
		door = newDoorman()
		opts.CustomClientAuthentication = door
		if err := o.Cluster.apply(opts); err != nil {
			return nil, fmt.Errorf("embedded NATS: %w", err)
		}
		if err := portsFree(opts); err != nil {
			return nil, fmt.Errorf("embedded NATS: %w", err)
		}
	} else if err := removeClean(o.Dir); err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	fatal := make(chan string, 1)
	if door != nil {
		door.srv = s
	}
	lines := &natsLog{l: o.Log, fatal: fatal}
	s.SetLoggerV2(lines, false, false, false)
	s.Start()
	if err := startedNATS(s, fatal); err != nil {
		s.Shutdown()
		return nil, err
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, fmt.Errorf("JetStream could not be enabled in %s (see the log above)", o.Dir)
	}
	return &NATS{s, o.Dir, o.Cluster, o.Log, lines, door}, nil
}

// startedNATS waits for the listeners, or for what NATS would have ended the process for.
func startedNATS(s *server.Server, fatal <-chan string) error {
	for range 300 {
		if s.ReadyForConnections(100 * time.Millisecond) {
			return nil
		}
		select {
		case why := <-fatal:
			return fmt.Errorf("embedded NATS: %s", why)
		default:
		}
	}
	return errors.New("embedded NATS did not become ready within 30 s")
}

// InProcessConn opens a client connection through memory (nats.InProcessServer).
func (n *NATS) InProcessConn() (net.Conn, error) { return n.srv.InProcessConn() }

// StreamsDir is where the streams' folders lie, one per stream.
func StreamsDir(dir string) string {
	return filepath.Join(dir, server.JetStreamStoreDir, "$G", "streams")
}

// Stop shuts the server down, waits for its files to be closed and, for one node on its
// own, lists them for the next start's check. Without the list that start checks
// everything. In a cluster it first hands over what this node leads.
func (n *NATS) Stop() {
	if n.cluster != nil {
		n.handOver()
	}
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
	if n.cluster != nil {
		return
	}
	if err := writeClean(n.dir); err != nil {
		n.log.Warn("the queue's files could not be listed; the next start will check them all", "error", err)
	}
}
