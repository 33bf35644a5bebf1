package admintest

import (
	"time"

	"github.com/tarishi/tarishi/admin"
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// SampleLimits are limits of both layers, a suspension, and some in use: one that
// mail waits for, one with room, one of a tenant, and connections.
func SampleLimits() *Limits {
	n := func(i int) *int { return &i }
	ws := func(s string) []shaping.Window {
		w, err := shaping.ParseWindows(s)
		if err != nil {
			panic(err)
		}
		return w
	}
	groups := map[string]shaping.Group{"google": {MX: []string{"*.google.example"}, Domains: []string{"gmail.example"}}}
	file := []shaping.Rule{
		{To: "google", Messages: ws("1000/1h,20/1s"), Connections: n(5), PerConnection: n(50)},
		{To: "*", Per: shaping.Tenant, Messages: ws("100/1m"), Note: "as their contract says"},
	}
	b := &shaping.Book{}
	for _, c := range []shaping.Change{
		{Op: shaping.OpFile, Node: "node1", Hash: shaping.FileHash(groups, file, shaping.Shares{}), Destinations: groups, Rules: file, At: Now.Add(-76 * time.Hour)},
		{Op: shaping.OpSet, Rule: &shaping.Rule{To: "google", Messages: ws("10/1h")}, Author: "ann@desk", Reason: "they answer 421 4.7.28", At: Now.Add(-2 * time.Hour)},
		{Op: shaping.OpSuspend, To: "example.org", Author: "bob@desk", Reason: "moved", At: Now.Add(-time.Hour), Until: Now.Add(90 * time.Minute)},
	} {
		next, err := b.Apply(c)
		if err != nil {
			panic(err)
		}
		b = next
	}
	l := NewLimits(b)
	google := shaping.RuleRef{Layer: shaping.LayerSet, To: "google"}
	l.InUse = []admin.LiveLimit{
		{Counter: "messages name:google", Field: shaping.Messages, Max: 10, Window: "1h", Used: 9, InFlight: 1, Waiting: 1204, Next: Now.Add(754 * time.Second), From: google},
		{Counter: "connections name:google", Field: shaping.Connections, Max: 5, Used: 1, From: shaping.RuleRef{Layer: shaping.LayerFile, To: "google"}},
		{Counter: "messages site:mx1.example.com,mx2.example.com tenant=acme", Field: shaping.Messages, Max: 100, Window: "1m", Used: 42, From: shaping.RuleRef{Layer: shaping.LayerFile, To: "*", Per: shaping.Tenant}},
	}
	l.Since = Now.Add(1600 * time.Millisecond)
	l.Hosts = map[mail.Domain][]string{"workspace.example": {"aspmx.l.google.example"}}
	return l
}

// SampleCluster is three schedulers, one of them gone, and a deliverer.
func SampleCluster() *Cluster {
	conns := func(n int64) *int64 { return &n }
	seen := Now.Add(-120 * time.Millisecond)
	return &Cluster{View: admin.NodesView{
		Now: Now, Cluster: "tarishi", Leader: "node1", Term: 7,
		Reasons: []string{"node3 has not been heard of for 4m; the cluster stands no further failure"},
		Nodes: []admin.NodeLine{
			{Node: "node1", Addr: "192.0.2.1:7001", Here: true, Roles: []string{"ingress", "scheduler", "deliverer"}, Release: "1.2.3",
				Raft:        &admin.RaftLine{State: "leader", Voter: true, Term: 7, Applied: 12042},
				Sessions:    []admin.SessionLine{{Session: 11, Lease: Now.Add(29 * time.Second), Version: 3, Partitions: 32, Slots: 3}},
				Connections: conns(20)},
			{Node: "node2", Addr: "192.0.2.2:7001", Roles: []string{"scheduler"}, Release: "1.2.3",
				Raft: &admin.RaftLine{State: "follower", Voter: true, Term: 7, Applied: 12042, Contact: seen}},
			{Node: "node3", Addr: "192.0.2.3:7001", Error: "connection refused",
				Raft: &admin.RaftLine{Voter: true, Contact: Now.Add(-4 * time.Minute)}},
			{Node: "out1", Roles: []string{"deliverer"}, Release: "1.2.3",
				Sessions:    []admin.SessionLine{{Session: 12, Lease: Now.Add(12 * time.Second), Version: 2, Partitions: 32, Slots: 2, Draining: true}},
				Connections: conns(1204)},
		},
		Streams: []admin.StreamLine{
			{Stream: "READY", Leader: "node2", Messages: 1204, Bytes: 30 << 20, Replicas: []admin.ReplicaLine{
				{Node: "node1", Current: true, Seen: seen}, {Node: "node3", Lag: 212, Seen: Now.Add(-4 * time.Minute)}}},
			{Stream: "EVENT", Error: "no leader: a majority of its copies is missing"},
		},
	}}
}
