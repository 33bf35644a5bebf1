package queue

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tarishi/tarishi/mail"
)

// An action for which the disk has no room is refused with the reason, and one that is
// under way when it fills up waits, with the reason, and has nothing in its hand.
func TestActionOnAFullDisk(t *testing.T) {
	var free atomic.Int64
	free.Store(40 << 20)
	n := open(t, Options{Sync: noSync, diskFree: func() (int64, error) { return free.Load(), nil }})
	n.fill(20, mail.Line{Destination: "d.test"}, later())
	n.fill(20, mail.Line{Destination: "e.test"}, later())
	for _, v := range []Verb{Hold, Release, Retry, Bounce} {
		if _, err := n.Begin(t.Context(), Action{Verb: v}); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "40 MiB left, "+string(v)+" needs 64") {
			t.Errorf("%s: %v", v, err)
		}
	}
	if list, err := n.Actions(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	n.act(Action{Verb: Remove, Filter: Filter{Destination: "e.test"}}) // makes room
	free.Store(0)
	x := newActing(1, actionRecord{Action: &Action{ID: mail.NewID(later()), At: later(), Verb: Hold}})
	_, err := n.actions.pass(t.Context(), x, []uint32{0})
	if !errors.Is(err, ErrFull) {
		t.Errorf("a pass on a full disk: %v", err)
	}
	n.actions.failed(x.ID, err)
	if st := x.state(n.actions.passes(x.ID)); !strings.Contains(st.Error, "the disk has 0 MiB left") {
		t.Errorf("%+v", st)
	}
	if s := n.Stats(); s.Active != 0 || s.Waiting != 20 {
		t.Errorf("%d are in hand, %d wait", s.Active, s.Waiting)
	}
}
