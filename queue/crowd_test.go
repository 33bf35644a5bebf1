package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// While READY is short everything goes there. When one tenant fills it, the rest of
// that tenant's mail waits, and other tenants' mail does not.
func TestCrowdOfOneTenant(t *testing.T) {
	c, now := newCrowd(), time.Unix(1e9, 0)
	c.measured(0, 0, now)
	big, small := mail.Line{Destination: "d.test", Tenant: "big"}, mail.Line{Destination: "d.test", Tenant: "small"}
	ready := 0
	for i := range 20 * readyLeast {
		if now = now.Add(time.Microsecond); !c.waits(big, now) {
			c.goes("big", now)
			ready++
		}
		if i%1000 == 0 {
			if c.waits(small, now) {
				t.Fatalf("the small tenant waits behind %d of the big one", ready)
			}
			c.goes("small", now)
		}
	}
	if ready > readyLeast+10 {
		t.Errorf("%d of one tenant went to READY, want %d at most", ready, readyLeast)
	}
	now = now.Add(time.Second)
	c.measured(0, uint64(ready), now)
	if c.waits(big, now) {
		t.Error("READY is empty again, and the big tenant's mail waits still")
	}
}

// Tenants that fill READY together have equal shares of it; high mail has more room, bulk less.
func TestCrowdShares(t *testing.T) {
	c, now := newCrowd(), time.Unix(1e9, 0)
	c.measured(0, 0, now)
	got := map[string]int{}
	for i := range 100000 {
		tenant := fmt.Sprint(i % 4)
		if !c.waits(mail.Line{Tenant: tenant}, now) {
			c.goes(tenant, now)
			got[tenant]++
		}
	}
	for tenant, n := range got {
		if n < readyLeast/5 || n > readyLeast/3 {
			t.Errorf("tenant %s has %d of %d in READY", tenant, n, readyLeast)
		}
	}
	if c.waits(mail.Line{Tenant: "1", Class: mail.High}, now) || !c.waits(mail.Line{Tenant: "1", Class: mail.Bulk}, now) {
		t.Error("high mail waits, or bulk mail does not")
	}
}

// A line that comes back from deliverers is not offered for a while, longer each time,
// and offered again when that was long ago.
func TestCrowdOfARefusedLine(t *testing.T) {
	c, now := newCrowd(), time.Unix(1e9, 0)
	l, other := mail.Line{Destination: "shut.test"}, mail.Line{Destination: "open.test"}
	for want := refusedFor; want < refusedMost; want *= 2 {
		for i := range refusedAt {
			if c.waits(l, now) {
				t.Fatal("it waits after", i, "that came back")
			}
			if d := c.gaveBack(l, now); i < refusedAt-1 && d != 0 || i == refusedAt-1 && d != want {
				t.Fatalf("after %d that came back it waits for %s, want %s", i+1, d, want)
			}
		}
		if !c.waits(l, now) || c.waits(other, now) {
			t.Fatal("the line does not wait, or another one does")
		}
		now = now.Add(want)
	}
	now = now.Add(refusedMost + time.Second)
	for range refusedAt - 1 {
		c.gaveBack(l, now)
	}
	if d := c.gaveBack(l, now); d != refusedFor {
		t.Errorf("long after it waits for %s, want %s", d, refusedFor)
	}
	c.measured(0, 0, now.Add(time.Hour))
	if len(c.lines) != 0 {
		t.Error("it is remembered for ever")
	}
}
