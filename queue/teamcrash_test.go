package queue

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// doubted lists the deliveries that the cluster has doubts about.
func doubted(t *testing.T, m *member) (out []string) {
	t.Helper()
	ds, err := m.Doubts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		out = append(out, d.DeliveryID)
	}
	slices.Sort(out)
	return out
}

// A node dies with mail of READY in hand, at each of its steps.
func TestTeamNodeDiesWithReady(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{AckWait: 8 * time.Second})
	a, b := f.join("a"), f.join("b")
	f.give(b, allParts()...)
	for i := range 5 {
		a.put(fmt.Sprint("m", i), "u@d.test")
	}
	a.put("m5", "u@d.test", "u@e.test", "u@f.test")
	js := a.fetch(8)
	for _, j := range js[1:4] { // m1, m2, m3: after the dot
		if err := j.Dot(t.Context(), "mx.d.test"); err != nil {
			t.Fatal(err)
		}
	}
	settledOnly(t, a.node, js[2])       // m2: its acknowledgement is lost
	js[3].Done(Attempt{})               // m3: all done
	storeOnly(t, a.node, nextOf(js[4])) // m4: is in WAIT, and in READY still
	js[5].Wait(js[5].Delivery, nil)     // m5.0 has gone to WAIT for good,
	settledOnly(t, a.node, js[6])       // m5.1 is delivered, m5.2 was not touched
	flushMember(t, a)
	a.kill()
	if got, want := ids(b.fetch(3)), []string{"m0.0", "m1.0", "m5.2"}; !slices.Equal(got, want) {
		t.Errorf("offered again: %v, want %v", got, want)
	}
	if got, want := doubted(t, b), []string{"m1.0"}; !slices.Equal(got, want) {
		t.Errorf("doubts: %v, want %v", got, want)
	}
	if got, want := ids(b.drain(2)), []string{"m4.0", "m5.0"}; !slices.Equal(got, want) {
		t.Errorf("waiting: %v, want %v", got, want)
	}
	flushMember(t, b)
	if r, w := f.left(b); r != 3 || w != 2 {
		t.Errorf("%d are left in READY and %d in WAIT, want 3 and 2", r, w)
	}
}

// nextOf is a job on its way to WAIT, as a retry.
func nextOf(j *Job) settling {
	next := j.Delivery
	next.Generation++
	next.Attempts++
	return settling{job: j, next: &next}
}

// A node dies with mail of WAIT in hand, at each of its steps.
func TestTeamNodeDiesWithWait(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b := f.join("a"), f.join("b")
	f.give(a, allParts()...)
	for i := range 6 {
		a.put(fmt.Sprint("m", i), "u@d.test")
	}
	for _, j := range a.fetch(6) {
		j.Wait(j.Delivery, nil)
	}
	flushMember(t, a)
	js := a.drain(6)
	slices.SortFunc(js, func(x, y *Job) int { return int(x.Message.ID[1]) - int(y.Message.ID[1]) })
	for _, j := range js[1:5] {
		if err := j.Dot(t.Context(), "mx.d.test"); err != nil {
			t.Fatal(err)
		}
	}
	settledOnly(t, a.node, js[2])       // m2: its record is there still
	js[3].Done(Attempt{})               // m3: all done
	storeOnly(t, a.node, nextOf(js[4])) // m4: there twice
	flushMember(t, a)
	js[5].Release() // m5: given back
	a.kill()
	f.give(b, allParts()...)
	got := b.drain(4)
	if got, want := ids(got), []string{"m0.0", "m1.0", "m4.0", "m5.0"}; !slices.Equal(got, want) {
		t.Errorf("offered again: %v, want %v", got, want)
	}
	for _, j := range got {
		if want := map[bool]int{true: 1, false: 0}[j.Message.ID == "m4"]; j.Attempts != want {
			t.Errorf("%s: %d attempts, want %d", j.ID(), j.Attempts, want)
		}
		j.Done(Attempt{})
	}
	if got, want := doubted(t, b), []string{"m1.0"}; !slices.Equal(got, want) {
		t.Errorf("doubts: %v, want %v", got, want)
	}
	flushMember(t, b)
	if s := b.Stats(); s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	if r, w := f.left(b); r != 0 || w != 0 {
		t.Errorf("%d are left in READY and %d in WAIT, want none", r, w)
	}
}

