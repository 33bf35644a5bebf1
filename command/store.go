package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tarishi/tarishi/cluster"
	"github.com/tarishi/tarishi/daemon"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/queue"
)

// store is the queue with what keeps it.
type store struct {
	*queue.Queue
	nats *cluster.NATS // nil: NATS runs elsewhere

	shared bool // by several nodes
	log    *slog.Logger
	ending context.CancelFunc // of the check of files
	check  sync.WaitGroup
}

// storeNeeds are what the queue asks of the parts that are made after it.
type storeNeeds struct {
	mayWork  func(p uint32, epoch uint64) bool
	bounce   func(context.Context, *queue.Job, mail.Reply) error
	answer   func(ctx context.Context, what string, body []byte) []byte
	deadline func(*mail.Delivery) time.Time
	retried  func(*mail.Delivery)
}

// openStore opens the queue: in this process alone, among the cluster's nodes, or in
// somebody's NATS.
func openStore(ctx context.Context, c *daemon.Config, k *council, folder *daemon.Folder, accept bool, needs storeNeeds, log *slog.Logger) (*store, error) {
	if c.Clustered() {
		return openShared(ctx, c, k, folder, needs, log)
	}
	// Before JetStream sees the files: it mends a damaged one by cutting it off.
	rest, err := cluster.Prepare(ctx, cluster.PrepareOptions{
		Dir: queueDir(folder), Keep: filepath.Join(folder.Path, "damaged"), Accept: accept, Log: log,
	})
	if err != nil {
		return nil, err
	}
	nats, q, err := openQueue(ctx, c, folder, needs, log)
	if err != nil {
		return nil, err
	}
	s := &store{Queue: q, nats: nats, log: log}
	check, ending := context.WithCancel(ctx)
	s.ending = ending
	s.check.Go(func() { rest.Run(check) })
	return s, nil
}

// close ends the queue, and then what keeps it.
func (s *store) close(ctx context.Context) error {
	if s.ending != nil {
		s.ending()
		s.check.Wait()
	}
	patience := 30 * time.Second
	if s.shared {
		patience = 10 * time.Second // no majority may be left, as when all nodes stop
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := s.Queue.Close(limit)
	if err != nil && s.shared {
		s.log.Warn("this node could not say goodbye to the queue; what it had in hand is taken over as from a dead node", "error", err)
		err = nil
	}
	if s.nats != nil {
		s.nats.Stop()
	}
	return err
}

// openShared opens the queue that several nodes share.
func openShared(ctx context.Context, c *daemon.Config, k *council, folder *daemon.Folder, needs storeNeeds, log *slog.Logger) (*store, error) {
	o, err := sharedOptions(c, k, log)
	if err != nil {
		return nil, err
	}
	o.MayWork, o.Bounce, o.Deadline, o.Answer = needs.mayWork, needs.bounce, needs.deadline, needs.answer
	o.Retried = needs.retried
	s := &store{log: log, shared: true}
	if err := k.belongs(ctx); err != nil {
		return nil, err
	}
	if len(o.URLs) == 0 {
		if s.nats, err = startMember(ctx, c, k, folder, log); err != nil {
			return nil, err
		}
		o.Server, o.StreamsDir = s.nats, cluster.StreamsDir(queueDir(folder))
		o.Lookup = lookupIn(o.StreamsDir)
		if o.MaxBytes == 0 {
			o.NewBytes, err = folder.QueueBytes()
		}
	}
	if err == nil {
		s.Queue, err = openPatiently(ctx, o, k.waits, log)
	}
	if err != nil {
		if s.nats != nil {
			s.nats.Stop()
		}
		return nil, err
	}
	return s, nil
}

// lookupIn finds records in the files of the streams that lie in a folder.
func lookupIn(streams string) func(context.Context, string, time.Time, []byte, int, func(uint64) error) error {
	return func(ctx context.Context, stream string, since time.Time, name []byte, head int, found func(uint64) error) error {
		return cluster.Lookup(ctx, streams, stream, since, name, head, found)
	}
}

// openPatiently opens the queue of a cluster that may be busy forming: what does not
// answer yet is asked again, since ending here would only make somebody start us again.
func openPatiently(ctx context.Context, o queue.Options, waits *note, log *slog.Logger) (*queue.Queue, error) {
	for {
		q, err := queue.Open(ctx, o)
		if err == nil || !errors.Is(err, queue.ErrUnavailable) || ctx.Err() != nil {
			return q, err
		}
		log.Warn("the queue does not answer yet; trying on", "error", err)
		waits.set("the queue does not answer yet: " + err.Error())
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// sharedOptions says where the queue is that several nodes share. No URLs: in this
// process, among others.
func sharedOptions(c *daemon.Config, k *council, log *slog.Logger) (queue.Options, error) {
	o := queue.Options{
		Node: c.Cluster.Node, MaxBytes: int64(c.Queue.MaxBytes), MaxInline: int(c.Queue.MaxInline), Log: log,
		Cluster: true, Replicas: replicas(len(k.peers)),
	}
	switch own := c.Cluster.NATS; {
	case len(own.URL) > 0:
		t, err := clientTLS(own.TLS)
		if err != nil {
			return o, err
		}
		o.URLs, o.Credentials, o.TLS = own.URL, own.Credentials, t
	case !c.Has("scheduler"):
		o.URLs = cluster.ClientURLs(k.peers)
		if k.creds != nil {
			o.TLS = k.creds.ClientTLS()
		}
	}
	return o, nil
}

// startMember starts this node's part of the cluster's NATS.
func startMember(ctx context.Context, c *daemon.Config, k *council, folder *daemon.Folder, log *slog.Logger) (*cluster.NATS, error) {
	k.waits.set("waiting for the other nodes: the queue begins with a majority of " + strings.Join(c.Cluster.Peers, ", "))
	nats, err := cluster.StartNATS(cluster.NATSOptions{Dir: queueDir(folder), SyncAlways: true, Log: log, Cluster: &cluster.NATSCluster{
		Name: c.Cluster.Name, Node: c.Cluster.Node, Peers: k.peers, Listen: c.Cluster.Listen,
		Credentials: k.creds, AllowInsecure: c.Cluster.Insecure,
	}})
	if err != nil {
		return nil, err
	}
	if err := nats.Ready(ctx); err != nil {
		nats.Stop()
		return nil, err
	}
	return nats, nil
}

// replicas is how often a cluster of so many nodes keeps each record.
func replicas(nodes int) int {
	if nodes >= 5 {
		return 5
	}
	return 3
}

// clientTLS is TLS towards somebody else's NATS; nil when nothing is said of it.
func clientTLS(t daemon.NATSTLS) (*tls.Config, error) {
	if t == (daemon.NATSTLS{}) {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("cluster.nats.tls.ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cluster.nats.tls.ca: %s holds no certificate", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("cluster.nats.tls: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// queueDir is where JetStream keeps the queue.
func queueDir(f *daemon.Folder) string { return filepath.Join(f.Path, "queue") }

// openQueue starts the embedded JetStream and the queue on it. Where JetStream
// turns out to acknowledge before it writes, it must sync every write itself.
func openQueue(ctx context.Context, c *daemon.Config, folder *daemon.Folder, needs storeNeeds, log *slog.Logger) (*cluster.NATS, *queue.Queue, error) {
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
			MaxBytes: size, MaxInline: int(c.Queue.MaxInline), NoBarrier: always, Bounce: needs.bounce, Deadline: needs.deadline,
			Answer: needs.answer, Retried: needs.retried, Lookup: lookupIn(cluster.StreamsDir(dir)), Log: log,
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
