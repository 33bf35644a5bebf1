package queue

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// While nobody takes anything, one tenant's flood fills READY up to its mark and then
// waits; another tenant's message is in READY all the same. Nothing is lost or doubled
// when the process dies.
func TestFloodLeavesReadyShort(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	const flood = readyLeast + 300
	var wg sync.WaitGroup
	for w := range 10 {
		wg.Go(func() {
			for i := range flood / 10 {
				n.acceptFor(fmt.Sprint("m", w, "-", i), "big", mail.Normal)
			}
		})
	}
	wg.Wait()
	n.acceptFor("one", "small", mail.Normal)
	check := func() {
		t.Helper()
		if err := n.checkRoom(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := n.Stats(); s.Ready > readyLeast+20 || s.Ready+s.Waiting != flood+1 {
			t.Errorf("%d in READY and %d in WAIT; want %d and the rest of %d", s.Ready, s.Waiting, readyLeast, flood+1)
		}
	}
	check()
	if d := n.Stats().Direct; d < 200 || d > 300 {
		t.Errorf("%d went to WAIT at once, want nearly 300", d)
	}
	n.crash()
	n.start()
	check()
	ready := n.Stats().Ready
	small := 0
	seen := map[string]bool{}
	for _, j := range n.fetch(int(ready)) {
		seen[j.ID()] = true
		if j.Message.Tenant == "small" {
			small++
		}
		j.Done(Attempt{})
	}
	if small != 1 {
		t.Errorf("%d of the small tenant's one message were in READY", small)
	}
	for _, j := range n.drain(flood + 1 - int(ready)) {
		seen[j.ID()] = true
		j.Done(Attempt{})
	}
	flush(t, n)
	if s := n.Stats(); len(seen) != flood+1 || s.Waiting != 0 {
		t.Errorf("%d of %d came, %d wait", len(seen), flood+1, s.Waiting)
	}
}

// Mail that is to be sent later is not offered before.
func TestSendAtWaitsAtOnce(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	m, ds := message("m", "u@d.test")
	m.SendAt = time.Now().Add(time.Hour)
	w := n.NewWriter("m")
	if err := w.Commit(t.Context(), m, ds); err != nil {
		t.Fatal(err)
	}
	es, err := n.Find(t.Context(), Filter{}, 10)
	if err != nil || len(es) != 1 || es[0].State != StateWaiting || es[0].Due.Sub(m.SendAt).Abs() > time.Millisecond {
		t.Errorf("%+v %v", es, err)
	}
	if next := n.lanes.ripen(time.Now()); next.Before(m.SendAt) || next.Sub(m.SendAt) > time.Minute {
		t.Errorf("it is due at %s, want %s", next, m.SendAt)
	}
}

// What one node has to give back the others do not put into READY, and the node that
// holds the partition finds it.
func TestTeamRefusedLine(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	in, out := f.join("in"), f.join("out")
	f.give(out, allParts()...)
	shut := mail.Line{Destination: "shut.test"}
	now := time.Now()
	for range refusedAt {
		out.gaveBack(shut, now)
	}
	eventually(t, "the other node has heard of it", func() bool { return in.crowd.waits(shut, time.Now()) })
	for i := range 5 {
		in.put(fmt.Sprint("n", i), "u@shut.test")
	}
	if d := in.Stats().Direct; d != 5 {
		t.Errorf("%d of 5 went to WAIT at once", d)
	}
	for _, j := range out.drain(5) {
		j.Done(Attempt{})
	}
	flushMember(t, out)
	if r, w := f.left(in); r != 0 || w != 0 {
		t.Errorf("%d are left in READY and %d in WAIT", r, w)
	}
}
