package scheduler

import (
	"strings"
	"testing"
)

// slots are the Slots among the orders since the last time, and the ends asked for.
func (g *guest) slots() (got, end []SlotID) {
	for _, o := range g.take() {
		if o.Slot != nil {
			got = append(got, o.Slot.ID)
		}
		if o.EndSlot != 0 {
			end = append(end, o.EndSlot)
		}
	}
	return got, end
}

func (g *guest) wantSlots(l Lane, n int) { g.beat(Beat{Slots: []SlotWant{{l, n}}}) }

func TestSlotsComeBackAMomentAfterTheyAreClosed(t *testing.T) {
	d := newOffice(t, 2, connections("a.test", 2))
	a, b := d.guests[0], d.guests[1]
	a.wantSlots(to("a.test"), 5)
	d.pass(100 * Millisecond)
	got, _ := a.slots()
	if len(got) != 2 {
		t.Fatalf("%d of 2 slots", len(got))
	}
	b.wantSlots(to("a.test"), 1)
	a.wantSlots(to("a.test"), 2)
	a.beat(Beat{Closed: got[:1]})
	a.beat(Beat{Closed: got[:1]}) // said twice
	d.pass(900 * Millisecond)
	if x, _ := b.slots(); len(x) > 0 {
		t.Error("a slot is used again before its end can have been noticed")
	}
	d.pass(200 * Millisecond)
	if x, _ := b.slots(); len(x) != 1 {
		t.Errorf("%d slots a second after one was closed", len(x))
	}
	if x, _ := a.slots(); len(x) != 0 {
		t.Errorf("%d more than the limit", len(x))
	}
}

func TestFullLimitsTakeTurns(t *testing.T) {
	d := newOffice(t, 2, connections("a.test", 2))
	a, b := d.guests[0], d.guests[1]
	a.wantSlots(to("a.test"), 2)
	d.pass(100 * Millisecond)
	got, _ := a.slots()
	b.wantSlots(to("a.test"), 2)
	d.pass(4 * Second)
	if _, end := a.slots(); len(end) > 0 {
		t.Error("asked to end before its turn is over")
	}
	if h := holds(b.orders); len(h) != 1 || !strings.Contains(h[0].Why, "all 2 connections are in use") {
		t.Errorf("the other is told %+v", h)
	}
	d.pass(2 * Second)
	_, end := a.slots()
	if len(end) != 1 || end[0] != got[0] {
		t.Fatalf("asked to end %v of %v", end, got)
	}
	d.pass(5 * Second) // a long transaction
	if _, more := a.slots(); len(more) > 0 {
		t.Errorf("and %v, though each then has one", more)
	}
	a.beat(Beat{Closed: end})
	d.pass(1200 * Millisecond)
	if x, _ := b.slots(); len(x) != 1 {
		t.Errorf("the other gets %d", len(x))
	}
	// Each has one of the two, and both want two: that is fair.
	d.pass(10 * Second)
	_, e1 := a.slots()
	if _, e2 := b.slots(); len(e1)+len(e2) > 0 {
		t.Errorf("asked to end %v and %v", e1, e2)
	}
}

// Tenants share a limit evenly, however many nodes send their mail.
func TestTenantsTakeTurns(t *testing.T) {
	d := newOffice(t, 3, connections("a.test", 4))
	for _, g := range d.guests {
		g.wantSlots(to("a.test").of("large"), 4)
	}
	d.pass(100 * Millisecond)
	small := d.guests[0]
	small.wantSlots(to("a.test").of("small"), 4)
	held := map[string]int{}
	lanes := map[SlotID]Lane{}
	sum := 0
	for i := range 60 {
		d.pass(500 * Millisecond)
		for _, g := range d.guests {
			var closed []SlotID
			for _, o := range g.take() {
				if o.Slot != nil {
					held[o.Slot.Lane.Tenant]++
					lanes[o.Slot.ID] = o.Slot.Lane
				}
				if o.EndSlot != 0 {
					held[lanes[o.EndSlot].Tenant]--
					closed = append(closed, o.EndSlot)
				}
			}
			g.beat(Beat{Closed: closed})
		}
		if i < 30 {
			continue
		}
		if sum += held["large"]; held["small"] != 2 {
			t.Fatalf("after %d turns %v", i, held)
		}
	}
	if sum < 48 { // while the large one's sessions take turns, one rests
		t.Errorf("the large one held %d of 60", sum)
	}
	d.pass(20 * Second)
	for _, g := range d.guests {
		_, end := g.slots()
		for _, id := range end { // the sessions of the large one take turns
			if lanes[id].Tenant == "small" {
				t.Errorf("asked to end %v, though each tenant has its half", id)
			}
		}
	}
}

