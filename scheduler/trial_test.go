package scheduler

import (
	"testing"

	"github.com/tarishi/tarishi/shaping"
)

// shadow makes a rule one in shadow.
func shadow(c *shaping.Change) *shaping.Change { c.Rule.Shadow = true; return c }

// A limit in shadow holds nothing, and tells how much it would have held: what is above
// it, and not everything from the first excess on.
func TestLimitsInShadow(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "1000/1m"), shadow(messages("a.test", "50/10s")), shadow(setRule(shaping.Rule{To: "free.test", Recipients: windows("1000/1m")})))
	g := d.guests[0]
	began := d.now
	started := 0
	for range 60 { // 10 a second for a minute: twice what the one in shadow allows
		g.want(to("a.test"), 10, 10, 1)
		d.pass(Second)
		started += g.start()
	}
	if started != 600 {
		t.Errorf("%d of 600 have started under a limit that holds nothing", started)
	}
	var x Live
	for _, o := range d.l.Live(d.now) {
		if o.Shadow {
			x = o
		}
	}
	if x.Started != 600 || x.Held < 280 || x.Held > 310 || x.Used != 50 || x.Since < began-Second || x.From.To != "a.test" {
		t.Errorf("it would have held half of it: %+v", x)
	}
	d.change(unset("a.test")) // what is in shadow stays, and goes on counting
	g.want(to("a.test"), 10, 10, 1)
	d.pass(Second)
	if n := g.start(); n != 10 {
		t.Errorf("%d of 10 have started where no limit holds", n)
	}
	found := 0
	for _, o := range d.l.Live(d.now) {
		if o.Shadow && o.Counter == x.Counter {
			if found++; o.Started != 610 || o.Since != x.Since {
				t.Errorf("it has begun anew: %+v", o)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d of it", found)
	}
	g.want(to("free.test"), 3, 30, 10)
	d.pass(Second)
	if n := g.start(); n != 3 {
		t.Errorf("%d of 3 to a destination that has a limit in shadow alone", n)
	}
	d.pass(2 * Hour)
	if n := len(d.l.trials); n != 0 {
		t.Errorf("%d trials are kept for hours in which nothing was sent", n)
	}
}
