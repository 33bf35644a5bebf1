//go:build soak

package netlab

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/bench/windows"
)

// failoverLimits bind nobody here: what is measured is for how long mail pauses, not how much a limit allows.
const failoverLimits = `limits:
  - {to: window.test, messages: [{max: 6000, window: 60s}]}
  - {to: slots.test, connections: 4, per_connection: 5}
  - {to: opens.test, new_connections: [{max: 3000, window: 60s}], per_connection: 1}
retry: {schedule: [1s], expire: 1d}
`

// pauses is the longest time without a transaction, by destination, in the time after a moment.
func pauses(t *testing.T, trace *windows.Trace, from int64, d time.Duration) map[string]float64 {
	t.Helper()
	r, err := windows.Judge(trace, windows.Rules{From: trace.Since(from), To: trace.Since(from) + d})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, d := range r.Destinations {
		out[d.Name] = d.Pause
	}
	return out
}

// steady sends to every destination, at rates no limit binds, through the core nodes but one.
func (c *Cluster) steady(but *Node) {
	to := c.others(but)
	for i, d := range []string{windowed, slotted, opened, free} {
		c.Load(Load{To: to[i%len(to)], Domain: d, Rate: 20, Connections: 4})
	}
}

// The process that leads the scheduler is killed, and nothing but that: the queue is kept in a NATS cluster of its own. Mail to
// where there is no limit never pauses; limited mail and new connections under a limit go on within five seconds.
func TestLeaderKilled(t *testing.T) {
	l := New(t)
	l.Sink("sink1", []string{windowed, opened})
	l.Sink("sink2", []string{slotted, free})
	c := l.Cluster(Plan{Deliverers: 2, NATS: l.NATS(), Config: failoverLimits})
	c.Start()
	var worst = map[string]float64{}
	var kills []int64
	for range 5 {
		leader, err := c.AwaitLeader(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		c.steady(leader)
		time.Sleep(5 * time.Second) // mail flows
		leader.Kill()
		kills = append(kills, Now())
		time.Sleep(12 * time.Second) // what is measured
		c.StopLoads()
		if err := leader.Start(); err != nil {
			t.Fatal(err)
		}
		c.Await(time.Minute)
	}
	trace, _ := c.Finish(windows.Rules{Connections: []windows.Cap{{Destination: slotted, Max: 4}}}, time.Minute)
	for _, k := range kills {
		for d, p := range pauses(t, trace, k, 12*time.Second) {
			worst[d] = max(worst[d], p)
		}
	}
	t.Logf("longest pauses after %d kills, in seconds: %v", len(kills), worst)
	for d, p := range worst {
		if most := map[bool]float64{true: 1, false: 5}[d == free]; p > most {
			t.Errorf("%s: nothing for %.2f s after the leader was killed, want %.0f s at most", d, p, most)
		}
	}
}

// A whole node is killed, with its part of the scheduler, of the queue and of the deliveries: everything flows again within ten
// seconds, and its connections are free for others within 35.
func TestNodeKilled(t *testing.T) {
	l := New(t)
	l.Sink("sink1", []string{windowed, opened})
	l.Sink("sink2", []string{slotted, free}, "--delay", "50ms")
	c := l.Cluster(Plan{CoreRoles: []string{"ingress", "scheduler", "deliverer"}, Config: `limits:
  - {to: window.test, messages: [{max: 6000, window: 60s}]}
  - {to: slots.test, connections: 3, per_connection: 500}
retry: {schedule: [1s], expire: 1d}
`})
	c.Start()
	var kills []int64
	for range 3 {
		leader, err := c.AwaitLeader(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		c.steady(leader)
		for _, n := range c.others(leader) {
			c.Load(Load{To: n, Domain: slotted, Rate: 25, Connections: 4}) // with the steady ones more than three connections take
		}
		time.Sleep(8 * time.Second) // mail flows, from all three nodes
		leader.Kill()
		kills = append(kills, Now())
		time.Sleep(50 * time.Second) // what is measured
		c.StopLoads()
		if err := leader.Start(); err != nil {
			t.Fatal(err)
		}
		c.Await(time.Minute)
	}
	trace, _ := c.Finish(windows.Rules{Connections: []windows.Cap{{Destination: slotted, Max: 3}}}, 5*time.Minute)
	for i, k := range kills {
		p := pauses(t, trace, k, 50*time.Second)
		t.Logf("kill %d: longest pauses in seconds: %v", i, p)
		for _, d := range []string{windowed, free, opened} {
			if p[d] > 10 {
				t.Errorf("kill %d: nothing to %s for %.1f s, want 10 at most", i, d, p[d])
			}
		}
		r, err := windows.Judge(trace, windows.Rules{Connections: []windows.Cap{{Destination: slotted, Max: 3}}, From: trace.Since(k) + 35*time.Second, To: trace.Since(k) + 50*time.Second})
		if err != nil {
			t.Fatal(err)
		}
		// Three of three; a third of them less, were those of the dead node not free. Nodes take turns, and each turn costs a
		// second in which a connection is closed and not yet made anew.
		if u := r.Connections[0].Utilisation(); u < 0.75 {
			t.Errorf("kill %d: from 35 s after it on only %.0f %% of the connections to %s are used", i, 100*u, slotted)
		}
	}
}

// A node is lost for good under load, its disk with it: nothing is lost, and all that had been acknowledged until then, by
// whichever node, is delivered by the others within a minute.
func TestNodeLostWithDisk(t *testing.T) {
	l := New(t)
	l.Sink("sink1", []string{windowed, free}, "--delay", "20ms")
	c := l.Cluster(Plan{CoreRoles: []string{"ingress", "scheduler", "deliverer"}, Config: "retry: {schedule: [1s], expire: 1d}\n"})
	c.Start()
	lost, err := c.AwaitLeader(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Core {
		for _, d := range []string{windowed, free} {
			c.Load(Load{To: n, Domain: d, Rate: 60, Connections: 10})
		}
	}
	if !Until(30*time.Second, func() bool { r, _ := c.Arrived(); return r.Received > 1000 }) {
		t.Fatal("no mail flows")
	}
	if err := lost.Wipe(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	for _, n := range c.others(lost) {
		if err := c.Cut(n.Host, lost.Host); err != nil {
			t.Fatal(err)
		}
	}
	missing := func() int {
		r, err := c.compareUntil(killed)
		if err != nil {
			t.Fatal(err)
		}
		return r.Lost
	}
	t.Logf("when %s was lost, %d acknowledged copies were under way", lost.Name, missing())
	if !Until(time.Minute, func() bool { return missing() == 0 }) {
		t.Errorf("a minute later %d copies that were acknowledged before have not been delivered", missing())
	}
	t.Logf("all of them were delivered %v later", time.Since(killed).Round(100*time.Millisecond))
	c.Finish(windows.Rules{}, 2*time.Minute)
}
