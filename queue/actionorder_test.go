package queue

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// begin begins actions one right after the other and waits until all are done.
func (n *node) beginAll(as ...Action) (out []ActionState) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	for _, a := range as {
		st, err := n.Begin(ctx, a)
		if err != nil {
			n.t.Fatal(err)
		}
		out = append(out, st)
	}
	return n.followAll(ctx, out)
}

func (n *node) followAll(ctx context.Context, begun []ActionState) (out []ActionState) {
	n.t.Helper()
	for _, b := range begun {
		st, err := n.Follow(ctx, b.ID, nil)
		if err != nil || st.State != ActionDone {
			n.t.Fatalf("%s: %+v, %v", b.Verb, st, err)
		}
		out = append(out, st)
	}
	return out
}

// Actions on the same mail come to what they would one after the other, also when the
// older is under way while the newer is asked for.
func TestActionsInOrder(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	const count = 2 * readMax
	line, some := mail.Line{Destination: "d.test"}, true
	n.fill(count, line, later())
	for i, c := range []struct {
		as   []Action
		held int64
	}{
		{[]Action{{Verb: Hold}, {Verb: Release}}, 0},
		{[]Action{{Verb: Hold}, {Verb: Release, Filter: Filter{Held: &some}}}, 0},
		{[]Action{{Verb: Hold}, {Verb: Release}, {Verb: Hold}}, count},
		{[]Action{{Verb: Release}, {Verb: Hold, Filter: Filter{Destination: "d.test"}}}, count},
		{[]Action{{Verb: Release}, {Verb: Remove, Filter: Filter{Held: &some}}, {Verb: Hold}}, count},
	} {
		n.beginAll(c.as...)
		if s := n.Stats(); s.Held != c.held || s.Waiting != count || s.Active != 0 {
			t.Errorf("%d: %d are held of %d, want %d; %d are in hand", i, s.Held, s.Waiting, c.held, s.Active)
		}
	}
	// So it is after a crash.
	var begun []ActionState
	for _, v := range []Verb{Release, Hold, Release} {
		st, err := n.Begin(t.Context(), Action{Verb: v})
		if err != nil {
			t.Fatal(err)
		}
		begun = append(begun, st)
	}
	n.crash()
	n.start()
	n.followAll(t.Context(), begun)
	if s := n.Stats(); s.Held != 0 || s.Waiting != count || s.Active != 0 {
		t.Errorf("after a crash %d are held of %d, %d are in hand", s.Held, s.Waiting, s.Active)
	}
}

// What is in a hand obeys the last word, too.
func TestHandObeysTheLast(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	for _, c := range []struct {
		verbs []Verb
		held  int64
	}{{[]Verb{Hold, Release}, 0}, {[]Verb{Hold, Release, Hold}, 1}, {[]Verb{Release, Hold}, 1}} {
		n.accept(mail.NewID(time.Now()), "x", "u@d.test")
		j := n.fetch(1)[0]
		for _, v := range c.verbs {
			n.act(Action{Verb: v})
		}
		next := j.Delivery
		next.Due = later()
		j.Wait(next, &Attempt{})
		if err := n.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := n.Stats(); s.Held != c.held || s.Waiting != 1 {
			t.Errorf("%v: %d are held of %d", c.verbs, s.Held, s.Waiting)
		}
		n.act(Action{Verb: Remove})
	}
}

// A newer action goes first unless that would come to something else than their order.
func TestWhoGoesFirst(t *testing.T) {
	held, class := true, mail.Bulk
	for i, c := range []struct {
		older, newer Action
		first        bool // the older
		apart        bool // they do not wait for one another
	}{
		{older: Action{Verb: Release}, newer: Action{Verb: Hold}},
		{older: Action{Verb: Bounce}, newer: Action{Verb: Hold}},
		{older: Action{Verb: Bounce, Filter: Filter{Held: &held}}, newer: Action{Verb: Hold}, first: true},
		{older: Action{Verb: Remove}, newer: Action{Verb: Release}, first: true},
		{older: Action{Verb: Remove}, newer: Action{Verb: Bounce}, first: true},
		{older: Action{Verb: Release}, newer: Action{Verb: Remove}},
		{older: Action{Verb: Release}, newer: Action{Verb: Remove, Filter: Filter{Held: &held}}, first: true},
		{older: Action{Verb: Release, Filter: Filter{Tenant: "a"}}, newer: Action{Verb: Hold, Filter: Filter{Tenant: "b"}}, apart: true},
		{older: Action{Verb: Release, Filter: Filter{Tenant: "a"}}, newer: Action{Verb: Hold, Filter: Filter{Class: &class}}},
		{older: Action{Verb: Release, Filter: Filter{ID: "m.1"}}, newer: Action{Verb: Hold, Filter: Filter{ID: "m.2"}}, apart: true},
		{older: Action{Verb: Release, Filter: Filter{ID: "m.1"}}, newer: Action{Verb: Hold, Filter: Filter{ID: "m"}}},
		{older: Action{Verb: Release, Filter: Filter{Destinations: []mail.Domain{"a", "b"}}}, newer: Action{Verb: Hold, Filter: Filter{Destination: "c"}}, apart: true},
		{older: Action{Verb: Release, Filter: Filter{Destinations: []mail.Domain{"a", "c"}}}, newer: Action{Verb: Hold, Filter: Filter{Destination: "c"}}},
	} {
		older, newer := newActing(1, actionRecord{Action: &c.older}), newActing(2, actionRecord{Action: &c.newer})
		if apart := !older.m.overlaps(newer.m); apart != c.apart {
			t.Errorf("%d: apart: %v", i, apart)
		} else if first := turns([]*acting{newer, older})[0] == older; first != c.first && !c.apart {
			t.Errorf("%d: the older goes first: %v", i, first)
		}
	}
	// One that must follow an older one holds up the newest, too.
	as := []*acting{newActing(1, actionRecord{Action: &Action{Verb: Release}}),
		newActing(2, actionRecord{Action: &Action{Verb: Remove, Filter: Filter{Held: &held}}}), newActing(3, actionRecord{Action: &Action{Verb: Hold}})}
	if got := turns(as); !slices.Equal(got, as) {
		t.Error("the newest goes before what must be over before")
	}
}

// So it is in a cluster, whichever node is asked.
func TestActionsInOrderEverywhere(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b, c := f.join("a"), f.join("b"), f.join("c")
	f.give(a, allParts()[:Partitions/2]...)
	f.give(b, allParts()[Partitions/2:]...)
	var all []string
	for range 150 {
		all = append(all, mail.NewID(time.Now()))
	}
	c.park(all, "u@d.test", "u@e.test")
	eventually(t, "all are counted", func() bool { return a.Stats().Waiting+b.Stats().Waiting == 300 })
	for _, x := range []struct {
		verbs []Verb
		held  int64
	}{{[]Verb{Release, Hold}, 300}, {[]Verb{Hold, Release}, 0}, {[]Verb{Release, Hold, Release, Hold}, 300}} {
		var begun []ActionState
		for i, v := range x.verbs {
			st, err := []*member{a, b, c}[i%3].Begin(t.Context(), Action{Verb: v})
			if err != nil {
				t.Fatal(err)
			}
			begun = append(begun, st)
		}
		c.followAll(t.Context(), begun)
		eventually(t, "all are held, or none", func() bool { return a.Stats().Held+b.Stats().Held == x.held })
	}
}
