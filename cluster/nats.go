// Package cluster runs the parts that keep state: today the embedded NATS server
// with JetStream, and the check of its files before it starts (Prepare): JetStream
// mends a damaged file by cutting it off, and an operator must hear of it before.
// It is the only importer of nats-server. It never looks into a message.
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

// NATSOptions says how to run the embedded server of a single node.
type NATSOptions struct {
	Dir        string        // JetStream's folder; made when missing
	SyncAlways bool          // fsync every write (where a barrier cannot be relied on)
	SyncEvery  time.Duration // JetStream's own background sync; zero means 1 s
	Log        *slog.Logger  // nil: silent
}

// NATS is an embedded server without a listening port: clients connect through memory.
type NATS struct {
	srv *server.Server
	dir string
	log *slog.Logger
}

// MaxRecord is the largest record a stream takes, in octets: a body chunk or
// an inline message with its envelope, with room to spare.
const MaxRecord = 8 << 20

// StartNATS starts a server for one node and waits until JetStream answers.
func StartNATS(o NATSOptions) (*NATS, error) {
	if o.SyncEvery == 0 {
		o.SyncEvery = time.Second
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
		NoLog:              o.Log == nil,
	}
	if err := removeClean(o.Dir); err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	if o.Log != nil {
		s.SetLoggerV2(natsLog{o.Log}, false, false, false)
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		s.Shutdown()
		return nil, errors.New("embedded NATS did not become ready within 30 s")
	}
	if !s.JetStreamEnabled() {
		s.Shutdown()
		return nil, fmt.Errorf("JetStream could not be enabled in %s (see the log above)", o.Dir)
	}
	return &NATS{s, o.Dir, o.Log}, nil
}

// InProcessConn opens a client connection through memory (nats.InProcessServer).
func (n *NATS) InProcessConn() (net.Conn, error) { return n.srv.InProcessConn() }

// StreamsDir is where the streams' folders lie, one per stream.
func StreamsDir(dir string) string {
	return filepath.Join(dir, server.JetStreamStoreDir, "$G", "streams")
}

// Stop shuts the server down, waits for its files to be closed and lists them for
// the next start's check. Without the list that start checks everything.
func (n *NATS) Stop() {
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
	if err := writeClean(n.dir); err != nil && n.log != nil {
		n.log.Warn("the queue's files could not be listed; the next start will check them all", "error", err)
	}
}

// natsLog passes what matters on: notices would drown the operator's log.
type natsLog struct{ l *slog.Logger }

func (n natsLog) Noticef(f string, v ...any) { n.l.Debug("nats: " + fmt.Sprintf(f, v...)) }
func (n natsLog) Warnf(f string, v ...any)   { n.l.Warn("nats: " + fmt.Sprintf(f, v...)) }
func (n natsLog) Fatalf(f string, v ...any)  { n.l.Error("nats: " + fmt.Sprintf(f, v...)) }
func (n natsLog) Errorf(f string, v ...any)  { n.l.Error("nats: " + fmt.Sprintf(f, v...)) }
func (n natsLog) Debugf(string, ...any)      {}
func (n natsLog) Tracef(string, ...any)      {}
