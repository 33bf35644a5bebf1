//go:build soak

package netlab

import (
	"testing"
	"time"
)

// Clients wait at the door while a new cluster starts for the first time, its nodes in any order: no node gives up, and from the
// first message on the limits of the configuration hold. Then all of it is killed and started again, the deliverers first.
func TestColdStart(t *testing.T) {
	for _, order := range []string{"at once", "deliverers first", "one core node late"} {
		t.Run(order, func(t *testing.T) {
			c := newCluster(t, Plan{Deliverers: 3})
			c.loadAll(nil, 12*time.Second)
			start := func(nodes []*Node, pause time.Duration) {
				for _, n := range nodes {
					if err := n.Start(); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(pause) // so much later the others follow
			}
			switch order {
			case "at once":
				start(c.Nodes(), 0)
			case "deliverers first":
				start(c.Deliverers(), 5*time.Second)
				start(c.Core, 0)
			case "one core node late":
				start(c.Core[:2], 0)
				start(c.Deliverers(), 8*time.Second)
				start(c.Core[2:], 0)
			}
			c.Await(90 * time.Second)
			c.Accepted(60 * time.Second)
			for _, n := range c.Nodes() {
				n.Kill()
			}
			start(c.Deliverers(), time.Second)
			start(c.Core, 0)
			c.Await(90 * time.Second)
			c.Finish(limits(), 2*time.Minute)
		})
	}
}
