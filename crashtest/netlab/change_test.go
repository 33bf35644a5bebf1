//go:build soak

package netlab

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/bench/windows"
)

// Limits are changed under load: from the moment the command answers, the new limit is exact, even for what was sent before;
// a suspension stops everything. One deliverer is cut off meanwhile from all others, with mail in hand: the command waits
// until its lease has lapsed, and it sends nothing that the new limit forbids.
func TestLimitsChange(t *testing.T) {
	l := New(t)
	l.Sink("sink1", []string{windowed}, "--delay", "10ms")
	l.Sink("sink2", []string{free}, "--delay", "10ms")
	c := l.Cluster(Plan{Deliverers: 3, Config: "limits: [{to: window.test, messages: [{max: 100, window: 5s}]}]\nretry: {schedule: [1s], expire: 1d}\n"})
	c.Start()
	for i, o := range []Load{{Domain: windowed, Rate: 30}, {Domain: free, Rate: 100}} {
		o.To = c.Core[i]
		c.Load(o)
	}
	if !Until(30*time.Second, func() bool { r, _ := c.Arrived(); return r.Received > 500 }) {
		t.Fatal("no mail flows")
	}
	change := func(args ...string) int64 {
		t.Helper()
		began := time.Now()
		out, err := c.Core[2].Command(append([]string{"limits"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%.3f s: limits %v answered after %v: %s", float64(Now()-c.begun)/1e9, args, time.Since(began).Round(time.Millisecond), out)
		return Now()
	}
	var judged []windows.Limit
	add := func(dest string, most int, w time.Duration, since int64) {
		judged = append(judged, windows.Limit{Destination: dest, Unit: windows.Messages, Max: most, Window: w, Since: since})
	}
	work := func() { time.Sleep(12 * time.Second) } // some windows' worth

	add(windowed, 100, 5*time.Second, 0)
	lower := change("set", windowed, "--messages", "20/10s")
	add(windowed, 20, 10*time.Second, lower)
	work()

	cut := c.Deliverers()[0]
	for _, n := range c.Nodes() {
		if n != cut {
			if err := c.Cut(cut.Host, n.Host); err != nil {
				t.Fatal(err)
			}
		}
	}
	limited := change("set", free, "--messages", "10/2s")
	add(free, 10, 2*time.Second, limited)
	work()
	if err := c.HealAll(); err != nil {
		t.Fatal(err)
	}
	work()

	suspended := change("suspend", free, "--reason", "test")
	add(free, 0, time.Nanosecond, suspended)
	work()
	for i, ended := 1, Now(); i < len(judged); i++ { // all but the file's, which holds again after them
		judged[i].Until = ended
	}
	change("resume", free)
	change("unset", free)
	change("unset", windowed)
	open := Now()
	time.Sleep(20 * time.Second) // there is mail all the while, or a pause would say nothing
	c.Await(time.Minute)
	trace, _ := c.Finish(windows.Rules{}, 10*time.Minute)
	for d, p := range pauses(t, trace, open, 20*time.Second) {
		if p > 10 {
			t.Errorf("nothing to %s for %.1f s after its limit had gone", d, p)
		}
	}
	r, err := windows.Judge(trace, windows.Rules{Limits: judged})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("by what held when:\n%v", r)
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

// Four deliverers do nearly four times the work of one, where the receiver takes half a second for each message and each node
// may have twenty connections.
func TestFourDeliverers(t *testing.T) {
	rate := func(deliverers int) float64 {
		l := New(t)
		l.Sink("sink", []string{free}, "--delay", "500ms")
		c := l.Cluster(Plan{Deliverers: deliverers, Config: "delivery: {connections: 20, idle: 30s}\n"})
		c.Start()
		c.Load(Load{To: c.Core[0], Domain: free, Rate: 200, Connections: 10, Messages: 6000})
		if !Until(30*time.Second, func() bool { r, _ := c.Arrived(); return r.Received > 100 }) {
			t.Fatal("no mail flows")
		}
		time.Sleep(5 * time.Second) // all have opened their connections
		before, _ := c.Arrived()
		began := time.Now()
		time.Sleep(15 * time.Second) // what is measured
		after, _ := c.Arrived()
		took := time.Since(began)
		c.StopLoads()
		l.close() // the next one needs its place
		return float64(after.Received-before.Received) / took.Seconds()
	}
	one, four := rate(1), rate(4)
	t.Logf("one deliverer %.1f messages/s, four %.1f: %.2f times", one, four, four/one)
	if four < 3.6*one {
		t.Errorf("four deliverers do %.2f times the work of one, want 3.6", four/one)
	}
}
