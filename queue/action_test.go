package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/proto"
)

// fill stores count deliveries of small messages straight into WAIT, due at due, and
// counts them as the queue would. It returns the ids of the messages.
func (n *node) fill(count int, line mail.Line, due time.Time) []string {
	n.t.Helper()
	ids := make([]string, count)
	sent := make([]pending, 0, 1024)
	flush := func() {
		for _, p := range sent {
			if _, err := p.wait(n.t.Context()); err != nil {
				n.t.Fatal(err)
			}
		}
		sent = sent[:0]
	}
	to := "u@" + string(line.Destination)
	for i := range count {
		ids[i] = mail.NewID(time.Now())
		m, ds := message(ids[i], to)
		m.Tenant, m.Class = line.Tenant, line.Class
		ds[0].Due = due
		head := proto.FromMessage(m)
		head.Deliveries = []*proto.Delivery{proto.FromDelivery(&ds[0])}
		frame, err := proto.AppendFrame(nil, proto.KindMail, head, fillBody)
		if err != nil {
			n.t.Fatal(err)
		}
		slot := n.slotFor(&ds[0], time.Now())
		p, err := n.publishAsync(n.t.Context(), slot.subject(), messageID(recordID{ds[0].ID(), 0, claim{}}.String()), frame)
		if err != nil {
			n.t.Fatal(err)
		}
		n.lanes.add(slot)
		if sent = append(sent, p); len(sent) == cap(sent) {
			flush()
		}
	}
	flush()
	return ids
}

var fillBody = []byte("Subject: x\r\n\r\n" + strings.Repeat("hello\r\n", 20))

func later() time.Time { return time.Now().Add(time.Hour) }

func (n *node) act(a Action) ActionState {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	st, err := n.Act(ctx, a, nil)
	if err != nil || st.State != ActionDone {
		n.t.Fatalf("%s: %+v, %v", a.Verb, st, err)
	}
	return st
}

// Lines are removed by the thousand, and by nothing else: each delivery is in the
// journal, its neighbours stay, and the counts are those of what is left.
func TestRemoveLines(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	acme := mail.Line{Destination: "d.test", Tenant: "acme"}
	gone := n.fill(removeChunk+500, acme, later())
	n.fill(10, mail.Line{Destination: "d.test"}, later())
	n.fill(10, mail.Line{Destination: "e.test", Tenant: "acme"}, later())
	st := n.act(Action{Verb: Remove, Filter: Filter{Destination: "d.test", Tenant: "acme"}, Author: "ann", Reason: "a test"})
	if want := (Result{Matched: len(gone), Changed: len(gone)}); st.Result != want || st.Expected != int64(len(gone)) {
		t.Errorf("%+v, of %d", st.Result, st.Expected)
	}
	if s := n.Stats(); s.Waiting != 20 || s.Active != 0 {
		t.Errorf("%d wait, %d are in hand", s.Waiting, s.Active)
	}
	if es, err := n.Find(t.Context(), Filter{}, 100); err != nil || len(es) != 20 {
		t.Errorf("%d are left, %v", len(es), err)
	}
	told := map[string]int{}
	end := n.journal.last
	err := n.scanTo(t.Context(), streamEvent, []string{subjectJournal}, 1, end, func(m stored) error {
		var rec proto.Journal
		_, err := proto.ReadFrame(m.data, proto.KindJournal, &rec)
		for _, e := range rec.Events {
			if e.Kind == proto.Event_SETTLED && strings.Contains(e.Note, "removed by ann: a test") {
				told[e.MessageId]++
			}
		}
		return err
	})
	if err != nil || len(told) != len(gone) || told[gone[0]] != 1 {
		t.Errorf("the journal tells of %d, %v", len(told), err)
	}
}

// What a deliverer has in hand is left to him, and removed when he gives it back or
// stores it anew; what he delivers is delivered.
func TestActionMeetsHand(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	n.fill(100, mail.Line{Destination: "d.test"}, time.Time{})
	js := n.drain(3)
	for _, j := range js[3:] {
		j.Release()
	}
	js = js[:3]
	st := n.act(Action{Verb: Remove, Filter: Filter{Destination: "d.test"}})
	if want := (Result{Matched: 100, Changed: 97, Busy: 3}); st.Result != want {
		t.Errorf("%+v, want %+v", st.Result, want)
	}
	for _, j := range js {
		if _, err := n.load(t.Context(), streamWait, j.rec.seq); err != nil {
			t.Errorf("a record in hand was removed: %v", err)
		}
	}
	js[0].Release()
	next := js[1].Delivery
	next.Due = later()
	js[1].Wait(next, &Attempt{})
	js[2].Done(Attempt{})
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := n.Stats(); s.Waiting != 0 || s.Active != 0 {
		t.Errorf("%d wait, %d are in hand", s.Waiting, s.Active)
	}
}

