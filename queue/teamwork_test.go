package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/mail"
)

// park stores deliveries in WAIT, from a node that holds no partition.
func (m *member) park(ids []string, to ...string) {
	m.t.Helper()
	for _, id := range ids {
		m.put(id, to...)
	}
	for _, j := range m.fetch(len(ids) * len(to)) {
		j.Wait(j.Delivery, nil)
	}
	flushMember(m.t, m)
}

func numbered(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint(prefix, i))
	}
	return ids
}

// followers lists the consumers on WAIT that push.
func (m *member) followers() (names []string) {
	s, err := m.getJS.Stream(m.t.Context(), streamWait)
	if err != nil {
		m.t.Fatal(err)
	}
	l := s.ListConsumers(m.t.Context())
	for c := range l.Info() {
		if c.Config.DeliverSubject != "" {
			names = append(names, c.Name)
		}
	}
	return names
}

// The consumer that tells what others store is lost while they store. Nothing is forgotten.
func TestFollowerLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b := f.join("a"), f.join("b")
	f.give(b, allParts()...)
	for i := range 5 {
		a.park(numbered(fmt.Sprint("x", i, "-"), 20), "u@d.test")
		for _, name := range b.followers() {
			if err := b.getJS.DeleteConsumer(t.Context(), streamWait, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "all are counted", func() bool { return b.Stats().Waiting == 100 })
	if got := b.drain(100); len(got) != 100 {
		t.Errorf("%d of 100", len(got))
	}
}

// What the follower missed all the same, the recount finds, and what it counted twice.
func TestRecountPartition(t *testing.T) {
	t.Parallel()
	for _, wrong := range []int{-7, 5} {
		f := newFleet(t, Options{})
		a, b := f.join("a"), f.join("b")
		a.park(numbered("m", 10), "u@d.test")
		p := map[uint32]bool{}
		for i := range 10 {
			p[PartitionOf("d.test", mail.DeliveryID(fmt.Sprint("m", i), 0))] = true
		}
		for part := range p {
			f.give(b, part)
		}
		b.lanes.mu.Lock()
		s := b.lanes.m[mail.Line{Destination: "d.test"}].slots[0]
		n := max(wrong, -s.count)
		b.lanes.mu.Unlock()
		b.lanes.addN(s.slotName, n)
		if got := b.Stats().Waiting; got != int64(10+n) {
			t.Fatal(got)
		}
		eventually(t, "the count is right again", func() bool { return b.Stats().Waiting == 10 })
		b.drain(10)
		b.leave()
		a.leave()
	}
}

// A partition goes from node to node while mail is stored in it and taken out, and
// each delivery is made once.
func TestHandoverUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	in := f.join("in")
	ms := []*member{f.join("a"), f.join("b"), f.join("c")}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	made := make(chan string, 10000)
	ended := make(chan struct{}, len(ms))
	for _, m := range ms {
		go func() {
			defer func() { ended <- struct{}{} }()
			_ = m.Drain(ctx, func(mail.Line) int { return 10 }, func(j *Job) {
				go func() {
					if err := j.Dot(ctx, "mx"); err != nil {
						j.Release()
						return
					}
					if j.Attempts == 0 { // once more
						next := j.Delivery
						next.Attempts = 1
						j.Wait(next, &Attempt{})
						return
					}
					made <- j.ID()
					j.Done(Attempt{})
				}()
			})
		}()
	}
	const rounds, each = 12, 30
	f.give(ms[0], allParts()...)
	for r := range rounds {
		done := make(chan struct{})
		go func() {
			defer close(done)
			in.park(numbered(fmt.Sprint("m", r, "-"), each), fmt.Sprintf("u@d%d.test", r%4))
		}()
		from, to := ms[r%len(ms)], ms[(r+1)%len(ms)]
		for _, p := range allParts() {
			if err := from.Let(ctx, p); err != nil {
				t.Fatal(err)
			}
		}
		f.give(to, allParts()...)
		<-done
	}
	got := map[string]int{}
	for range rounds * each {
		select {
		case id := <-made:
			got[id]++
		case <-time.After(time.Minute):
			t.Fatalf("%d of %d came", len(got), rounds*each)
		}
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("%s was delivered %d times", id, n)
		}
	}
	for _, m := range ms {
		flushMember(t, m)
	}
	stop()
	for range ms {
		<-ended
	}
	if r, w := f.left(in); r != 0 || w != 0 {
		t.Errorf("%d are left in READY and %d in WAIT", r, w)
	}
	if got := doubted(t, in); len(got) > 0 {
		t.Errorf("doubts: %v", got)
	}
}

