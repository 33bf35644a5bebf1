package queue

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/mail"
)

// Records lie where PartitionOf put them: it must give for ever what it gives today.
func TestPartitionOfNeverChanges(t *testing.T) {
	for _, x := range []struct {
		domain, delivery string
		want             uint32
	}{
		{"example.org", "01K9XR4M7D9V3QZ8T5B2N6W1YC.0", 49},
		{"example.org", "01K9XR4M7D9V3QZ8T5B2N6W1YC.1", 52},
		{"gmail.com", "01K9XR4M7D9V3QZ8T5B2N6W1YC.0", 50},
		{"", "", 10},
	} {
		if got := PartitionOf(mail.Domain(x.domain), x.delivery); got != x.want {
			t.Errorf("PartitionOf(%q, %q) = %d, want %d", x.domain, x.delivery, got, x.want)
		}
	}
}

// A destination's mail is spread over eight partitions, evenly.
func TestPartitionOfSpreads(t *testing.T) {
	n := map[uint32]int{}
	for range 8000 {
		n[PartitionOf("gmail.com", mail.DeliveryID(mail.NewID(time.Now()), 0))]++
	}
	if len(n) != spread {
		t.Errorf("%d partitions, want %d", len(n), spread)
	}
	for p, k := range n {
		if k < 700 || k > 1300 {
			t.Errorf("partition %d has %d of 8000", p, k)
		}
	}
}

func TestSlotSubjects(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := slotName{
			line: mail.Line{Destination: mail.Domain(rapid.String().Draw(t, "destination"))},
			at:   rapid.Int64Min(0).Draw(t, "at"),
			held: rapid.Bool().Draw(t, "held"),
			old:  rapid.Bool().Draw(t, "old"),

			until: rapid.Int64Min(0).Draw(t, "until"),
		}
		if s.held {
			s.at, s.until = 0, 0
		}
		if !s.old {
			s.part = uint32(rapid.IntRange(0, Partitions-1).Draw(t, "part"))
			s.line.Tenant = rapid.String().Draw(t, "tenant")
			s.line.Class = rapid.SampledFrom(mail.Classes[:]).Draw(t, "class")
			s.line.Route = rapid.String().Draw(t, "route")
		}
		got, err := parseSlot(s.subject())
		if err != nil || got != s {
			t.Errorf("%+v -> %s -> %+v, %v", s, s.subject(), got, err)
		}
	})
	for _, bad := range []string{"", "wait", "wait.a", "wait.64.a.1", "wait.x.a.1", "wait.1.a.x", "ready.1.a.1", "wait.1.a.1.1", "wait.1.a.%.1", "wait.1.a.x.1", "wait.1.a.n%.1", "wait.1.a.nt.1.1", "wait.1.a.nt=.1", "wait.1.%zz.1", "wait.1.%1.1"} {
		if s, err := parseSlot(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, s)
		}
	}
}

// A store from before there were partitions keeps its mail, and a retry of it is
// stored in partition 0 like any other.
func TestOldSubjectsAreRead(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	for i := range 4 {
		n.accept(fmt.Sprint("m", i), "x\r\n", "u@d.test")
	}
	for i, j := range n.fetch(4) {
		next := j.Delivery
		next.Generation++
		next.Held = i == 3
		x := settling{job: j, next: &next}
		frame, err := x.frame()
		if err != nil {
			t.Fatal(err)
		}
		s := slotFor(&next, time.Now())
		s.old = true
		if _, err := n.publish(t.Context(), s.subject(), x.header(), frame); err != nil {
			t.Fatal(err)
		}
	}
	n.crash() // the four are in READY too: the younger ones are those in WAIT
	n.start()
	if s := n.Stats(); s.Waiting != 4 || s.Held != 1 {
		t.Errorf("%+v", s)
	}
	es, err := n.Find(t.Context(), Filter{Destination: "d.test"}, 10)
	if err != nil || len(es) != 4 {
		t.Errorf("found %d, %v", len(es), err)
	}
	js := n.drain(3)
	js[0].Wait(js[0].Delivery, nil)
	js[1].Done(Attempt{})
	js[2].Release()
	flush(t, n)
	n.drain(2)[0].Done(Attempt{})
	flush(t, n)
	if s := n.Stats(); s.Waiting != 2 || s.Held != 1 {
		t.Errorf("%+v", s)
	}
	o, err := n.Lanes(t.Context(), 10)
	if err != nil || len(o.Lanes) != 1 || o.Lanes[0].Count != 2 || o.Lanes[0].Held != 1 {
		t.Errorf("%+v %v", o, err)
	}
}