func TestLoweredLimitEndsWhatIsTooMuch(t *testing.T) {
	d := newOffice(t, 2, connections("a.test", 4))
	a, b := d.guests[0], d.guests[1]
	a.wantSlots(to("a.test"), 3)
	d.pass(50 * Millisecond)
	b.wantSlots(to("a.test"), 1)
	d.pass(50 * Millisecond)
	a.slots()
	b.slots()
	v := d.change(connections("a.test", 2))
	d.pass(2 * Second)
	_, ea := a.slots()
	_, eb := b.slots()
	if len(ea) != 2 || len(eb) != 0 {
		t.Fatalf("asked to end %v of three and %v of one", ea, eb)
	}
	if done, waiting := d.l.InForce(v, d.now); done || len(waiting) != 1 || waiting[0] != a.id {
		t.Errorf("in force: %v, waiting for %v", done, waiting)
	}
	a.beat(Beat{Closed: ea})
	if done, _ := d.l.InForce(v, d.now); done {
		t.Error("in force before the ends can have been noticed")
	}
	d.pass(1100 * Millisecond)
	if done, waiting := d.l.InForce(v, d.now); !done {
		t.Errorf("not in force, waiting for %v", waiting)
	}
}

// A new leader knows what a silent session may hold, and where. Everything else it
// hands out at once.
func TestFailoverBreaksNoConnection(t *testing.T) {
	d := newOffice(t, 3, connections("a.test", 3), connections("b.test", 2))
	a, dead, c := d.guests[0], d.guests[1], d.guests[2]
	a.wantSlots(to("a.test"), 1)
	d.pass(100 * Millisecond)
	dead.wantSlots(to("a.test"), 1)
	d.pass(100 * Millisecond)
	mine, _ := a.slots()
	if x, _ := dead.slots(); len(mine) != 1 || len(x) != 1 {
		t.Fatal("no slots")
	}
	d.lead()
	died := d.now
	dead.conn = 0
	a.hello(Hello{Slots: []SlotClaim{{mine[0], to("a.test")}}})
	c.hello(Hello{})
	c.beat(Beat{Slots: []SlotWant{{to("a.test"), 5}, {to("b.test"), 5}}})
	d.pass(1300 * Millisecond)
	got := map[string]int{}
	for _, o := range c.take() {
		if o.Slot != nil {
			got[o.Slot.Lane.Dest.Key]++
		}
	}
	if got["domain:a.test"] != 1 || got["domain:b.test"] != 2 {
		t.Errorf("while a silent session may hold one of 3, the third of a.test and both of b.test are free: %v", got)
	}
	a.wantSlots(to("a.test"), 1)
	for len(d.f.Sessions()) > 2 {
		if d.now > died+40*Second {
			t.Fatal("the silent session stays")
		}
		d.pass(100 * Millisecond)
	}
	if d.now < died+25*Second {
		t.Errorf("its lease was over after %v", d.now-died)
	}
	d.pass(1200 * Millisecond)
	if x, _ := c.slots(); len(x) != 1 {
		t.Errorf("of the dead session's slots %d are free", len(x))
	}
}

// The log is not told of each connection.
func TestSharesAreNotWrittenForEachConnection(t *testing.T) {
	d := newOffice(t, 1, connections("a.test", 2))
	g := d.guests[0]
	recs := 0
	for range 60 {
		g.wantSlots(to("a.test"), 2)
		d.l.Turn(d.now, func(id SessionID, o Order) { g.orders = append(g.orders, o) })
		if c := d.l.Tick(d.now); c != nil {
			recs += len(c.Slots)
			d.apply(c)
			d.l.Committed(d.now, c)
		}
		got, _ := g.slots()
		if len(got) > 0 {
			g.beat(Beat{Closed: got})
		}
		d.now += 500 * Millisecond
	}
	if recs == 0 || recs > 3 {
		t.Errorf("%d records in half a minute of short connections", recs)
	}
	g.wantSlots(to("a.test"), 0)
	d.pass(20 * Second)
	if n := len(d.f.sessions[g.id].slots); n > 0 {
		t.Errorf("the log still says that it may hold slots of %d limits", n)
	}
	if len(d.l.slots.counters)+len(d.l.slots.lanes)+len(d.l.slots.shares) > 0 {
		t.Errorf("the leader keeps %d limits, %d lanes and %d shares", len(d.l.slots.counters), len(d.l.slots.lanes), len(d.l.slots.shares))
	}
}

// A session that comes back after a failover keeps its share for a while, whatever it
// holds at the moment: it wants its connections again soon, without the log.
func TestShareOfASessionThatComesBack(t *testing.T) {
	d := newOffice(t, 1, connections("a.test", 4))
	g := d.guests[0]
	g.wantSlots(to("a.test"), 3)
	d.pass(Second)
	held, _ := g.slots()
	if len(held) != 3 {
		t.Fatalf("%d slots", len(held))
	}
	d.fail(func(*guest) Hello { return Hello{Slots: []SlotClaim{{held[0], to("a.test")}}} })
	share := func() (n int) {
		for _, most := range d.f.sessions[g.id].slots {
			n += most
		}
		return n
	}
	if d.pass(5 * Second); share() != 3 {
		t.Errorf("after 5 s it may hold %d", share())
	}
	if d.pass(15 * Second); share() != 1 {
		t.Errorf("after 20 s it may hold %d, though it wants no more than 1", share())
	}
}