// An operator asks one node, and all of them act: on what waits, wherever it is held,
// on what is in READY when a node takes it, and never on what is in hand.
func TestActEverywhere(t *testing.T) {
	t.Parallel()
	var bounced []string
	f := newFleet(t, Options{Bounce: func(_ context.Context, j *Job, r mail.Reply) error {
		bounced = append(bounced, j.ID()+" "+r.Text)
		j.Done(Attempt{})
		return nil
	}})
	a, b, c := f.join("a"), f.join("b"), f.join("c")
	var even, odd []uint32
	for _, p := range allParts() {
		if p%2 == 0 {
			even = append(even, p)
		} else {
			odd = append(odd, p)
		}
	}
	f.give(a, even...)
	f.give(b, odd...)
	c.park(numbered("w", 20), "u@d.test", "u@e.test")
	eventually(t, "all are counted", func() bool { return a.Stats().Waiting+b.Stats().Waiting == 40 })
	inHand := append(a.drainFor(200*time.Millisecond), b.drainFor(200*time.Millisecond)...)
	if len(inHand) != 40 {
		t.Fatal(len(inHand))
	}
	for _, j := range inHand[2:] {
		j.Release()
	}
	c.put("r0", "u@d.test")
	c.put("r1", "u@d.test", "u@e.test")
	busy := c.fetch(1)[0]
	act := func(v Verb, f Filter) Result {
		t.Helper()
		r, err := c.Act(t.Context(), Action{Verb: v, Filter: f, Reply: mail.R(554, "5.0.0", "no")}, nil)
		if err != nil || r.State != ActionDone {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.Result
	}
	if got, want := act(Hold, Filter{}), (Result{Matched: 43, Changed: 38, Busy: 3, Ordered: 2}); got != want {
		t.Errorf("hold: %+v, want %+v", got, want)
	}
	inHand[0].Release()
	inHand[1].Release()
	flushMember(t, a) // what is moved while a pass begins may be met nowhere
	flushMember(t, b)
	if got := act(Retry, Filter{ID: inHand[0].ID()}); got.Matched != 1 {
		t.Errorf("retry: %+v", got)
	}
	busy.Release() // r0 was in hand; r1 is held as soon as somebody takes it
	go func() { _, _ = c.Fetch(t.Context(), 10) }()
	eventually(t, "what was in READY, and what came back from a hand, is held", func() bool { return a.Stats().Held+b.Stats().Held == 43 })
	o, err := c.Lanes(t.Context(), 10)
	if err != nil || len(o.Lanes) != 2 || o.Lanes[0].Count < 21 {
		t.Errorf("%+v, %v", o, err)
	}
	if got := act(Bounce, Filter{ID: "w3"}); got.Changed != 2 || len(bounced) != 2 || !strings.HasSuffix(bounced[0], " no") {
		t.Errorf("bounce: %+v, %v", got, bounced)
	}
	if got := act(Remove, Filter{Destination: "e.test"}); got.Changed != 20 {
		t.Errorf("rm: %+v", got)
	}
	es, err := a.Find(t.Context(), Filter{Destination: "e.test"}, 100)
	if err != nil || len(es) > 0 {
		t.Errorf("%d are found after their removal, %v", len(es), err)
	}
	if got := act(Release, Filter{Destination: "d.test"}); got.Matched < 20 {
		t.Errorf("release: %+v", got)
	}
	b.kill()
	// It waits for who takes over what the dead node held, and is done then.
	st, err := c.Begin(t.Context(), Action{Verb: Hold, Filter: Filter{Destination: "d.test"}, Author: "ann"})
	if err != nil || st.State != ActionRunning {
		t.Fatalf("%+v, %v", st, err)
	}
	eventually(t, "it is seen that nobody holds some partitions", func() bool {
		st, err = c.ActionState(t.Context(), st.ID)
		return err == nil && len(st.Waits) == len(odd)
	})
	f.give(a, odd...)
	if st, err = c.Follow(t.Context(), st.ID, nil); err != nil || st.State != ActionDone || st.Changed < 20 {
		t.Errorf("%+v, %v", st, err)
	}
}

// A dead node's mark goes when all it had has been taken over, and not before.
func TestBury(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{AckWait: 3 * time.Second})
	a, b := f.join("a"), f.join("b")
	a.put("m0", "u@d.test")
	a.put("m1", "u@d.test")
	settledOnly(t, a.node, a.fetch(2)[0])
	if _, err := a.beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.kill()
	marked := func() int {
		rs, err := b.runs(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(rs)
	}
	bury := func() {
		t.Helper()
		n, err := b.team.buryDead(t.Context(), time.Millisecond)
		t.Log(n, err)
	}
	bury()
	if marked() != 2 {
		t.Error("buried while nobody holds its partitions")
	}
	f.give(b, allParts()...)
	bury()
	if marked() != 2 {
		t.Error("buried while READY has yet to offer again what it had in hand")
	}
	if got := ids(b.fetch(1)); !slices.Equal(got, []string{"m1.0"}) {
		t.Errorf("offered again: %v", got)
	}
	flushMember(t, b)
	eventually(t, "it is buried", func() bool {
		_, _ = b.team.buryDead(t.Context(), time.Millisecond)
		return marked() == 1
	})
}

// A notice that a dead node had stored is not stored again.
func TestNoticeOfADeadNode(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{AckWait: 3 * time.Second})
	a, b := f.join("a"), f.join("b")
	f.give(a, allParts()...)
	notice := func(m *member, id, origin string) {
		t.Helper()
		msg, ds := message(id, "a@b.test")
		msg.Origin = origin
		if err := m.Put(t.Context(), msg, []byte("failed\r\n"), ds); err != nil {
			t.Fatal(err)
		}
	}
	a.park([]string{"w"}, "u@d.test")
	a.put("r", "u@d.test")
	a.fetch(1)
	a.drain(1)
	notice(a, "n-of-r", "r")
	notice(a, "n-of-w", "w")
	a.kill()
	f.give(b, allParts()...)
	b.drain(1)
	js := b.fetch(3)
	for _, j := range js {
		if j.Message.ID == "n-of-r" {
			j.Done(Attempt{}) // one has been delivered, the other one lies in READY
		}
	}
	flushMember(t, b)
	b.forgetful()()
	notice(b, "n-of-r", "r")
	notice(b, "n-of-w", "w")
	ready, _ := f.left(b)
	if ready != 2 { // r, and n-of-w in hand
		t.Errorf("%d records in READY, want 2", ready)
	}
	notice(b, "n2-of-r", "r")
	if ready, _ := f.left(b); ready != 3 {
		t.Errorf("%d records in READY, want 3", ready)
	}
}

