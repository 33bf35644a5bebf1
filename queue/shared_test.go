package queue

import (
	"slices"
	"testing"
	"time"
)

// A message to several destinations is one record of READY. What has ended of it
// must not come back with what was given back.
func TestReleaseOfOneOfSeveral(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		n := open(t, Options{})
		n.accept("m", "x\r\n", "u@a.test", "u@b.test", "u@c.test", "u@d.test")
		js := n.fetch(4)
		later := js[1].Delivery
		later.Due = time.Now().Add(time.Hour)
		js[0].Done(Attempt{})
		js[1].Wait(later, &Attempt{})
		js[2].Release()
		js[3].Release()
		flush(t, n)
		if stopped {
			n.stop()
			n.start()
		}
		if err := n.checkRoom(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := n.Stats(); s.Ready != 0 || s.Waiting != 3 {
			t.Errorf("restarted %v: %d in READY, %d in WAIT, want 0 and 3", stopped, s.Ready, s.Waiting)
		}
		if got, want := ids(n.drain(2)), []string{"m.2", "m.3"}; !slices.Equal(got, want) {
			t.Errorf("restarted %v: offered again: %v, want %v", stopped, got, want)
		}
		n.crash()
	}
}

// All of them given back go back as they were, without a write.
func TestReleaseOfAll(t *testing.T) {
	n := open(t, Options{})
	n.accept("m", "x\r\n", "u@a.test", "u@b.test")
	for _, j := range n.fetch(2) {
		j.Release()
	}
	if got, want := ids(n.fetch(2)), []string{"m.0", "m.1"}; !slices.Equal(got, want) {
		t.Errorf("offered again: %v, want %v", got, want)
	}
	if s := n.Stats(); s.Waiting != 0 || s.Moved != 0 {
		t.Errorf("%+v", s)
	}
}

// A record whose other delivery is still in hand outlives the whole later life of
// one that went to WAIT and was delivered from there; a crash must not revive it.
func TestCrashRevivesNoneOfSeveral(t *testing.T) {
	for _, attempted := range []*Attempt{nil, {}} {
		n := open(t, Options{})
		n.accept("m", "x\r\n", "u@a.test", "u@b.test", "u@c.test")
		js := n.fetch(3)
		js[0].Wait(js[0].Delivery, attempted)
		js[1].Wait(js[1].Delivery, attempted)
		flush(t, n)
		for _, j := range n.drain(2) {
			j.Done(Attempt{})
		}
		flush(t, n)
		n.crash()
		n.start()
		if got, want := ids(n.fetch(1)), []string{"m.2"}; !slices.Equal(got, want) {
			t.Errorf("offered after the crash: %v, want %v", got, want)
		}
	}
}

// That a delivery has left a shared record is in the journal for as long as the
// record stays, however long ago it was.
func TestMoveOutOfSharedRecordIsJournaled(t *testing.T) {
	n := open(t, Options{})
	n.accept("m", "x\r\n", "u@a.test", "u@b.test")
	js := n.fetch(2)
	later := js[0].Delivery
	later.Due = time.Now().Add(time.Hour)
	js[0].Wait(later, nil)
	flush(t, n)
	n.crash()
	n.start()
	n.recent.newest = nil // as if WAIT's record were older than its tail that is read
	if got, want := ids(n.fetch(1)), []string{"m.1"}; !slices.Equal(got, want) {
		t.Errorf("offered after the crash: %v, want %v", got, want)
	}
	if s := n.Stats(); s.Waiting != 1 {
		t.Errorf("%+v", s)
	}
}

// Only READY's claims run out: a delivery from WAIT may be offered to a slow host
// for as long as it takes.
func TestClaimOnWaitDoesNotAge(t *testing.T) {
	n := open(t, Options{})
	n.accept("m", "x\r\n", "u@a.test")
	j := n.fetch(1)[0]
	j.rec.confirm(time.Now().Add(-20 * time.Second))
	if age := time.Since(j.ClaimedAt()); age < 20*time.Second {
		t.Errorf("READY's claim is %v old, want 20 s", age)
	}
	if err := j.Dot(t.Context(), "mx"); err == nil {
		t.Error("a dot with an old claim on READY")
	}
	j.Wait(j.Delivery, nil)
	flush(t, n)
	j = n.drain(1)[0]
	j.rec.confirm(time.Now().Add(-20 * time.Second))
	if age := time.Since(j.ClaimedAt()); age > time.Second {
		t.Errorf("WAIT's claim is %v old", age)
	}
	if err := j.Dot(t.Context(), "mx"); err != nil {
		t.Error(err)
	}
}
