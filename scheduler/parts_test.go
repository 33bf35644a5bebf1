package scheduler

import "testing"

// partitions are what the sessions hold, by the orders they were given; those asked to
// let go do so.
func (d *office) partitions(held map[uint32]*guest, epochs map[uint32]uint64) {
	d.t.Helper()
	for _, g := range d.guests {
		for _, o := range g.take() {
			switch {
			case o.Part != nil:
				if held[o.Part.N] != nil {
					d.t.Fatalf("partition %d is given to %d while %d holds it", o.Part.N, g.id, held[o.Part.N].id)
				}
				if o.Part.Epoch <= epochs[o.Part.N] {
					d.t.Fatalf("partition %d: epoch %d after %d", o.Part.N, o.Part.Epoch, epochs[o.Part.N])
				}
				held[o.Part.N], epochs[o.Part.N] = g, o.Part.Epoch
			case o.EndPart != nil:
				delete(held, o.EndPart.N)
				g.beat(Beat{Gone: []Part{*o.EndPart}})
				g.beat(Beat{Gone: []Part{*o.EndPart}}) // said twice
			}
		}
	}
}

func shares(held map[uint32]*guest) map[SessionID]int {
	n := map[SessionID]int{}
	for _, g := range held {
		n[g.id]++
	}
	return n
}

func TestPartitionsAreDealtEvenly(t *testing.T) {
	d := newOffice(t, 0)
	held, epochs := map[uint32]*guest{}, map[uint32]uint64{}
	settle := func() {
		for range 20 {
			d.pass(100 * Millisecond)
			d.partitions(held, epochs)
		}
	}
	even := func(what string, among int) {
		t.Helper()
		settle()
		n := shares(held)
		if len(n) != among || len(held) != 64 {
			t.Errorf("%s: %d partitions among %d: %v", what, len(held), len(n), n)
		}
		for id, k := range n {
			if k < 64/among || k > 64/among+1 {
				t.Errorf("%s: %d has %d", what, id, k)
			}
		}
	}
	for i := range 3 {
		g := d.join()
		g.parts = true
		even("one joins", i+1)
	}
	moved := 0
	for p, g := range held {
		if g == d.guests[0] {
			moved++
		}
		_ = p
	}
	before := shares(held)
	even("nothing happens", 3)
	if after := shares(held); after[d.guests[0].id] != before[d.guests[0].id] {
		t.Errorf("partitions move without need: %v, then %v", before, after)
	}

	// One leaves in good order, one is not heard of any more.
	leaver := d.guests[0]
	leaver.beat(Beat{Draining: true})
	leaver.parts = false
	even("one drains", 2)
	d.l.Bye(d.now, leaver.id)
	dead := d.guests[1]
	dead.conn = 0
	d.guests = append(d.guests[:1], d.guests[2:]...)
	lost := shares(held)[dead.id]
	d.pass(20 * Second)
	d.partitions(held, epochs)
	if n := shares(held); n[dead.id] != lost {
		t.Errorf("partitions of a session that may live are given away: %v", n)
	}
	d.pass(15 * Second)
	for p, g := range held {
		if g == dead {
			delete(held, p)
		}
	}
	even("one is dead", 1)
	d.l.Bye(d.now, leaver.id)
}

func TestPartitionsAfterAFailover(t *testing.T) {
	d := newOffice(t, 3)
	for _, g := range d.guests {
		g.parts = true
	}
	held, epochs := map[uint32]*guest{}, map[uint32]uint64{}
	for range 10 {
		d.pass(100 * Millisecond)
		d.partitions(held, epochs)
	}
	dead := d.guests[2]
	d.lead()
	began := d.now
	for _, g := range d.guests[:2] {
		var claims []Part
		for p, o := range held {
			if o == g {
				claims = append(claims, Part{p, epochs[p]})
			}
		}
		g.hello(Hello{Parts: claims})
	}
	dead.conn = 0
	d.guests = d.guests[:2]
	before := shares(held)
	d.pass(10 * Second)
	d.partitions(held, epochs)
	if n := shares(held); n[d.guests[0].id] != before[d.guests[0].id] || n[d.guests[1].id] != before[d.guests[1].id] {
		t.Errorf("the living had %v and have %v", before, n)
	}
	for p, g := range held {
		if g == dead {
			delete(held, p)
		}
	}
	for len(held) < 64 {
		if d.now > began+40*Second {
			t.Fatalf("%d partitions have a holder", len(held))
		}
		d.pass(100 * Millisecond)
		d.partitions(held, epochs)
	}
	if d.now < began+25*Second {
		t.Errorf("those of the silent session are given away after %v", d.now-began)
	}
}
