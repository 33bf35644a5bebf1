package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// Options says where and how the queue is kept. Zero values take the defaults.
type Options struct {
	Server      InProcess   // the NATS server in this process; nil: URLs
	URLs        []string    // of an existing NATS cluster: nats://host:port or tls://host:port
	TLS         *tls.Config // for URLs; nil: none, unless a URL asks for it
	Credentials string      // a NATS credentials file (JWT and key), for URLs; "": none

	// StreamsDir is the folder that holds one folder per stream: for the barrier, and
	// to see how full the disk is. "": the store is not on this machine.
	StreamsDir string
	Node       string        // this node's name, in the journal; in a cluster no two nodes share one
	MaxBytes   int64         // octets all streams together may hold; default 10 GiB, see NewBytes
	MaxInline  int           // octets of a body that travels inside its record; default 64 KiB
	Sync       SyncFile      // how a file is synced; default (*os.File).Sync
	NoBarrier  bool          // the server syncs every write itself (sync_always)
	AckWait    time.Duration // READY's claim on a job; default 30 s
	Patience   time.Duration // how long a publish may take; default 20 s
	Log        *slog.Logger

	// Cluster: several processes work on the same streams, each kept Replicas times
	// by servers that sync every write, so that an acknowledgement means "on the
	// disks of a majority". WAIT is read by partitions, see Hold.
	Cluster  bool
	Replicas int // 1, 3 or 5; default 3 in a cluster
	// NewBytes stands for MaxBytes in streams that are not there yet; what is there
	// keeps its limit, so that nodes with disks of different sizes do not quarrel. A
	// process without a server and with neither makes no streams and waits until a node
	// has. Default with a server: 10 GiB.
	NewBytes  int64
	diskFree  func() (int64, error) // octets where StreamsDir is; nil: the system is asked
	keepBytes bool                  // MaxBytes was not given: streams keep what they have
	// MayWork tells whether this process still has partition p under epoch, as the
	// scheduler leased it: asked right before a delivery of the partition is sent and
	// before it is stored anew. It must not block. Required in a cluster.
	MayWork func(p uint32, epoch uint64) bool
	// Deadline tells by when a delivery that waits must be looked at even if it may not be
	// attempted: its sender has to be told that it is late, or has failed. Zero: never.
	// It must not block. nil: when it expires.
	Deadline func(*mail.Delivery) time.Time
	// Bounce ends a job with a failure notice to its sender, for an operator's order
	// that this node carries out. nil: this node refuses to bounce.
	Bounce func(ctx context.Context, j *Job, reply mail.Reply) error
	// Retried is told of each delivery that an operator wants tried now, due before or
	// not: whoever sends may have given up its hosts for a while. It must not block. nil:
	// nobody minds.
	Retried func(*mail.Delivery)
	// Answer answers other nodes' questions that are not the queue's own, see AskNodes; nil
	// for one it does not know. It must not take long.
	Answer func(ctx context.Context, what string, body []byte) []byte
	// Lookup finds the records of a stream that have a name in them, within the first head
	// octets (0: anywhere), and were stored after since, in the files that lie on this
	// machine: what it gives may be gone by then. nil:
	// they are elsewhere, and another node, or JetStream, is asked.
	Lookup func(ctx context.Context, stream string, since time.Time, name []byte, head int, found func(seq uint64) error) error
}

// InProcess opens connections to an embedded server through memory.
type InProcess interface{ InProcessConn() (net.Conn, error) }

func (o Options) withDefaults() Options {
	switch {
	case o.MaxBytes == 0 && o.Cluster:
		o.keepBytes = true
		if o.NewBytes == 0 && o.Server != nil {
			o.NewBytes = 10 << 30
		}
	case o.MaxBytes == 0:
		o.MaxBytes = 10 << 30
	}
	if o.MaxInline == 0 {
		o.MaxInline = 64 << 10
	}
	if o.AckWait == 0 {
		o.AckWait = 30 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = 20 * time.Second
	}
	if o.Node == "" {
		o.Node = "local"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Sync == nil {
		o.Sync = syncFile
	}
	switch {
	case !o.Cluster:
		o.Replicas = 1
	case o.Replicas == 0:
		o.Replicas = 3
	}
	if o.Cluster {
		o.NoBarrier = true // the servers sync before they acknowledge
	}
	return o
}

func (o *Options) check() error {
	switch {
	case o.Server == nil && len(o.URLs) == 0:
		return errors.New("queue: neither an embedded NATS server nor the URLs of a NATS cluster are given")
	case o.Server == nil && !o.Cluster:
		return errors.New("queue: a node without a cluster needs the embedded NATS server; give it a cluster to use NATS URLs")
	case o.Replicas != 1 && o.Replicas != 3 && o.Replicas != 5:
		return fmt.Errorf("queue: %d replicas; a stream is kept 1, 3 or 5 times", o.Replicas)
	case o.Cluster && o.MayWork == nil:
		return errors.New("queue: a cluster needs MayWork, or two nodes could send the same delivery")
	case !o.Cluster && o.StreamsDir == "":
		return errors.New("queue: the barrier needs to know where the streams' files are")
	}
	return nil
}
