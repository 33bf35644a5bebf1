//go:build soak

package netlab

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/bench/windows"
)

// Three core nodes, four deliverers and two sinks, nothing goes wrong: every limit is kept exactly, and used to 95 % at least
// while there is mail.
func TestSaturated(t *testing.T) {
	l := New(t)
	l.Sink("sink1", []string{windowed, counted}, "--delay", "10ms")
	l.Sink("sink2", []string{slotted, opened, free}, "--delay", "30ms")
	c := l.Cluster(Plan{Deliverers: 4, Config: `limits:
  - {to: window.test, messages: [{max: 600, window: 20s}, {max: 50, window: 1s}]}
  - {to: rcpt.test, recipients: [{max: 300, window: 10s}]}
  - {to: slots.test, connections: 6, per_connection: 500}
  - {to: opens.test, new_connections: [{max: 20, window: 5s}], per_connection: 3}
retry: {schedule: [1s], expire: 1d}
`})
	c.Start()
	const length = 90 * time.Second
	for i, o := range []Load{
		{Domain: windowed, Rate: 36}, {Domain: counted, Rate: 12, Recipients: 3}, {Domain: slotted, Rate: 250}, {Domain: opened, Rate: 15}, {Domain: free, Rate: 30},
	} {
		o.To, o.Messages, o.Connections = c.Core[i%3], uint64(o.Rate*length.Seconds()), 4
		c.Load(o)
	}
	if !Until(30*time.Second, func() bool { r, _ := c.Arrived(); return r.Received > 100 }) {
		t.Fatal("no mail flows")
	}
	began := Now()
	time.Sleep(length)
	ended := Now()
	rules := windows.Rules{
		Limits: []windows.Limit{
			{Destination: windowed, Unit: windows.Messages, Max: 600, Window: 20 * time.Second},
			{Destination: windowed, Unit: windows.Messages, Max: 50, Window: time.Second},
			{Destination: counted, Unit: windows.Recipients, Max: 300, Window: 10 * time.Second},
			{Destination: opened, Unit: windows.NewConnections, Max: 20, Window: 5 * time.Second},
		},
		Connections:   []windows.Cap{{Destination: slotted, Max: 6}},
		PerConnection: []windows.Cap{{Destination: slotted, Max: 500}, {Destination: opened, Max: 3}},
		From:          time.Duration(began - c.begun), To: time.Duration(ended - c.begun),
	}
	trace, _ := c.Finish(rules, 3*time.Minute)
	rules.From, rules.To = trace.Since(began), trace.Since(ended)
	r, err := windows.Judge(trace, rules)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("while there was mail for all:\n%v", r)
	// The window of a second binds only what that of twenty lets through in a burst.
	for _, l := range r.Limits {
		if l.Window > time.Second && l.Utilisation() < 0.95 {
			t.Errorf("%v: %.2f %% used, want 95", l.Limit, 100*l.Utilisation())
		}
	}
	// Four nodes take turns at six connections, and each turn costs a second in which one is closed and not yet made anew.
	if u := r.Connections[0].Utilisation(); u < 0.75 {
		t.Errorf("connections to %s: %.2f %% of the time of %d used, want 75", slotted, 100*u, r.Connections[0].Max)
	}
	for _, d := range r.Destinations {
		if len(d.Clients) < 2 && d.Name != slotted {
			t.Errorf("all of %s came from one deliverer", d.Name)
		}
	}
}
