package cluster

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// benchNodes runs nodes with the timing and the fsync of production.
func benchNodes(b *testing.B, n int, tls bool) []*Raft {
	b.Helper()
	if n == 1 {
		r, err := StartRaft(b.Context(), RaftOptions{Dir: b.TempDir(), FSM: &counter{}, Node: "mx1"})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { r.Stop() })
		<-r.Leadership()
		return []*Raft{r}
	}
	peers := freePeers(b, n)
	var cred []*Credentials
	if tls {
		cred = clusterCredentials(b, b.TempDir(), "node1", "node2", "node3")
	}
	rs := make([]*Raft, n)
	var up sync.WaitGroup
	for i, p := range peers {
		o := TransportOptions{Cluster: "bench", Node: p.Node, Listen: p.Addr}
		if tls {
			o.Credentials = cred[i]
		}
		tr, err := NewTransport(o)
		if err != nil {
			b.Fatal(err)
		}
		up.Go(func() {
			var err error
			if rs[i], err = StartRaft(b.Context(), RaftOptions{Dir: b.TempDir(), FSM: &counter{}, Cluster: "bench", Node: p.Node, Peers: peers, Transport: tr}); err != nil {
				b.Error(err)
			}
		})
		b.Cleanup(func() { rs[i].Stop(); tr.Close() })
	}
	up.Wait()
	return rs
}

func benchLeader(rs []*Raft) *Raft {
	for ; ; time.Sleep(time.Millisecond) {
		for _, r := range rs {
			if r.Leading() != 0 {
				return r
			}
		}
	}
}

// One entry after another, as the scheduler's ticks go.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name  string
		nodes int
		tls   bool
		size  int
	}{{"one node/100B", 1, false, 100}, {"three nodes/100B", 3, false, 100}, {"three nodes, TLS/100B", 3, true, 100}, {"three nodes, TLS/15kB", 3, true, 15_000}} {
		b.Run(c.name, func(b *testing.B) {
			l := benchLeader(benchNodes(b, c.nodes, c.tls))
			var took []time.Duration
			data := make([]byte, c.size)
			for b.Loop() {
				began := time.Now()
				if _, err := l.Propose(b.Context(), data); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// How long three nodes on loopback are without a leader when theirs is gone.
func BenchmarkElection(b *testing.B) {
	var took []time.Duration
	for b.Loop() {
		rs := benchNodes(b, 3, false)
		l := benchLeader(rs)
		if _, err := l.Propose(b.Context(), number(1)); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		l.Stop()
		rest := slices.DeleteFunc(slices.Clone(rs), func(r *Raft) bool { return r == l })
		benchLeader(rest)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds(), "p50-s")
	b.ReportMetric(took[len(took)-1].Seconds(), "max-s")
	b.Log(fmt.Sprint(took))
}
