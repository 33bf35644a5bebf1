package cluster

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATSHealth is the queue's servers as this node sees them, for operators.
type NATSHealth struct {
	Node      string
	Leader    string         // who assigns streams to nodes; empty: nobody
	Connected []string       // nodes that a route leads to
	Streams   []StreamHealth // in the order of names
	Problems  []string       // of the servers, not of the streams: sentences; none: all is well
}

// StreamHealth is one stream with a replica on this node.
type StreamHealth struct {
	Stream   string
	Leader   string // empty: none, nothing can be stored
	Current  bool   // this node's replica holds all that the leader's does
	Messages uint64 // in this node's replica
	Octets   uint64
	First    uint64 // sequences in this node's replica; compare them between nodes
	Last     uint64
	Replicas []ReplicaHealth // the others; known on the leader only
}

// ReplicaHealth is a copy of a stream on another node.
type ReplicaHealth struct {
	Node    string
	Current bool
	Offline bool
	Behind  uint64        // operations it lacks
	Seen    time.Duration // ago
}

// Health asks the server; cheap enough for every few seconds.
func (n *NATS) Health() NATSHealth {
	h := NATSHealth{}
	i, err := n.srv.Jsz(&server.JSzOptions{Streams: true})
	if err != nil || i.Disabled {
		h.Problems = append(h.Problems, "JetStream does not run here (see the log)")
		return h
	}
	if n.cluster != nil {
		h.Node, h.Connected = n.cluster.Node, n.connected()
		if i.Meta != nil {
			h.Leader = i.Meta.Leader
		}
		if h.Leader == "" {
			h.Problems = append(h.Problems, "JetStream has no leader: no stream can be made or moved")
		}
		for _, m := range n.missing() {
			h.Problems = append(h.Problems, "not connected: "+m)
		}
	}
	for _, a := range i.AccountDetails {
		for _, s := range a.Streams {
			h.Streams = append(h.Streams, n.stream(a.Name, s))
		}
	}
	slices.SortFunc(h.Streams, func(a, b StreamHealth) int { return strings.Compare(a.Stream, b.Stream) })
	return h
}

func (n *NATS) stream(account string, s server.StreamDetail) StreamHealth {
	st := StreamHealth{
		Stream: s.Name, Current: n.srv.JetStreamIsStreamCurrent(account, s.Name),
		Messages: s.State.Msgs, Octets: s.State.Bytes, First: s.State.FirstSeq, Last: s.State.LastSeq,
	}
	if n.cluster == nil || s.Cluster == nil {
		st.Current = true
		return st
	}
	st.Leader = s.Cluster.Leader
	if st.Leader != n.cluster.Node {
		return st
	}
	for _, r := range s.Cluster.Replicas {
		st.Replicas = append(st.Replicas, ReplicaHealth{Node: r.Name, Current: r.Current, Offline: r.Offline, Behind: r.Lag, Seen: r.Active})
	}
	slices.SortFunc(st.Replicas, func(a, b ReplicaHealth) int { return strings.Compare(a.Node, b.Node) })
	return st
}
