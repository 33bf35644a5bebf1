package queue

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// forget loses everything that is known of what waits: counts, slots, clocks, readers.
func (l *lanes) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.m, l.clock, l.due, l.deadlines, l.overdue = map[mail.Line]*line{}, nil, nil, nil, nil
	l.total, l.held, l.taken = 0, 0, 0
}

// What waits is found again when every hint of it has been lost.
func TestAllHintsLost(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	const count = 30
	for i := range count {
		n.acceptFor(fmt.Sprint("m", i), fmt.Sprint("t", i%3), mail.Classes[i%2])
	}
	for i, j := range n.fetch(count) {
		next := j.Delivery
		next.Held = i == 0
		j.Wait(next, nil)
	}
	flush(t, n)
	n.lanes.forget()
	n.recountNow(t.Context(), time.Millisecond)
	if s := n.Stats(); s.Waiting != count || s.Held != 1 {
		t.Errorf("%d of %d are counted, %d of 1 as held", s.Waiting, count, s.Held)
	}
	for _, j := range n.drain(count - 1) {
		j.Done(Attempt{})
	}
	flush(t, n)
}

// So it is in a cluster, where others go on storing meanwhile and the consumer that
// tells of it is lost as well.
func TestTeamAllHintsLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b := f.join("a"), f.join("b")
	parts := map[uint32]bool{}
	var before, after []string
	for i := 0; len(before) < 5 || len(after) < 5; i++ { // in two partitions: one is counted in a second
		id := fmt.Sprint("m", i)
		p := PartitionOf("d.test", mail.DeliveryID(id, 0))
		if !parts[p] && len(parts) == 2 {
			continue
		}
		parts[p] = true
		if len(before) < 5 {
			before = append(before, id)
		} else {
			after = append(after, id)
		}
	}
	for p := range parts {
		f.give(b, p)
	}
	a.park(before, "u@d.test")
	eventually(t, "it has heard of what waits", func() bool { return b.Stats().Waiting == 5 })
	for _, name := range b.followers() {
		if err := b.getJS.DeleteConsumer(t.Context(), streamWait, name); err != nil {
			t.Fatal(err)
		}
	}
	b.lanes.forget()
	a.park(after, "u@d.test")
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	got := 0
	_ = b.Drain(ctx, func(mail.Line) int { return 10 }, func(j *Job) {
		j.Done(Attempt{})
		if got++; got == 10 {
			cancel()
		}
	})
	if got != 10 {
		t.Errorf("%d of 10 were found", got)
	}
	flushMember(t, b)
}