// A frozen node wakes up when others have had its mail for long. It sends nothing and
// what it stores counts for nothing.
func TestTeamFrozenNode(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{AckWait: 3 * time.Second})
	a, b := f.join("a"), f.join("b")
	f.give(a, allParts()...)
	for i := range 4 {
		a.put(fmt.Sprint("m", i), "u@d.test")
	}
	js := a.fetch(4)
	for _, j := range js[:2] {
		j.Wait(j.Delivery, nil)
	}
	flushMember(t, a)
	js = append(a.drain(2), js[2:]...) // m0, m1 from WAIT, m2, m3 from READY
	a.freeze()
	f.give(b, allParts()...)
	got := append(b.drain(2), b.fetch(2)...)
	if len(got) != 4 {
		t.Fatalf("%d jobs were taken over, want 4", len(got))
	}
	for _, j := range js {
		if err := j.Dot(t.Context(), "mx"); err == nil {
			t.Errorf("a dot for %s, which another node has", j.ID())
		}
	}
	for _, j := range []*Job{js[0], js[2]} { // its publish was on its way when it was frozen
		storeOnly(t, a.node, nextOf(j))
	}
	next := js[1].Delivery
	js[1].Wait(next, &Attempt{Note: "deferred"})
	js[3].Wait(next, nil)
	js[0].Release()
	js[2].Release()
	for _, j := range got {
		if err := j.Dot(t.Context(), "mx"); err != nil {
			t.Error(err)
		}
		j.Done(Attempt{})
	}
	flushMember(t, b)
	eventually(t, "void records are removed", func() bool { r, w := f.left(b); return r == 0 && w == 0 })
	for _, j := range b.drainFor(300 * time.Millisecond) {
		t.Errorf("%s is offered after its end", j.ID())
	}
	if got := doubted(t, b); len(got) > 0 {
		t.Errorf("doubts: %v, want none: no dot was sent twice", got)
	}
	if s := b.Stats(); s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// What was stored when the partition was another's already counts for nothing, and the
// old record must not be removed for it.
func TestTeamStoredTooLate(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b := f.join("a"), f.join("b")
	f.give(a, allParts()...)
	a.park([]string{"m"}, "u@d.test")
	x := nextOf(a.drain(1)[0])
	x.attempt, x.wave = &Attempt{}, a.settler.underway.begin()
	f.give(b, allParts()...)
	a.settler.round(t.Context(), []settling{x}) // it was asked before the lease lapsed
	flushMember(t, a)
	if got := b.drain(1); got[0].Generation != 1 {
		t.Errorf("generation %d", got[0].Generation)
	}
	eventually(t, "the void record is removed", func() bool { _, w := f.left(b); return w == 1 })
}

// A lease lapses and the same node gets the partition again, with a delivery in hand
// whose retry it has stored before.
func TestTeamLapseAndBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a := f.join("a")
	f.give(a, allParts()...)
	a.park([]string{"m", "n"}, "u@d.test")
	js := a.drain(2)
	for _, j := range js {
		if err := j.Dot(t.Context(), "mx"); err != nil {
			t.Fatal(err)
		}
	}
	storeOnly(t, a.node, nextOf(js[0]))
	f.give(a, allParts()...)
	js[0].Wait(js[0].Delivery, &Attempt{}) // comes too late
	js[1].Wait(js[1].Delivery, &Attempt{Outcomes: []mail.Outcome{{Status: mail.Delivered}, {Status: mail.Deferred}}})
	flushMember(t, a)
	got := a.drainFor(500 * time.Millisecond)
	if want := []string{js[0].ID(), js[1].ID()}; !slices.Equal(ids(got), ids(js)) || len(got) != 2 {
		t.Errorf("offered: %v, want %v", ids(got), want)
	}
	for _, j := range got {
		if want := map[string]int{js[0].ID(): 1}[j.ID()]; j.Attempts != want {
			t.Errorf("%s: %d attempts, want %d", j.ID(), j.Attempts, want)
		}
	}
	if got, want := doubted(t, a), []string{js[1].ID()}; !slices.Equal(got, want) {
		t.Errorf("doubts: %v, want %v: one recipient of it has the message", got, want)
	}
}

// freeze makes the claims on READY as old as if the process had been stopped.
func (m *member) freeze() {
	for _, r := range m.claims.allReady() {
		r.mu.Lock()
		r.fresh = r.fresh.Add(-m.o.AckWait)
		r.gone = true
		r.mu.Unlock()
	}
}

// What was given back cleanly is offered at once, without a doubt.
func TestTeamCleanLeave(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b := f.join("a"), f.join("b")
	f.give(a, allParts()...)
	for i := range 4 {
		a.put(fmt.Sprint("m", i), "u@d.test")
	}
	js := a.fetch(4)
	js[0].Wait(js[0].Delivery, nil)
	flushMember(t, a)
	a.drain(1)[0].Release()
	if err := js[1].Dot(t.Context(), "mx"); err != nil {
		t.Fatal(err)
	}
	js[1].Release()
	js[2].Release()
	js[3].Release()
	a.leave()
	if rs, err := b.runs(t.Context(), 0); err != nil || len(rs) != 1 {
		t.Errorf("%d runs after one of two has ended: %v", len(rs), err)
	}
	f.give(b, allParts()...)
	if got, want := ids(b.drain(4)), []string{"m0.0", "m1.0", "m2.0", "m3.0"}; !slices.Equal(got, want) {
		t.Errorf("offered again: %v, want %v", got, want)
	}
	if got := doubted(t, b); len(got) > 0 {
		t.Errorf("doubts: %v, want none", got)
	}
}

