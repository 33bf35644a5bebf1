package queue

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// A delivery's place is how many of its line are due before it, in its own slot those
// stored before it; other lines of the destination count apart, held mail nowhere.
func TestPlace(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	line := mail.Line{Destination: "d.test", Tenant: "acme"}
	late := time.Now().Add(2 * time.Hour)
	last := n.fill(20, line, late)
	first := n.fill(10, line, time.Time{})
	n.fill(5, mail.Line{Destination: "d.test", Class: mail.High}, time.Time{})
	n.fill(7, mail.Line{Destination: "e.test", Tenant: "acme"}, time.Time{})
	n.act(Action{Verb: Hold, Filter: Filter{ID: last[3]}})
	n.act(Action{Verb: Remove, Filter: Filter{ID: first[2]}})
	for id, want := range map[string]Place{
		first[0]: {Before: 0, Due: 0}, first[9]: {Before: 8, Due: 8},
		last[0]: {Before: 9, Due: 9}, last[10]: {Before: 9 + 9, Due: 9}, last[19]: {Before: 9 + 18, Due: 9},
	} {
		es, err := n.Find(t.Context(), Filter{ID: id}, 1)
		if err != nil || len(es) != 1 {
			t.Fatal(es, err)
		}
		p, err := n.PlaceOf(t.Context(), es[0])
		if err != nil || p.Before != want.Before || p.Due != want.Due || p.Of != 28 || p.Line != line {
			t.Errorf("%s: %+v, %v; want %d before it, %d due", id, p, err, want.Before, want.Due)
		}
		if c := p.Others[mail.Line{Destination: "d.test", Class: mail.High}]; len(p.Others) != 1 || c.Waiting != 5 {
			t.Errorf("%s: others %+v", id, p.Others)
		}
	}
}

// What became of a delivery is told from the journal, also after a restart, and whether
// or not its files can be read.
func TestFate(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	ids := n.fill(3, mail.Line{Destination: "d.test"}, later())
	id := mail.NewID(time.Now())
	n.accept(id, "x", "u@d.test", "u@e.test")
	js := n.fetch(2)
	next := js[0].Delivery
	next.Due, next.Attempts = later(), 1
	js[0].Wait(next, &Attempt{Host: "mx.d.test", Outcomes: []mail.Outcome{{Recipient: next.Recipients[0], Reply: mail.R(451, "4.7.1", "later"), Class: "Greylisted"}}})
	js[1].Done(Attempt{Host: "mx.e.test", Outcomes: []mail.Outcome{{Recipient: js[1].Recipients[0], Status: mail.Delivered, Reply: mail.R(250, "2.0.0", "ok")}}})
	n.act(Action{Verb: Remove, Filter: Filter{Destination: "d.test"}, Author: "ann"})
	n.stop()
	n.start()
	for range 2 {
		past, whole, err := n.Fate(t.Context(), id)
		if err != nil || !whole || len(past) != 3 {
			t.Fatalf("%+v, %v, %v", past, whole, err)
		}
		kinds := map[string]int{}
		for _, p := range past {
			kinds[p.Delivery[20:]+" "+p.Kind]++
		}
		if kinds[".0 attempted"] != 1 || kinds[".1 ended"] != 1 || kinds[".0 ended"] != 1 {
			t.Errorf("%v", kinds)
		}
		if past, _, err := n.Fate(t.Context(), ids[1]+".0"); err != nil || len(past) != 1 || past[0].Note == "" {
			t.Errorf("%+v, %v", past, err)
		}
		if past, _, err := n.Fate(t.Context(), id+".1"); err != nil || len(past) != 1 || past[0].Outcomes[0].Status != mail.Delivered {
			t.Errorf("%+v, %v", past, err)
		}
		n.o.Lookup = nil // as on a machine without the files
	}
}

// What is due at the same time in other partitions, or with another deadline, goes
// before a delivery when it was stored before it.
func TestPlaceAcrossSlots(t *testing.T) {
	n := open(t, Options{Sync: noSync, Deadline: func(d *mail.Delivery) time.Time {
		last := d.Message.ID[len(d.Message.ID)-1]
		return time.Now().Add(time.Duration(3+last%3) * 3 * time.Hour)
	}})
	line := mail.Line{Destination: "d.test", Tenant: "acme"}
	ids := n.fill(60, line, time.Now().Add(2*time.Hour))
	for _, i := range []int{0, 17, 30, 59} {
		es, err := n.Find(t.Context(), Filter{ID: ids[i]}, 1)
		if err != nil || len(es) != 1 {
			t.Fatal(es, err)
		}
		if p, err := n.PlaceOf(t.Context(), es[0]); err != nil || p.Before != int64(i) || p.Of != 60 {
			t.Errorf("%d: %+v, %v", i, p, err)
		}
	}
}

func TestPlaceAcrossPartitions(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a := f.join("a")
	f.give(a, allParts()...)
	var all []string
	due := time.Now().Add(2 * time.Hour)
	for range 60 {
		all = append(all, mail.NewID(time.Now()))
		a.put(all[len(all)-1], "u@d.test")
	}
	for i, j := range a.fetch(60) {
		all[i] = j.Message.ID
		next := j.Delivery
		next.Due = due
		j.Wait(next, nil)
		flushMember(t, a)
	}
	for _, i := range []int{0, 17, 30, 59} {
		es, err := a.Find(t.Context(), Filter{ID: all[i]}, 1)
		if err != nil || len(es) != 1 {
			t.Fatal(es, err)
		}
		if p, err := a.PlaceOf(t.Context(), es[0]); err != nil || p.Before != int64(i) || p.Of != 60 {
			t.Errorf("%d: %+v, %v", i, p, err)
		}
	}
}
