package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Status is what a node with a scheduler says of itself to whoever asks on port P.
type Status struct {
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id,omitempty"`
	Node      string `json:"node"`
	Server    string `json:"server"` // raft id
	Release   string `json:"release,omitempty"`

	Peers   []Peer         `json:"peers"`             // as its configuration lists them
	Servers []ServerStatus `json:"servers,omitempty"` // raft's configuration as it knows it
	HasLog  bool           `json:"has_log"`

	State   string `json:"state"` // waiting, follower, candidate, leader or stopped
	Term    uint64 `json:"term"`
	Last    uint64 `json:"last"`    // index of its log's last entry
	Applied uint64 `json:"applied"` // index of the last entry applied
	Leader  Peer   `json:"leader"`  // empty: none known
}

// ServerStatus is one raft server of the configuration.
type ServerStatus struct {
	Server string `json:"server"`
	Node   string `json:"node"`
	Addr   string `json:"addr"`
	Voter  bool   `json:"voter"`
}

func (s *Status) server(id string) *ServerStatus {
	for i := range s.Servers {
		if s.Servers[i].Server == id {
			return &s.Servers[i]
		}
	}
	return nil
}

// Requests on a connection of kind 'S': JSON, each with its length in four octets
// before it. A connection may carry many, one at a time.
type statusRequest struct {
	Op     string `json:"op"` // status, join or leave
	Server string `json:"server,omitempty"`
	Addr   string `json:"addr,omitempty"`
}

type statusReply struct {
	Status *Status `json:"status,omitempty"`
	Error  string  `json:"error,omitempty"`
	Leader Peer    `json:"leader,omitzero"` // who to ask instead
}

const (
	maxStatus   = 64 << 10
	statusIdle  = time.Minute      // an idle connection is closed
	joinTimeout = 15 * time.Second // of a change of members
)

func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxStatus {
		return fmt.Errorf("a status of %d octets is too long", len(b))
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

func readJSON(r io.Reader, v any) error {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return err
	}
	l := binary.BigEndian.Uint32(n[:])
	if l > maxStatus {
		return fmt.Errorf("a message of %d octets is too long", l)
	}
	b := make([]byte, l)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// serveStatus answers requests until the other side has enough.
func serveStatus(c net.Conn, peer string, answer func(peer string, q statusRequest) statusReply) {
	r := bufio.NewReader(c)
	for {
		c.SetDeadline(time.Now().Add(statusIdle))
		var q statusRequest
		if readJSON(r, &q) != nil {
			return
		}
		a := answer(peer, q)
		c.SetDeadline(time.Now().Add(helloTimeout))
		if writeJSON(c, a) != nil {
			return
		}
	}
}

// Status asks the node at addr.
func (t *Transport) Status(ctx context.Context, addr string) (*Status, error) {
	a := asker{t: t, addr: addr}
	defer a.close()
	return a.status(ctx)
}

// asker keeps one connection for requests to one node.
type asker struct {
	t    *Transport
	addr string

	mu sync.Mutex
	c  net.Conn
}

func (a *asker) status(ctx context.Context) (*Status, error) {
	reply, err := a.ask(ctx, statusRequest{Op: "status"})
	if err != nil {
		return nil, err
	}
	if reply.Status == nil {
		return nil, errors.New(reply.Error)
	}
	return reply.Status, nil
}

// ask sends one request. After an error the next one dials anew; a connection that has
// been idle too long is not an error.
func (a *asker) ask(ctx context.Context, q statusRequest) (reply statusReply, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for used := a.c != nil; ; used = false {
		if a.c == nil {
			if a.c, _, err = a.t.dial(ctx, kindStatus, a.addr, ""); err != nil {
				return reply, err
			}
		}
		c := a.c
		stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })
		if err = writeJSON(c, q); err == nil {
			err = readJSON(c, &reply)
		}
		stop()
		if err == nil {
			return reply, nil
		}
		c.Close()
		a.c = nil
		if ctx.Err() != nil {
			return reply, context.Cause(ctx)
		}
		if !used {
			return reply, err
		}
	}
}

func (a *asker) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.c != nil {
		a.c.Close()
		a.c = nil
	}
}
