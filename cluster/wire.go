package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// streamLayer gives raft the connections of kind 'R'. An address inside raft is the
// server's id and its host:port with an @ between: whoever answers must be that server.
type streamLayer struct {
	t      *Transport
	conns  chan net.Conn
	ctx    context.Context
	cancel context.CancelFunc
}

func newStreamLayer(t *Transport) *streamLayer {
	ctx, cancel := context.WithCancel(t.ctx)
	return &streamLayer{t: t, conns: make(chan net.Conn), ctx: ctx, cancel: cancel}
}

func wireAddr(id raft.ServerID, addr raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(id) + "@" + addr
}

// plainAddr is the host:port out of an address inside raft.
func plainAddr(a raft.ServerAddress) string {
	_, addr, ok := strings.Cut(string(a), "@")
	if !ok {
		return string(a)
	}
	return addr
}

// serve hands an accepted connection to raft and waits until raft has closed it.
func (s *streamLayer) serve(c net.Conn, _ string) {
	select {
	case s.conns <- c:
	case <-s.ctx.Done():
		return
	}
	select {
	case <-c.(*acceptedConn).done:
	case <-s.ctx.Done(): // raft leaves its connections open when it ends; the transport closes this one
	}
}

// Accept is part of raft.StreamLayer.
func (s *streamLayer) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close is part of raft.StreamLayer. It ends every connection, those dialled too: raft
// waits for its requests when it ends, and one to a node behind a cut wire takes long.
func (s *streamLayer) Close() error {
	s.cancel()
	return nil
}

// Addr is part of raft.StreamLayer; raft asks raftWire instead.
func (s *streamLayer) Addr() net.Addr { return s.t.ln.Addr() }

// Dial is part of raft.StreamLayer.
func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	server, addr, _ := strings.Cut(string(address), "@")
	c, _, err := s.t.dial(ctx, kindRaft, addr, server)
	if err != nil {
		return nil, err
	}
	return &dialledConn{c, context.AfterFunc(s.ctx, func() { c.Close() })}, nil
}

// dialledConn is closed with its layer.
type dialledConn struct {
	net.Conn
	forget func() bool
}

func (c *dialledConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// acceptedConn tells when its owner has closed it.
type acceptedConn struct {
	net.Conn
	once sync.Once
	done chan struct{}
}

func (c *acceptedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.done) })
	return err
}

// raftWire is raft's transport. It differs from NetworkTransport in three ways.
// Addresses carry the server's id. A vote is asked for again when a pooled connection
// turns out to be dead, as all of them are after the other node's restart: a vote that
// is lost costs the cluster another election. And entries for a node that does not
// answer are offered again by us: raft itself would wait up to ten seconds more each
// time, while heartbeats already tell it that the node is back, so that a leader whose
// other follower fails then would lead and commit nothing.
type raftWire struct {
	*raft.NetworkTransport
	self raft.ServerAddress
	// wanted tells whether this node still leads in the term and has the server, at this
	// address, in its configuration.
	wanted func(id raft.ServerID, to raft.ServerAddress, term uint64) bool
	ctx    context.Context
}

const (
	raftPool    = 3
	raftTimeout = 4 * time.Second // of one request; snapshots have more by their size
	offerAgain  = 200 * time.Millisecond
)

func newRaftWire(ctx context.Context, s *streamLayer, id identity, addr string, log *raftLog, wanted func(raft.ServerID, raft.ServerAddress, uint64) bool) *raftWire {
	return &raftWire{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:          s,
			MaxPool:         raftPool,
			MaxRPCsInFlight: 1, // pipelining wedges after an error (raft#612), and we write ten entries a second
			Timeout:         raftTimeout,
			Logger:          log,
		}),
		self:   wireAddr(raft.ServerID(id.Server), raft.ServerAddress(addr)),
		wanted: wanted,
		ctx:    ctx,
	}
}

// LocalAddr is part of raft.Transport.
func (w *raftWire) LocalAddr() raft.ServerAddress { return w.self }

// EncodePeer is part of raft.Transport. It makes the vote in the stable store name the
// candidate by id as well.
func (w *raftWire) EncodePeer(id raft.ServerID, addr raft.ServerAddress) []byte {
	if strings.Contains(string(addr), "@") {
		return []byte(addr)
	}
	return []byte(wireAddr(id, addr))
}

// AppendEntries is part of raft.Transport.
func (w *raftWire) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
	heartbeat := len(q.Entries) == 0 && q.PrevLogEntry == 0 && q.LeaderCommitIndex == 0
	for {
		*a = raft.AppendEntriesResponse{}
		err := w.NetworkTransport.AppendEntries(id, wireAddr(id, to), q, a)
		if err == nil || heartbeat || !w.wanted(id, to, q.Term) {
			return err
		}
		select {
		case <-time.After(offerAgain):
		case <-w.ctx.Done():
			return err
		}
	}
}

// InstallSnapshot is part of raft.Transport.
func (w *raftWire) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest, a *raft.InstallSnapshotResponse, r io.Reader) error {
	return w.NetworkTransport.InstallSnapshot(id, wireAddr(id, to), q, a, r)
}

// TimeoutNow is part of raft.Transport.
func (w *raftWire) TimeoutNow(id raft.ServerID, to raft.ServerAddress, q *raft.TimeoutNowRequest, a *raft.TimeoutNowResponse) error {
	return again(func() error { return w.NetworkTransport.TimeoutNow(id, wireAddr(id, to), q, a) })
}

// RequestVote is part of raft.Transport.
func (w *raftWire) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	return again(func() error { return w.NetworkTransport.RequestVote(id, wireAddr(id, to), q, a) })
}

// RequestPreVote is part of raft.WithPreVote.
func (w *raftWire) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest, a *raft.RequestPreVoteResponse) error {
	return again(func() error { return w.NetworkTransport.RequestPreVote(id, wireAddr(id, to), q, a) })
}

// again repeats a request that may be repeated until the pool holds no dead connection.
func again(ask func() error) error {
	var err error
	for range raftPool + 1 {
		err = ask()
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) &&
			!errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			break
		}
	}
	return err
}
