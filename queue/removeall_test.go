package queue

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// oneLook is a context that is cancelled right after it was first asked.
type oneLook struct {
	context.Context
	asked atomic.Bool
	done  chan struct{}
}

func (c *oneLook) Done() <-chan struct{} { return c.done }

func (c *oneLook) Err() error {
	if c.asked.CompareAndSwap(false, true) {
		close(c.done)
		return nil
	}
	return context.Canceled
}

// An action that is cancelled when its removals are journaled removes them all the same,
// and counts them: what the journal says is over must not lie in anybody's hand.
func TestCancelledRemovalIsFinished(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	const lines, each = 5, 2 * purgeFrom
	for i := range lines {
		n.fill(each, mail.Line{Destination: "d.test", Tenant: fmt.Sprint("t", i)}, later())
	}
	x := newActing(1, actionRecord{Action: &Action{ID: mail.NewID(later()), At: later(), Verb: Remove, Filter: Filter{Destination: "d.test"}}})
	p := n.newPass(x, []uint32{0})
	c := &removeChunks{p: p, busy: map[string][]stored{}}
	if err := n.scan(t.Context(), func(m stored) error { c.claim(m); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := c.remove(&oneLook{Context: t.Context(), done: make(chan struct{})}); err != nil {
		t.Error(err)
	}
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, r := n.Stats(), p.report().Result; s.Waiting != 0 || s.Active != 0 || r.Changed != lines*each {
		t.Errorf("%d wait, %d are in hand, %d are told of", s.Waiting, s.Active, r.Changed)
	}
}

// Whenever an action is cancelled, each delivery is removed and counted, or queued and in
// nobody's hand.
func TestCancelRemoval(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	const lines, each = 4, 500
	for i := range lines {
		n.fill(each, mail.Line{Destination: "d.test", Tenant: fmt.Sprint("t", i)}, later())
	}
	st, err := n.Begin(t.Context(), Action{Verb: Remove, Filter: Filter{Destination: "d.test"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Cancel(t.Context(), st.ID, "bob"); err != nil && st.State == ActionRunning {
		t.Log(err) // it was done before
	}
	if st, err = n.ActionState(t.Context(), st.ID); err != nil || st.Error != "" {
		t.Fatalf("%+v, %v", st, err)
	}
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := n.Stats(); s.Active != 0 || int(s.Waiting)+st.Changed != lines*each {
		t.Errorf("%s: %d wait, %d are in hand, %d were removed", st.State, s.Waiting, s.Active, st.Changed)
	}
}

// In a cluster the answer to a cancel counts what every node removed.
func TestCancelRemovalEverywhere(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b, c := f.join("a"), f.join("b"), f.join("c")
	f.give(a, allParts()[:Partitions/2]...)
	f.give(b, allParts()[Partitions/2:]...)
	var all []string
	for range 100 {
		all = append(all, mail.NewID(time.Now()))
	}
	c.park(all, "u@d.test", "u@e.test")
	eventually(t, "all are counted", func() bool { return a.Stats().Waiting+b.Stats().Waiting == 200 })
	st, err := c.Begin(t.Context(), Action{Verb: Remove})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Cancel(t.Context(), st.ID, "bob"); err != nil {
		t.Log(err) // it was done before
	}
	if st, err = c.ActionState(t.Context(), st.ID); err != nil || st.Error != "" {
		t.Fatalf("%+v, %v", st, err)
	}
	flushMember(t, a)
	flushMember(t, b)
	if sa, sb := a.Stats(), b.Stats(); sa.Active+sb.Active != 0 || int(sa.Waiting+sb.Waiting)+st.Changed != 200 {
		t.Errorf("%s: %d wait, %d are in hand, %d were removed", st.State, sa.Waiting+sb.Waiting, sa.Active+sb.Active, st.Changed)
	}
}