// A pass over WAIT sees every delivery that lives, though it moves on while we read.
func TestPassSeesWhatMoves(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a := f.join("a")
	f.give(a, allParts()...)
	a.park(numbered("first", 50), "u@e.test")
	mark, err := a.storeFence(t.Context(), markFence, "")
	if err != nil {
		t.Fatal(err)
	}
	a.park(numbered("m", readMax), "u@d.test")
	js := a.drain(readMax + 50)
	slices.SortFunc(js, func(x, y *Job) int { return int(x.rec.seq) - int(y.rec.seq) })
	last := js[len(js)-1]
	seen := map[string]bool{}
	err = a.passWait(t.Context(), []string{"wait.>"}, 1, mark, false, func(m stored) error {
		if last != nil { // we have read the first records; now the last one moves behind all of them
			last.Wait(last.Delivery, nil)
			last = nil
			flushMember(t, a)
		}
		if id, ok := parseRecordID(m.header.Get(jetstream.MsgIDHeader)); ok {
			seen[id.delivery] = true
		}
		return nil
	})
	if err != nil || len(seen) != readMax+50 {
		t.Errorf("%d deliveries were seen of %d, %v", len(seen), readMax+50, err)
	}
}

// A replica that lags behind shows what a former holder has settled and removed. It is
// not handed over, and the counts are not moved by it.
func TestOnlyWhatIsThereIsHandedOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, Options{})
	a, b := f.join("a"), f.join("b")
	a.park(numbered("m", 3), "u@d.test")
	var seen []stored
	if err := a.scanWaitFrom(t.Context(), 1, []string{"wait.>"}, func(m stored) error { seen = append(seen, m); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := a.deleteRecord(t.Context(), streamWait, seen[1].seq); err != nil {
		t.Fatal(err)
	}
	f.give(b, allParts()...)
	var got []*Job
	d := &drainer{q: b.Queue, room: func(mail.Line) int { return 10 }, take: func(j *Job) { got = append(got, j) }}
	if n := d.handShared(t.Context(), seen); n != 2 || !slices.Equal(ids(got), []string{"m0.0", "m2.0"}) {
		t.Errorf("%d were handed over: %v", n, ids(got))
	}
	for _, j := range got {
		j.Release()
	}
	if got := b.drain(2); len(got) != 2 || b.Stats().Waiting != 2 {
		t.Errorf("%d are offered, %+v", len(got), b.Stats())
	}
}
