package queue

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// expire makes the deadlines of all that waits pass.
func (l *lanes) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, li := range l.m {
		for _, s := range li.slots {
			l.unwatch(s)
			s.lookAt = 1
			l.watch(s, time.Now())
		}
	}
	l.poke()
}

// untils lists the deadlines of the slots.
func (l *lanes) untils() (list []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, li := range l.m {
		for _, s := range li.slots {
			list = append(list, s.until)
		}
	}
	return list
}

// What waits for a destination that takes nothing is not read before its deadline, and
// handed over without room after it. It keeps its turn, and is left in peace then.
func TestOverdue(t *testing.T) {
	expires := time.Now().Add(4 * time.Hour)
	n := open(t, Options{Sync: noSync, Deadline: func(*mail.Delivery) time.Time { return expires }})
	for i := range 3 {
		n.accept(fmt.Sprint("m", i), "x\r\n", "u@d.test")
	}
	for _, j := range n.fetch(3) {
		j.Wait(j.Delivery, nil)
	}
	flush(t, n)
	before := n.lanes.untils()
	n.stop()
	n.start()
	if got := n.lanes.untils(); len(got) != 1 || got[0] != before[0] || time.Unix(got[0], 0).Sub(expires) > 15*time.Minute {
		t.Fatalf("the deadlines are %v after a restart, were %v, and must be soon after %v", got, before, expires)
	}
	shut := func(mail.Line) int { return 0 }
	look := func(want int) (js []*Job) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if want == 0 {
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		defer cancel()
		_ = n.Drain(ctx, shut, func(j *Job) {
			if js = append(js, j); len(js) == want {
				cancel()
			}
		})
		if len(js) != want {
			t.Fatalf("%d were handed over, want %d", len(js), want)
		}
		return js
	}
	look(0)
	n.lanes.expire()
	at := n.lanes.m[mail.Line{Destination: "d.test"}].slots[0].at
	expires = expires.Add(24 * time.Hour)
	for _, j := range look(3) {
		if !j.Overdue() {
			t.Error(j.ID(), "is not said to be overdue")
		}
		j.Wait(j.Delivery, nil)
	}
	flush(t, n)
	look(0)
	n.lanes.mu.Lock()
	slots := n.lanes.m[mail.Line{Destination: "d.test"}].slots
	if len(slots) != 1 || slots[0].at != at || slots[0].until <= before[0] || slots[0].count != 3 {
		t.Errorf("%+v, want one slot of three in their old turn with a new deadline", slots[0].slotName)
	}
	n.lanes.mu.Unlock()
	for _, j := range n.drain(3) {
		if j.Overdue() {
			t.Error(j.ID(), "is said to be overdue in its turn")
		}
		j.Done(Attempt{})
	}
	flush(t, n)
	if s := n.Stats(); s.Waiting != 0 || len(n.lanes.deadlines) != 0 {
		t.Errorf("%d wait and %d deadlines are waited for, want none", s.Waiting, len(n.lanes.deadlines))
	}
}

// However much is overdue, little of it is in hand at a time.
func TestOverdueIsBounded(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	const count = 200
	for i := range count {
		n.accept(fmt.Sprint("m", i), "x\r\n", fmt.Sprintf("u@d%d.test", i%3))
	}
	for _, j := range n.fetch(count) {
		j.Wait(j.Delivery, nil)
	}
	flush(t, n)
	n.lanes.expire()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var hand []*Job
	most, all := 0, 0
	end := func() {
		most, all = max(most, len(hand)), all+len(hand)
		for _, j := range hand {
			j.Done(Attempt{})
		}
		hand = hand[:0]
	}
	_ = n.Drain(ctx, func(mail.Line) int {
		if len(hand) >= lookMost {
			end()
		}
		return 0
	}, func(j *Job) {
		n.Kick() // there is a next round, in which room is asked for
		if hand = append(hand, j); all+len(hand) == count {
			end()
			cancel()
		}
	})
	if all != count || most > lookMost {
		t.Errorf("%d of %d were handed over, %d at a time; want %d at most", all, count, most, lookMost)
	}
}

func TestDeadlineIsRead(t *testing.T) {
	for _, bad := range []string{"wait.1.a.1-", "wait.1.a.-1", "wait.1.a.1-0", "wait.1.a.1-x", "wait.1.a.1-1-1", "wait.a.held-1"} {
		if s, err := parseSlot(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, s)
		}
	}
}
