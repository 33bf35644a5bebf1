package netlab

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/bench/windows"
)

// Three core nodes and four deliverers, two sinks. Every destination gets more mail than its limit allows; in the middle the
// scheduler's leader is killed, and later comes back. Nothing is lost, nothing repeated but what is listed, no limit is
// broken, all deliverers take part, and mail goes on soon.
func TestCluster(t *testing.T) {
	c := newCluster(t, Plan{Deliverers: 4})
	c.Start()
	leader, err := c.AwaitLeader(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.loadAll(leader, 8*time.Second)
	c.Load(Load{To: leader, Domain: free, Rate: 20, Messages: 160})
	if !Until(30*time.Second, func() bool { r, _ := c.Arrived(); return r.Received > 200 }) {
		t.Fatal("no mail flows")
	}
	// The whole node dies: scheduler, a third of the queue, an ingress.
	leader.Kill()
	killed := Now()
	time.Sleep(3 * time.Second) // for so long it is gone
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	c.Accepted(30 * time.Second)
	trace, r := c.Finish(limits(), 60*time.Second)
	for _, d := range r.Destinations {
		if d.Name == free && len(d.Clients) != 4 {
			t.Errorf("%d of 4 deliverers took part", len(d.Clients))
		}
	}
	after, err := windows.Judge(trace, windows.Rules{From: trace.Since(killed), To: trace.Since(killed) + 10*time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range after.Destinations {
		if d.Pause >= 10 {
			t.Errorf("after the kill nothing went to %s for %.1f s", d.Name, d.Pause)
		}
	}
	c.Await(60 * time.Second)
}
