package netlab

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/bench/windows"
)

// apart is a lab with three nodes that are no cluster: each has its own queue and its own idea of a limit.
func apart(t *testing.T) (*Cluster, *recorder) {
	l := New(t)
	r := &recorder{TB: t}
	l.Sink("sink", []string{free, slotted}, "--delay", "20ms")
	c := l.Cluster(Plan{Apart: true, CoreRoles: []string{"ingress", "scheduler", "deliverer"},
		Config: "limits: [{to: slots.test, connections: 2, per_connection: 100}]\nretry: {schedule: [1s], expire: 1d}\n"})
	l.t = r
	c.Start()
	return c, r
}

// recorder notes what would fail a test.
type recorder struct {
	testing.TB
	found []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.found = append(r.found, fmt.Sprintf(format, args...))
}
func (r *recorder) Error(args ...any) { r.found = append(r.found, fmt.Sprint(args...)) }
func (r *recorder) Failed() bool      { return r.TB.Failed() }

func (r *recorder) has(what string) bool {
	for _, f := range r.found {
		if strings.Contains(f, what) {
			return true
		}
	}
	return false
}

// The nemesis harms and heals, and the books of nodes that lose nothing are even. But three nodes that are no cluster break
// a limit together, and the judge says so.
func TestHarness_notACluster(t *testing.T) {
	c, found := apart(t)
	for _, n := range c.Core {
		c.Load(Load{To: n, Domain: free, Rate: 30})
		c.Load(Load{To: n, Domain: slotted, Rate: 60})
	}
	m := c.Nemesis(7)
	m.longest = 500 * time.Millisecond
	if err := m.Do(5, time.Minute, "kill follower", "freeze one", "drop one way", "cut off", "stop leader"); err != nil {
		t.Fatal(err)
	}
	if len(m.Counts) < 3 {
		t.Errorf("only %v was done", m.Counts)
	}
	c.Finish(windows.Rules{Connections: []windows.Cap{{Destination: slotted, Max: 6}, {Destination: free, Max: 60}}}, time.Minute)
	if len(found.found) > 0 {
		t.Errorf("found in nodes that work, each by itself:\n%s", strings.Join(found.found, "\n"))
	}
	trace, err := c.Trace()
	if err != nil {
		t.Fatal(err)
	}
	r, err := windows.Judge(trace, windows.Rules{Connections: []windows.Cap{{Destination: slotted, Max: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Err() == nil {
		t.Errorf("three nodes that know nothing of each other are said to keep a limit of 2 connections together:\n%v", r)
	}
}

// A node that loses its disk and has no copy of its mail elsewhere is found out.
func TestHarness_lostMail(t *testing.T) {
	c, found := apart(t)
	c.Load(Load{To: c.Core[0], Domain: slotted, Messages: 400, Connections: 10})
	if !Until(20*time.Second, func() bool { r, _ := c.Arrived(); return r.Received > 20 }) {
		t.Fatal("no mail flows")
	}
	n := c.Core[0]
	if err := n.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	c.Await(time.Minute)
	c.Finish(windows.Rules{}, 3*time.Second)
	if !found.has("LOST") {
		t.Errorf("a wiped node is said to have lost nothing: %q", found.found)
	}
}

// What arrives twice and is in no list of doubts is found out; what is in it is not held against anybody.
func TestRepeated(t *testing.T) {
	l := New(t)
	s := l.Sink("sink", []string{free})
	n := l.Node("one", l.Routes(), "ingress", "scheduler", "deliverer")
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if !Until(20*time.Second, n.Ready) {
		t.Fatal("the node is not ready")
	}
	// Two loads of one name: the same ids twice.
	for range 2 {
		l.mu.Lock()
		l.loads = nil
		l.mu.Unlock()
		if _, err := l.Load(Load{To: n, Domain: free, Messages: 1}).Wait(20 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if !Until(20*time.Second, func() bool { return strings.Count(tail(s.IDs, 1000), "\n") == 2 }) {
		t.Fatal("the two copies did not arrive")
	}
	if err := l.CloseSinks(); err != nil {
		t.Fatal(err)
	}
	again, err := l.Repeated(nil)
	if err != nil || len(again) != 1 {
		t.Fatalf("%v, %v", again, err)
	}
	own := messageID.FindString(again[0])
	if again, err = l.Repeated([]Doubt{{own, free}}); err != nil || len(again) != 0 {
		t.Errorf("with a doubt about %q: %v, %v", own, again, err)
	}
	if again, err = l.Repeated([]Doubt{{own, slotted}}); err != nil || len(again) != 1 {
		t.Errorf("with a doubt about another delivery of it: %v, %v", again, err)
	}
}
