package netlab

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/bench/windows"
)

// limited is the configuration of these limits, and limits are the same for the judge.
const limited = `limits:
  - {to: window.test, messages: [{max: 40, window: 4s}, {max: 15, window: 1s}]}
  - {to: slots.test, connections: 3, per_connection: 50}
  - {to: rcpt.test, recipients: [{max: 60, window: 3s}]}
  - {to: opens.test, new_connections: [{max: 12, window: 4s}], per_connection: 5}
retry: {schedule: [1s], expire: 1d}
`

func limits() windows.Rules {
	return windows.Rules{
		Limits: []windows.Limit{
			{Destination: windowed, Unit: windows.Messages, Max: 40, Window: 4 * time.Second},
			{Destination: windowed, Unit: windows.Messages, Max: 15, Window: time.Second},
			{Destination: counted, Unit: windows.Recipients, Max: 60, Window: 3 * time.Second},
			{Destination: opened, Unit: windows.NewConnections, Max: 12, Window: 4 * time.Second},
		},
		Connections:   []windows.Cap{{Destination: slotted, Max: 3}},
		PerConnection: []windows.Cap{{Destination: slotted, Max: 50}, {Destination: opened, Max: 5}},
	}
}

// newCluster makes two sinks and a cluster with these limits.
func newCluster(t *testing.T, p Plan) *Cluster {
	l := New(t)
	l.Sink("sink1", []string{windowed, counted}, "--delay", "10ms")
	l.Sink("sink2", []string{slotted, opened, free}, "--delay", "30ms")
	p.Config += limited
	return l.Cluster(p)
}

// loadAll sends to every destination through the core nodes but one (nil: all), at rates, in messages a second, that are more
// than the limits allow, and for so long.
func (c *Cluster) loadAll(but *Node, d time.Duration) {
	to := c.others(but)
	for i, o := range []Load{
		{Domain: windowed, Rate: 14}, {Domain: slotted, Rate: 60}, {Domain: counted, Rate: 9, Recipients: 3}, {Domain: opened, Rate: 16}, {Domain: free, Rate: 40},
	} {
		o.To = to[i%len(to)]
		o.Messages = uint64(o.Rate * d.Seconds())
		c.Load(o)
	}
}

// others are the core nodes but one.
func (c *Cluster) others(but *Node) (out []*Node) {
	for _, n := range c.Core {
		if n != but {
			out = append(out, n)
		}
	}
	return out
}

// Accepted waits until the loads have sent all they were to send.
func (c *Cluster) Accepted(patience time.Duration) {
	c.t.Helper()
	end := time.Now().Add(patience)
	for _, o := range c.loads {
		if _, err := o.Wait(time.Until(end)); err != nil {
			c.t.Error(err)
		}
	}
}
