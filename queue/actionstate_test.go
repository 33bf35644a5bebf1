package queue

import (
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// How far an action is is how many of the expected it has met, not where in the stream
// it is; and it is not done before it has ended.
func TestActionShare(t *testing.T) {
	x := newActing(1, actionRecord{Action: &Action{Verb: Hold}, Expected: 5000})
	live := map[string]passReport{"p": {Of: []uint32{0}, Share: 0.95, Result: Result{Matched: 98}}}
	if st := x.state(live); st.Share != 98.0/5000 {
		t.Errorf("%v of it is done", st.Share)
	}
	live["p"] = passReport{Of: []uint32{0}, Share: 1, Result: Result{Matched: 5001}}
	if st := x.state(live); st.Share >= 1 {
		t.Errorf("%v of it is done before it has ended", st.Share)
	}
	x.expected = 0
	if st := x.state(map[string]passReport{"p": {Of: []uint32{0}, Share: 0.25}}); st.Share != 0.25 {
		t.Errorf("%v of it is done, where nobody knows of how many", st.Share)
	}
}

// An action is complete when each partition is done, and not when each was begun.
func TestActionIsCompleteWhenAllIsDone(t *testing.T) {
	x := newActing(1, actionRecord{Action: &Action{Verb: Hold}, Parts: 2})
	x.note(actionRecord{Kind: actReady, Result: &Result{}})
	x.note(actionRecord{Kind: actPass, Pass: "a", Of: []uint32{0, 1}, Seq: 5, Result: &Result{}})
	if x.complete() {
		t.Error("complete when nothing is done")
	}
	x.note(actionRecord{Kind: actPass, Pass: "a", Of: []uint32{0, 1}, Seq: 9, Done: true, Result: &Result{}})
	if !x.complete() {
		t.Error("not complete when all is done")
	}
}

// How much a pass has looked at does not depend on what the stream has lost.
func TestPassShare(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	n.fill(readMax, mail.Line{Destination: "old.test"}, later())
	n.act(Action{Verb: Remove})
	n.fill(2*readMax, mail.Line{Destination: "d.test"}, later())
	x := newActing(1, actionRecord{Action: &Action{Verb: Hold, ID: mail.NewID(time.Now()), At: later()}})
	p := n.newPass(x, []uint32{0})
	p.last = 1 << 40
	var shares []float64
	err := p.read(t.Context(), 1, true, func([]stored) error { shares = append(shares, p.report().Share); return nil })
	if err != nil || len(shares) != 2 || shares[0] != 0.5 || shares[1] != 1 {
		t.Error(shares, err)
	}
}

// What a pass did that never came to its last word is not known.
func TestActionSaysAtLeast(t *testing.T) {
	x := newActing(1, actionRecord{Action: &Action{Verb: Hold}})
	says := func(what string, live map[string]passReport, want bool) {
		t.Helper()
		if st := x.state(live); st.AtLeast != want {
			t.Errorf("%s: at least: %v", what, st.AtLeast)
		}
	}
	says("nothing done", nil, false)
	x.note(actionRecord{Kind: actPass, Pass: "a", Of: []uint32{0}, Result: &Result{Changed: 7}})
	says("under way", map[string]passReport{"a": {}}, false)
	says("its node is dead", nil, true)
	x.note(actionRecord{Kind: actPass, Pass: "b", Of: []uint32{0}, Done: true, Result: &Result{Changed: 7}})
	says("another one has gone on", nil, true)
	x.note(actionRecord{Kind: actPass, Pass: "a", Last: true, Result: &Result{Changed: 9}})
	says("all have told", nil, false)
	// Who was asked a moment before knew less.
	if st := x.state(map[string]passReport{"a": {Result: Result{Changed: 3}}}); st.Changed != 16 {
		t.Errorf("%d are counted of 16", st.Changed)
	}
}

// What is due for an operator and not for its client is told apart.
func TestPlannedIsTold(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	n.fill(3, mail.Line{Destination: "d.test"}, later())
	id := mail.NewID(time.Now())
	m, ds := message(id, "u@d.test", "u@e.test")
	m.SendAt = later()
	ds[0].Due, ds[1].Due = m.SendAt, m.SendAt
	if err := n.Put(t.Context(), m, []byte("x\r\n"), ds); err != nil {
		t.Fatal(err)
	}
	for _, j := range n.fetch(2) {
		next := j.Delivery
		next.Due = m.SendAt
		j.Wait(next, nil)
	}
	flush(t, n)
	n.act(Action{Verb: Hold})
	if st := n.act(Action{Verb: Release}); st.Changed != 5 || st.Planned != 2 {
		t.Errorf("%+v", st.Result)
	}
	if st := n.act(Action{Verb: Retry, Filter: Filter{ID: id}}); st.Planned != 0 {
		t.Errorf("%+v", st.Result)
	}
}
