package queue

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// acceptFor stores a message to one destination for a tenant, in a class.
func (n *node) acceptFor(id, tenant string, class mail.Class) {
	n.t.Helper()
	m, ds := message(id, "u@d.test")
	m.Tenant, m.Class = tenant, class
	w := n.NewWriter(id)
	if _, err := w.Write([]byte("x\r\n")); err != nil {
		n.t.Fatal(err)
	}
	if err := w.Commit(n.t.Context(), m, ds); err != nil {
		n.t.Fatal(err)
	}
}

// Each tenant and class waits in a line of its own: one without room keeps nobody else,
// and an operator who names a destination means all of them.
func TestLinesOfOneDestination(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	lines := []mail.Line{{Destination: "d.test"}, {Destination: "d.test", Tenant: "Big & Co."},
		{Destination: "d.test", Tenant: "small"}, {Destination: "d.test", Tenant: "small", Class: mail.High}, {Destination: "d.test", Class: mail.Bulk}}
	for i := range 10 {
		n.acceptFor(fmt.Sprint("m", i), lines[i%5].Tenant, lines[i%5].Class)
	}
	for _, j := range n.fetch(10) {
		j.Wait(j.Delivery, nil)
	}
	flush(t, n)
	for _, restart := range []bool{false, true} {
		if restart {
			n.stop()
			n.start()
		}
		if es, err := n.Find(t.Context(), Filter{Destination: "d.test"}, 20); err != nil || len(es) != 10 {
			t.Errorf("found %d of 10, %v", len(es), err)
		}
		if o, err := n.Lanes(t.Context(), 10); err != nil || len(o.Lanes) != 1 || o.Lanes[0].Count != 10 {
			t.Errorf("%+v %v", o, err)
		}
		if sel, err := n.Select(t.Context(), Filter{Destination: "d.test"}, func(j *Job) error { j.Release(); return nil }); err != nil || sel.Matched != 10 {
			t.Errorf("selected %+v of 10, %v", sel, err)
		}
		flush(t, n)
	}
	for _, open := range slices.Backward(lines) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		got := 0
		_ = n.Drain(ctx, func(l mail.Line) int {
			if l != open {
				return 0
			}
			return 2 - got
		}, func(j *Job) {
			if j.Line() != open {
				t.Errorf("offered %v while only %v has room", j.Line(), open)
			}
			j.Done(Attempt{})
			if got++; got == 2 {
				cancel()
			}
		})
		cancel()
		flush(t, n)
	}
	if s := n.Stats(); s.Waiting != 0 || len(n.lanes.m) > len(n.lanes.due) {
		t.Errorf("%d wait in %d lines, want none", s.Waiting, len(n.lanes.m))
	}
}

// What was stored when a destination had one line only goes to its own before it is offered.
func TestOldRecordsGoToTheirLine(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	for i := range 5 {
		n.acceptFor(fmt.Sprint("m", i), "t", mail.Normal)
	}
	for i, j := range n.fetch(5) {
		next := j.Delivery
		next.Generation++
		x := settling{job: j, next: &next}
		frame, err := x.frame()
		if err != nil {
			t.Fatal(err)
		}
		s := slotFor(&next, time.Now())
		s.line, s.old = mail.Line{Destination: "d.test"}, i == 0
		if _, err := n.publish(t.Context(), s.subject(), x.header(), frame); err != nil {
			t.Fatal(err)
		}
	}
	n.crash() // the five are in READY too: the younger ones are those in WAIT
	n.start()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	asked, got := map[mail.Line]bool{}, 0
	_ = n.Drain(ctx, func(l mail.Line) int { asked[l] = true; return 1 }, func(j *Job) {
		j.Done(Attempt{})
		if got++; got == 5 {
			cancel()
		}
	})
	flush(t, n)
	if s := n.Stats(); got != 5 || s.Waiting != 0 || !asked[mail.Line{Destination: "d.test", Tenant: "t"}] {
		t.Errorf("%d of 5 offered, %d wait, room was asked for %v", got, s.Waiting, asked)
	}
}
