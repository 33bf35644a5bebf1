package queue

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Flush waits for what was begun before it, and not for a moment of rest: under
// load there is none.
func TestFlushUnderLoad(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	ctx, stop := context.WithCancel(t.Context())
	busy := make(chan struct{})
	u := n.settler.underway
	first := u.begin()
	go func() {
		defer close(busy)
		last := u.begin()
		for ctx.Err() == nil {
			next := u.begin() // one is always under way
			u.finish(last)
			last = next
		}
		u.finish(last)
	}()
	flushed := make(chan error, 1)
	go func() {
		limit, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		flushed <- n.Flush(limit)
	}()
	for range 1000 {
		u.finish(u.begin())
	}
	select {
	case err := <-flushed:
		t.Error("Flush did not wait for what was begun before it:", err)
	default:
	}
	u.finish(first)
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	stop()
	<-busy
}

// What an end begins belongs to it: a Flush sees the whole of it.
func TestFlushSeesWhatFollows(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	for i := range 20 {
		n.accept(fmt.Sprint("m", i), "x\r\n", "u@a.test", "u@b.test", "u@c.test")
		js := n.fetch(3)
		js[0].Release()
		js[1].Release()
		js[2].Done(Attempt{}) // the two move to WAIT, and then the record goes
		flush(t, n)
		if c := n.claims.open(); c != 0 {
			t.Fatalf("%d records are still in hand after the flush", c)
		}
		for _, j := range n.drain(2) {
			j.Done(Attempt{})
		}
		flush(t, n)
		if st := n.Stats(); st.Waiting != 0 || st.Active != 0 {
			t.Fatalf("after the flush %d wait and %d are in hand", st.Waiting, st.Active)
		}
	}
}