// A job that is offered again and again without an outcome is held in the end.
func TestTeamHoldsWhatComesAgainAndAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a := f.join("a")
	f.give(a, allParts()...)
	a.put("m", "u@d.test")
	for range offersMost {
		r := a.fetch(1)[0].rec
		a.claims.forget(r) // as if it had died
		if err := r.handle().Nak(); err != nil {
			t.Fatal(err)
		}
	}
	js := make(chan []*Job, 1)
	go func() {
		got, _ := a.Fetch(t.Context(), 1)
		js <- got
	}()
	eventually(t, "it is held", func() bool { return a.Stats().Held == 1 })
	es, err := a.Find(t.Context(), Filter{ID: "m"}, 1)
	if err != nil || len(es) != 1 || es[0].State != StateHeld || es[0].LastReply.Text == "" {
		t.Errorf("%+v, %v", es, err)
	}
}

// A node that was frozen after its last dot ends the delivery when another has it. The
// other still needs the body.
func TestTeamLateEndLeavesTheBody(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{MaxInline: 1})
	a, b := f.join("a"), f.join("b")
	f.give(a, allParts()...)
	a.park([]string{"m"}, "u@d.test")
	late := a.drain(1)[0]
	if err := late.Dot(t.Context(), "mx"); err != nil {
		t.Fatal(err)
	}
	f.give(b, allParts()...)
	j := b.drain(1)[0]
	late.Done(Attempt{})
	flushMember(t, a)
	a.removeBodies(t.Context(), 0)
	r, err := j.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(r); err != nil || len(body) != 3 {
		t.Errorf("%d octets, %v", len(body), err)
	}
	j.Done(Attempt{})
	flushMember(t, b)
	b.removeBodies(t.Context(), 0)
	if err := b.bodyChunks(t, 0); err != nil {
		t.Error(err)
	}
}

// A body stays as long as any delivery of it, and goes with the last.
func TestTeamBodies(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{MaxInline: 10})
	a, b := f.join("a"), f.join("b")
	f.give(b, allParts()...)
	a.put("one", "u@a.test")
	a.accept("two", "0123456789abcdef\r\n", "u@a.test", "u@b.test")
	a.accept("three", "0123456789abcdef\r\n", "u@a.test", "u@b.test")
	js := b.fetch(5)
	for _, j := range js[1:] {
		r, err := j.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r); err != nil || len(body) != 18 {
			t.Errorf("%s: %d octets, %v", j.ID(), len(body), err)
		}
	}
	for _, j := range js[:4] {
		j.Done(Attempt{})
	}
	js[4].Wait(js[4].Delivery, nil) // three.1 ends elsewhere
	flushMember(t, b)
	b.removeBodies(t.Context(), 0)
	if err := b.bodyChunks(t, 1); err != nil {
		t.Error(err)
	}
	f.give(a, allParts()...)
	a.drain(1)[0].Done(Attempt{})
	flushMember(t, a)
	a.removeBodies(t.Context(), 0)
	if err := a.bodyChunks(t, 1); err != nil {
		t.Error("only the sweep can know that the other delivery has ended: ", err)
	}
	if err := a.sweepOrphans(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := a.bodyChunks(t, 0); err != nil {
		t.Error(err)
	}
}

// READY offers a record to a second node while the first one believes in its claim: the
// server had confirmed it and forgot so when its leader changed. The first one drops it.
func TestTeamOfferedTwice(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b := f.join("a"), f.join("b")
	f.give(b, allParts()...)
	a.put("m0", "u@d.test")
	a.put("m1", "u@d.test")
	js := a.fetch(2)
	if err := js[1].Dot(t.Context(), "mx"); err != nil { // m1 is being sent
		t.Fatal(err)
	}
	for _, j := range js {
		if err := j.rec.handle().Nak(); err != nil { // the server's doing
			t.Fatal(err)
		}
	}
	if got, want := ids(b.fetch(2)), []string{"m0.0", "m1.0"}; !slices.Equal(got, want) {
		t.Errorf("offered again: %v, want %v", got, want)
	}
	if err := js[0].Dot(t.Context(), "mx"); err == nil {
		t.Error("a dot for what another node has been offered")
	}
	if got, want := doubted(t, b), []string{"m1.0"}; !slices.Equal(got, want) {
		t.Errorf("doubts: %v, want %v", got, want)
	}
}
