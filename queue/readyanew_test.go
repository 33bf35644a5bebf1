package queue

import (
	"slices"
	"testing"
	"time"
)

// READY's consumer is lost, with all that it knew of who has what in hand. Another one
// is made, and what another node has had is looked into before it is sent.
func TestReadyConsumerLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{AckWait: 8 * time.Second})
	a, b := f.join("a"), f.join("b")
	f.give(b, allParts()...)
	a.put("m0", "u@d.test")
	a.put("m1", "u@d.test")
	js := a.fetch(2)
	if err := js[0].Dot(t.Context(), "mx.d.test"); err != nil {
		t.Fatal(err)
	}
	settledOnly(t, a.node, js[1]) // m1: its acknowledgement is lost
	a.put("m2", "u@d.test")
	if err := a.getJS.DeleteConsumer(t.Context(), streamReady, a.readyName()); err != nil {
		t.Fatal(err)
	}
	got := b.fetch(2)
	if want := []string{"m0.0", "m2.0"}; !slices.Equal(ids(got), want) {
		t.Errorf("offered: %v, want %v", ids(got), want)
	}
	if want := []string{"m0.0"}; !slices.Equal(doubted(t, b), want) {
		t.Errorf("doubts: %v, want %v", doubted(t, b), want)
	}
	if at := js[0].ClaimedAt(); !at.IsZero() {
		t.Errorf("the node that had it before believes that it still has, since %v", at)
	}
	for _, j := range got {
		j.Done(Attempt{})
	}
	flushMember(t, b)
	a.put("m3", "u@d.test")
	if got := ids(a.fetch(1)); got[0] != "m3.0" { // it finds the new one, too
		t.Errorf("and then %v", got)
	}
	if a.readyName() != b.readyName() || a.readyName() == readyDurable {
		t.Errorf("the nodes take from %s and %s", a.readyName(), b.readyName())
	}
}
