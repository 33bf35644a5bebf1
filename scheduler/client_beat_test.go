package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Beats say what has changed and nothing else; News comes when a permit can be used.
func TestBeatsSayWhatIsWanted(t *testing.T) {
	d := newDesk(t)
	l := laneTo("a.test")
	h := d.Lane(l)
	d.compose(d.x)
	h.Want(5, 9, 3)
	if !d.urgent {
		t.Error("the leader should know at once")
	}
	if f := d.compose(d.x); len(f.beat.Wants) != 1 || f.beat.Wants[0] != (Want{l, 5, 9, 3}) || !f.busy {
		t.Errorf("%+v", f.beat)
	}
	if f := d.compose(d.x); len(f.beat.Wants) != 0 || !f.busy {
		t.Errorf("it was said before: %+v", f.beat)
	}
	d.news = nil
	d.grant(l, 2, 30*time.Millisecond, 500*time.Millisecond)
	if f := d.compose(d.x); len(f.beat.Wants) != 1 || f.beat.Wants[0].N != 3 {
		// Two of the five are in hand, with two recipients; the leader believes the same
		// of the number and, by the head, other of the recipients.
		if len(f.beat.Wants) != 0 {
			t.Errorf("%+v", f.beat)
		}
	}
	if n, v := h.Ready(); n != 0 || time.Until(v.NotBefore) < 25*time.Millisecond || len(d.news) != 0 {
		t.Errorf("%d, %+v, %v", n, v, d.news)
	}
	d.pass(31 * time.Millisecond)
	d.wake(d.x)
	if n, _ := h.Ready(); n != 2 || !slices.Equal(d.news, []Lane{l}) {
		t.Errorf("%d, %v", n, d.news)
	}
	h.Want(0, 0, 0)
	f := d.compose(d.x)
	if len(f.beat.Wants) != 1 || f.beat.Wants[0].N != 0 || len(f.beat.Uses) != 1 || f.beat.Uses[0].Returned != 2 || f.busy {
		t.Errorf("%+v", f.beat)
	}
	// A hold: nothing is asked for all the time, and the reason is known.
	h.Want(1, 1, 1)
	d.answer(&leaderFrame{orders: []Order{{Hold: &Hold{l, d.stamp() + Minute, "the window is full"}}}})
	d.compose(d.x)
	if f := d.compose(d.x); f.busy {
		t.Error("it is busy waiting for a minute")
	}
	if _, v := h.Take(1); v.Why != "the window is full" || time.Until(v.NotBefore) < 59*time.Second {
		t.Errorf("%+v", v)
	}
}

// Lanes that nobody speaks of are forgotten; a handle outlives that.
func TestLanesAreForgotten(t *testing.T) {
	d := newDesk(t)
	l := laneTo("a.test")
	h := d.Lane(l)
	h.Want(1, 1, 1)
	d.compose(d.x)
	h.Want(0, 0, 0)
	d.compose(d.x)
	d.pass(2 * time.Minute)
	d.answer(&leaderFrame{})
	d.compose(d.x)
	if len(d.lanes) != 0 || len(d.active) != 0 {
		t.Fatalf("%d lanes, %d active", len(d.lanes), len(d.active))
	}
	h.Want(2, 2, 1)
	other := d.Lane(l)
	d.grant(l, 2, 0, time.Second)
	if n, _ := other.Ready(); n != 2 {
		t.Error("two handles of a lane know different things")
	}
	if n, _ := h.Ready(); n != 2 {
		t.Error("the old handle knows nothing")
	}
}

// Lanes that wait for their windows cost a beat nothing, however many; what happens
// to one is said of that one.
func TestWaitingLanesCostNothing(t *testing.T) {
	d := newDesk(t)
	d.compose(d.x)
	var hs []*LaneHandle
	for i := range 2*maxWants + 10 {
		h := d.Lane(laneTo(fmt.Sprintf("%d.test", i)))
		h.Want(1, 1, 1)
		hs = append(hs, h)
	}
	said := 0
	for range 3 {
		f := d.compose(d.x)
		if len(f.beat.Wants) > maxWants || !f.busy {
			t.Errorf("%d lanes in one beat", len(f.beat.Wants))
		}
		said += len(f.beat.Wants)
	}
	if said != len(hs) || len(d.active) != 0 {
		t.Errorf("%d of %d lanes were said, %d are left", said, len(hs), len(d.active))
	}
	if f := d.compose(d.x); len(f.beat.Wants) != 0 || !f.busy {
		t.Errorf("%+v", f)
	}
	l := hs[7].ln.Lane
	d.grant(l, 1, 0, 300*time.Millisecond)
	p, v := hs[7].Take(1)
	if p == nil {
		t.Fatal(v)
	}
	d.compose(d.x)
	p.Return() // while nobody looked at the lane
	d.pass(250 * time.Millisecond)
	d.answer(&leaderFrame{})
	f := d.compose(d.x)
	if len(f.beat.Uses) != 1 || f.beat.Uses[0].Returned != 1 {
		t.Errorf("a permit that came back and expired: %+v", f.beat)
	}
	for _, h := range hs { // all are held for long
		d.answer(&leaderFrame{orders: []Order{{Hold: &Hold{h.ln.Lane, d.stamp() + Hour, "full"}}}})
	}
	for len(d.active) > 0 {
		d.compose(d.x)
	}
	if f := d.compose(d.x); f.busy || d.waiting != 0 {
		t.Errorf("%d lanes are waited for within the hour", d.waiting)
	}
}

// Who leaves gives back what it does not use, and asks for nothing.
func TestDrainGivesBack(t *testing.T) {
	d := newDesk(t)
	l := Lane{Dest: dest("a.test"), Kind: Connection}
	h := d.Lane(l)
	h.WantSlots(3)
	h.Want(2, 0, 0)
	d.compose(d.x)
	d.answer(&leaderFrame{orders: []Order{{Slot: &Slot{1, l}}, {Slot: &Slot{2, l}}}})
	d.grant(l, 1, 0, 500*time.Millisecond)
	s, _ := h.TakeSlot()
	d.Drain()
	f := d.compose(d.x)
	if len(f.beat.Wants) != 1 || f.beat.Wants[0].N != 0 || len(f.beat.Slots) != 1 || f.beat.Slots[0].N != 0 || !f.beat.Draining || f.beat.Parts {
		t.Errorf("%+v", f.beat)
	}
	if !slices.Equal(f.beat.Closed, []SlotID{2}) {
		t.Errorf("closed %v, and %v is in use", f.beat.Closed, s.id)
	}
	if d.empty() {
		t.Error("a connection is open still")
	}
	s.Close()
	if f := d.compose(d.x); !slices.Equal(f.beat.Closed, []SlotID{2, 1}) {
		t.Errorf("closed %v", f.beat.Closed)
	}
}