// Mail that comes after an action was asked for is not meant, however long that takes.
func TestActionMeansWhatWasThere(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	n.fill(5, mail.Line{Destination: "d.test"}, later())
	x := newActing(1, actionRecord{Action: &Action{ID: "x", At: time.Now()}})
	meant := x.meant(newMatcher(Filter{}))
	time.Sleep(2 * time.Millisecond) // ids count in milliseconds
	old, young := mail.NewID(x.At.Add(-time.Minute)), mail.NewID(time.Now())
	for id, want := range map[string]bool{old: true, young: false} {
		m, ds := message(id, "u@d.test")
		if id == old {
			m.Received = x.At.Add(-time.Minute)
		}
		if meant(&ds[0]) != want || madeAfter(id+".0", x.At) == want {
			t.Errorf("%s: meant %v", id, meant(&ds[0]))
		}
	}
}

// A node that dies goes on with what it had begun, under the same id, and with nothing
// twice; and one that is cancelled stops.
func TestActionOutlivesNode(t *testing.T) {
	started := make(chan struct{}, 1000)
	var hold chan struct{}
	o := Options{Sync: noSync, Bounce: func(ctx context.Context, j *Job, _ mail.Reply) error {
		started <- struct{}{}
		if hold != nil {
			select {
			case <-hold:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		j.Done(Attempt{Note: "bounced"})
		return nil
	}}
	n := open(t, o)
	n.fill(20, mail.Line{Destination: "d.test"}, later())
	hold = make(chan struct{})
	st, err := n.Begin(t.Context(), Action{Verb: Bounce, Filter: Filter{Destination: "d.test"}, Author: "ann", Reply: mail.R(554, "5.0.0", "no")})
	if err != nil || st.State != ActionRunning || st.ID == "" {
		t.Fatalf("%+v, %v", st, err)
	}
	<-started
	hold <- struct{}{} // one is bounced, the next is under way
	<-started
	n.crash()
	close(hold)
	hold = nil
	n.start()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	end, err := n.Follow(ctx, st.ID, nil)
	if err != nil || end.State != ActionDone || end.Author != "ann" || !end.AtLeast {
		t.Fatalf("%+v, %v", end, err)
	}
	if s := n.Stats(); s.Waiting != 0 {
		t.Errorf("%d are left", s.Waiting)
	}
	if list, err := n.Actions(ctx); err != nil || len(list) != 1 || list[0].ID != st.ID {
		t.Errorf("%+v, %v", list, err)
	}

	n.fill(5, mail.Line{Destination: "d.test"}, later())
	hold = make(chan struct{})
	for len(started) > 0 {
		<-started
	}
	st, err = n.Begin(ctx, Action{Verb: Bounce, Filter: Filter{Destination: "d.test"}, Reply: mail.R(554, "5.0.0", "no")})
	if err != nil {
		t.Fatal(err)
	}
	<-started
	hold <- struct{}{} // one is bounced, the next is under way
	<-started
	if err := n.Cancel(ctx, st.ID, "bob"); err != nil {
		t.Fatal(err)
	}
	end, err = n.Follow(ctx, st.ID, nil)
	if err != nil || end.State != ActionCancelled || end.Cancelled != "bob" || end.Changed != 1 {
		t.Errorf("%+v, %v", end, err)
	}
	if err := n.Cancel(ctx, st.ID, "bob"); err == nil {
		t.Error("cancelled twice")
	}
	close(hold)
}

// Each field of a filter narrows what is meant.
func TestFilter(t *testing.T) {
	m, ds := message("01K9ABCDEFGH12345678", "u@d.test", "V@d.test")
	d := ds[0]
	d.Recipients = append(d.Recipients, ds[1].Recipients...)
	m.Sender, m.Tenant, m.Class = mail.NewAddress("Ann@example.net"), "acme", mail.Bulk
	d.Attempts, d.LastReply, d.LastClass = 3, mail.R(451, "4.7.1", "Greylisted, come back"), "Greylisted"
	no, yes, three, two := false, true, 3, 2
	bulk, high := mail.Bulk, mail.High
	for i, c := range []struct {
		f    Filter
		want bool
	}{
		{Filter{}, true},
		{Filter{ID: m.ID}, true}, {Filter{ID: m.ID + ".0"}, true}, {Filter{ID: m.ID + ".1"}, false}, {Filter{ID: "01K9"}, false},
		{Filter{Destination: "d.test"}, true}, {Filter{Destination: "e.test"}, false},
		{Filter{Destinations: []mail.Domain{"e.test", "d.test"}}, true}, {Filter{Site: "google"}, false},
		{Filter{Destination: "d.test", Destinations: []mail.Domain{"e.test"}}, false},
		{Filter{Sender: "ann@EXAMPLE.net"}, true}, {Filter{Sender: "@Example.net"}, true}, {Filter{Sender: "@net"}, false}, {Filter{Sender: "<>"}, false},
		{Filter{Recipient: "v@d.TEST"}, true}, {Filter{Recipient: "w@d.test"}, false},
		{Filter{Tenant: "acme"}, true}, {Filter{Tenant: "ac"}, false},
		{Filter{Class: &bulk}, true}, {Filter{Class: &high}, false},
		{Filter{Bounce: "greylisted"}, true}, {Filter{Bounce: "Spam"}, false},
		{Filter{Reply: "451 4.7.1 grey"}, true}, {Filter{Reply: "black"}, false},
		{Filter{Before: m.Received.Add(time.Second)}, true}, {Filter{Before: m.Received}, false},
		{Filter{After: m.Received}, true}, {Filter{After: m.Received.Add(time.Second)}, false},
		{Filter{MinAttempts: 3, MaxAttempts: &three}, true}, {Filter{MinAttempts: 4}, false}, {Filter{MaxAttempts: &two}, false},
		{Filter{Held: &no}, true}, {Filter{Held: &yes}, false},
		{Filter{Tenant: "acme", Sender: "@other.test"}, false},
	} {
		if got := c.f.Match(&d); got != c.want {
			t.Errorf("%d: %+v matches: %v", i, c.f, got)
		}
	}
}

// A list of what matches comes in pages, which together are all of it.
func TestPages(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	for i := range 3 {
		n.accept(fmt.Sprintf("r%d", i), "x", "u@d.test")
	}
	n.fill(7, mail.Line{Destination: "d.test"}, later())
	n.fill(5, mail.Line{Destination: "e.test"}, later())
	var got []string
	after := ""
	for range 10 {
		found, err := n.FindPage(t.Context(), Filter{Destination: "d.test"}, Page{Max: 4, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found.Entries {
			got = append(got, e.ID())
		}
		if after = found.Next; after == "" {
			break
		}
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 10 || after != "" {
		t.Errorf("%d deliveries, then %q: %v", len(got), after, got)
	}
	if _, err := n.FindPage(t.Context(), Filter{}, Page{After: "x9"}); err == nil {
		t.Error("a place that is none was taken")
	}
}

// A message is found by its id, in READY and in WAIT, with all its deliveries; and what
// has gone is not, though its record is in the files still.
func TestFindByID(t *testing.T) {
	n := open(t, Options{Sync: noSync})
	ids := n.fill(50, mail.Line{Destination: "d.test"}, later())
	id := mail.NewID(time.Now())
	n.accept(id, "x", "u@d.test", "u@e.test", "u@f.test")
	js := n.fetch(3)
	next := js[0].Delivery
	next.Due = later()
	js[0].Wait(next, &Attempt{})
	js[1].Done(Attempt{})
	js[2].Release()
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.act(Action{Verb: Remove, Filter: Filter{ID: ids[7]}})
	for want, of := range map[int]string{1: ids[0], 2: id, 0: ids[7]} {
		es, err := n.Find(t.Context(), Filter{ID: of}, 10)
		if err != nil || len(es) != want {
			t.Errorf("%d deliveries of %s are found, want %d, %v", len(es), of, want, err)
		}
	}
	if b, err := n.OpenBody(t.Context(), ids[3]+".0"); err != nil {
		t.Error(err)
	} else {
		_ = b.Close()
	}
}
