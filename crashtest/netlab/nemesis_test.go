//go:build soak

package netlab

import (
	"flag"
	"strings"
	"testing"
	"time"
)

var (
	stepsFlag = flag.Int("netlab.steps", 40, "harms that the nemesis does")
	harmsFlag = flag.String("netlab.harms", "", "only these, separated by commas (default: all there are)")
)

// Whatever is killed, frozen, cut, wiped and restarted, and with one to eight deliverers: every message that had its 250 is
// delivered, again only where that is listed, and no limit is broken at the sinks, whose links to the senders are left alone.
func TestNemesis(t *testing.T) {
	seed := newSeed(t)
	c := newCluster(t, Plan{Deliverers: 2, Disks: true})
	c.Start()
	c.loadUntilStopped()
	m := c.Nemesis(seed)
	var names []string
	if *harmsFlag != "" {
		names = strings.Split(*harmsFlag, ",")
	}
	if err := m.Do(*stepsFlag, 2*time.Minute, names...); err != nil {
		t.Errorf("the cluster does not recover: %v", err)
		c.recover()
	}
	t.Logf("done: %v", m.Counts)
	c.Finish(limits(), 10*time.Minute)
}

// Deliverers come and go under load, in order: nothing is lost, no limit is broken, and all of them are of use.
func TestScale(t *testing.T) {
	c := newCluster(t, Plan{Deliverers: 1})
	c.Start()
	c.loadUntilStopped()
	for _, n := range []int{8, 2, 5, 1, 4} {
		if err := c.Scale(n); err != nil {
			t.Error(err)
		}
		c.Await(time.Minute)
		time.Sleep(10 * time.Second) // so long each number works
	}
	_, r := c.Finish(limits(), 3*time.Minute)
	for _, d := range r.Destinations {
		if d.Name == free && len(d.Clients) != 8 {
			t.Errorf("%d of 8 deliverers took part", len(d.Clients))
		}
	}
}

// One node after the other is stopped in order and started again, twice around, under load.
func TestRollingRestart(t *testing.T) {
	c := newCluster(t, Plan{Deliverers: 2})
	c.Start()
	c.loadUntilStopped()
	m := c.Nemesis(newSeed(t))
	if err := m.Do(2, 2*time.Minute, "rolling restart"); err != nil {
		t.Error(err)
		c.recover()
	}
	c.Finish(limits(), 3*time.Minute)
}

// loadUntilStopped sends to every destination at about nine tenths of what its limit allows, so that in the end the queue
// drains; after each harm there is more than enough to fill every window.
func (c *Cluster) loadUntilStopped() {
	for i, o := range []Load{
		{Domain: windowed, Rate: 9}, {Domain: slotted, Rate: 30}, {Domain: counted, Rate: 6, Recipients: 3}, {Domain: opened, Rate: 13}, {Domain: free, Rate: 20},
	} {
		for j, n := range c.Core {
			if j == i%3 || j == (i+1)%3 {
				o := o
				o.To, o.Rate = n, o.Rate/2
				c.Load(o)
			}
		}
	}
}

// recover brings everything back, so that the books can be drawn all the same.
func (c *Cluster) recover() {
	if err := c.HealAll(); err != nil {
		c.t.Error(err)
	}
	for _, n := range c.Nodes() {
		if n.Disk != nil {
			n.Disk.Slow(0)
			n.Disk.Thaw()
		}
		n.Thaw()
		if err := n.Start(); err != nil {
			c.t.Error(err)
		}
	}
	if err := c.Well(2 * time.Minute); err != nil {
		c.t.Error(err)
	}
}
