package scheduler

import "testing"

// A node comes back after hours, when the lease that its log knows is long over. Its
// new session gets a lease that lies ahead, and keeps it.
func TestSessionAfterALongStop(t *testing.T) {
	d := newOffice(t, 1, messages("a.test", "10/1s"))
	d.guests = nil // the process is gone
	d.now += 3 * Hour
	d.lead()
	d.held = true // the log is slow with the first entry
	g := d.join()
	d.pass(100 * Millisecond)
	d.held = false
	d.pass(Second)
	if l := d.l.Lease(g.id); l <= d.now {
		t.Fatalf("the lease is until %d, it is %d", l, d.now)
	}
	g.want(to("a.test"), 5, 5, 1)
	d.pass(100 * Millisecond)
	if n := g.start(); n != 5 {
		t.Errorf("it may start %d of 5", n)
	}
}
