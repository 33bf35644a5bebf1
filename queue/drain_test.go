package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// What the server has sent and we have not got is read again.
func TestReaderMissesNothing(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	const count = 20
	for i := range count {
		n.accept(fmt.Sprintf("m%02d", i), "x\r\n", "u@d.test")
	}
	for _, j := range n.fetch(count) {
		j.Wait(j.Delivery, nil)
	}
	flush(t, n)
	r := n.newReader(1, "wait.>")
	defer r.close()
	seen := map[uint64]int{}
	read := func(max, want int) {
		t.Helper()
		ms, err := r.read(t.Context(), max)
		if err != nil || len(ms) != want {
			t.Fatalf("read %d records, want %d: %v", len(ms), want, err)
		}
		for _, m := range ms {
			seen[m.seq]++
		}
	}
	read(3, 3)
	c, err := n.getJS.Consumer(t.Context(), streamWait, r.cons)
	if err != nil {
		t.Fatal(err)
	}
	lost, err := c.Fetch(4) // sent by the server, and never seen by the reader
	if err != nil {
		t.Fatal(err)
	}
	for range lost.Messages() {
	}
	read(5, 5)
	if err := n.getJS.DeleteConsumer(t.Context(), streamWait, r.cons); err != nil {
		t.Fatal(err)
	}
	read(100, count-8)
	read(100, 0)
	for seq, times := range seen {
		if times != 1 {
			t.Errorf("sequence %d was read %d times", seq, times)
		}
	}
	if len(seen) != count {
		t.Errorf("%d records were read, want %d", len(seen), count)
	}
}

// A reader that has got past a delivery nobody has in hand must not lose it, and a
// count of what is not there must not stay.
func TestRecount(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	n.accept("m", "x\r\n", "u@d.test")
	j := n.fetch(1)[0]
	j.Wait(j.Delivery, nil)
	flush(t, n)
	n.lanes.mu.Lock()
	s := n.lanes.m[mail.Line{Destination: "d.test"}].slots[0]
	s.reader = n.newReader(1000, s.subject())
	n.lanes.mu.Unlock()
	n.lanes.addN(s.slotName, 7)
	n.drain(1)[0].Done(Attempt{})
	flush(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	empty := func() bool {
		n.lanes.mu.Lock()
		defer n.lanes.mu.Unlock()
		return n.lanes.total == 0 && len(n.lanes.m) == 0
	}
	go func() {
		for ctx.Err() == nil && !empty() {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	_ = n.Drain(ctx, func(mail.Line) int {
		return 10
	}, func(j *Job) { t.Error("offered:", j.ID()) })
	if st := n.Stats(); st.Waiting != 0 || len(n.lanes.m) != 0 {
		t.Errorf("%d wait in %d lanes, want none", st.Waiting, len(n.lanes.m))
	}
}

// A delivery may be read, delivered and removed before the one who stored it gets to count it.
func TestRemovedBeforeCounted(t *testing.T) {
	d := mail.Line{Destination: "d.test"}
	for _, s := range []slotName{{line: d, at: 1}, {line: d, held: true}} {
		l := newLanes()
		r := &record{stream: streamWait, subject: s.subject()}
		l.take(r)
		l.removed(r)
		l.add(s)
		if l.total != 0 || l.held != 0 {
			t.Errorf("%+v: %d wait and %d are held, want none", s, l.total, l.held)
		}
		if li := l.m[d]; li != nil && (len(li.slots) > 0 || li.held != nil) {
			t.Errorf("%+v: the slot stays", s)
		}
	}
}

// Slots that were due when the clock was set back must come due again.
func TestClockSetBack(t *testing.T) {
	l := newLanes()
	at := time.Now().Add(time.Hour)
	l.add(slotName{line: mail.Line{Destination: "d.test"}, at: at.UnixMilli()})
	l.ripen(at) // the clock was an hour ahead
	d := &drainer{q: &Queue{lanes: l}, room: func(mail.Line) int { return 1 }}
	if want, _ := d.wanted(); len(want) != 0 {
		t.Fatal("due an hour early")
	}
	if next := l.ripen(time.Now()); next.UnixMilli() != at.UnixMilli() {
		t.Errorf("the slot is due at %v, want %v", next, at)
	}
}

// After a 451 the record may be there all the same: its body must be, too.
func TestUnknownCommitKeepsItsBody(t *testing.T) {
	gate := make(chan struct{})
	reached := make(chan struct{}, 100)
	var hold bool
	n := open(t, Options{MaxInline: 10, Sync: func(f *os.File) error {
		if hold && strings.Contains(f.Name(), "/READY/") {
			reached <- struct{}{}
			<-gate
		}
		return nil
	}})
	hold = true
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	m, ds := message("m", "u@d.test")
	w := n.NewWriter("m")
	_, _ = w.Write([]byte(strings.Repeat("x", 100)))
	if err := w.Commit(ctx, m, ds); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	w.Abort()
	close(gate)
	n.removeBodies(t.Context(), 0)
	if err := n.sweepOrphans(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	j := n.fetch(1)[0]
	if r, err := j.Open(t.Context()); err != nil {
		t.Error(err)
	} else if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Error("the record is offered and its body is gone:", err)
	}
	j.Done(Attempt{})
	flush(t, n)
	n.bodies.settleUnsure(time.Now().Add(2 * unsureFor))
	if err := n.sweepOrphans(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := n.bodyChunks(t, 0); err != nil {
		t.Error(err)
	}
	if len(n.bodies.needed)+len(n.bodies.pending)+len(n.bodies.live) != 0 {
		t.Errorf("the books keep %+v", n.bodies)
	}
}

// A chunk that was stored this moment is nobody's yet.
func TestSweepSparesYoungChunks(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	if _, err := n.publish(t.Context(), subjectBody, nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := n.sweepOrphans(t.Context(), time.Now().Add(-orphanAge)); err != nil {
		t.Fatal(err)
	}
	if err := n.bodyChunks(t, 1); err != nil {
		t.Error(err)
	}
}
