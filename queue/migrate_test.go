package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// oldNode is a node alone with something of everything.
func oldNode(t *testing.T) *node {
	n := open(t, Options{Sync: noSync, MaxInline: 200})
	doubted := func(id string) {
		n.accept(id, "x\r\n", "u@d.test")
		if err := n.fetch(1)[0].Dot(t.Context(), "mx.d.test"); err != nil {
			t.Fatal(err)
		}
	}
	doubted("doubt")
	n.crash()
	n.start()
	body := func(i int) string { return strings.Repeat(fmt.Sprintf("%06d\r\n", i), 1+i*3) } // larger ones are in BODY
	for i := range 40 {
		n.accept(fmt.Sprintf("w%02d", i), body(i), "u@a.test", "v@b.test")
	}
	js := n.fetch(81) // and the doubt
	for i, j := range js {
		if j.Message.ID == "doubt" {
			j.Release()
			continue
		}
		next := j.Delivery
		switch i % 4 {
		case 0:
			next.Held = true
		case 1:
			next.Due = time.Now().Add(time.Hour).Truncate(time.Second).UTC()
			next.Attempts, next.LastReply = 3, mail.R(451, "4.2.1", "later")
		case 2:
			next.Due = time.Now().Add(-time.Minute)
		}
		j.Wait(next, nil)
	}
	flush(t, n)
	for i := range 30 {
		n.accept(fmt.Sprintf("r%02d", i), body(i), "u@a.test", "v@b.test")
	}
	n.accept("big", strings.Repeat(body(1), 100000), "u@a.test")
	return n
}

// forgetful makes the store forget soon what it has stored, as it does after minutes.
// What is returned waits until it has.
func (m *member) forgetful() func() {
	m.t.Helper()
	for _, name := range []string{streamReady, streamWait} {
		s, err := m.putJS.Stream(m.t.Context(), name)
		if err != nil {
			m.t.Fatal(err)
		}
		c := s.CachedInfo().Config
		c.Duplicates = 100 * time.Millisecond
		if _, err := m.putJS.UpdateStream(m.t.Context(), c); err != nil {
			m.t.Fatal(err)
		}
	}
	return func() { time.Sleep(150 * time.Millisecond) } // the store's clock, not ours
}

// content is what a queue owes: each delivery with all that is stored of it.
func content(t *testing.T, q *Queue) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := q.scan(t.Context(), func(m stored) error {
		for _, d := range q.deliveriesOf(m) {
			where := "READY"
			if m.subject != "" {
				s, err := parseSlot(m.subject)
				if err != nil {
					t.Error(err)
				}
				where = fmt.Sprintf("%s %d %v", s.line.Destination, s.at, s.held)
				if q.team != nil && s.part != PartitionOf(d.Destination, d.ID()) {
					t.Errorf("%s is in partition %d", d.ID(), s.part)
				}
			}
			msg := *d.Message
			b, _ := json.Marshal([]any{where, d, msg})
			if out[d.ID()] != "" {
				t.Errorf("%s is there twice", d.ID())
			}
			out[d.ID()] = string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameContent(t *testing.T, got, want map[string]string) {
	t.Helper()
	for id, w := range want {
		if g := got[id]; g != w {
			t.Errorf("%s:\n got %s\nwant %s", id, g, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d deliveries, want %d", len(got), len(want))
	}
}

// A migration that breaks off at every step, and between a step and its note, loses
// nothing and doubles nothing.
func TestMigrate(t *testing.T) {
	t.Parallel()
	old := oldNode(t)
	want := content(t, old.Queue)
	f := newFleet(t, Options{MaxInline: 200})
	to := f.join("new1")
	older, newer := listed("newer@x.test", ""), listed("newer@x.test", "")
	older.At = newer.At.Add(-time.Hour)
	newer.Reason = "of the cluster"
	gone := listed("gone@x.test", "")
	gone.Expires = gone.At
	if err := old.Suppressions().Add(t.Context(), listed("u@x.test", "acme"), older, gone); err != nil {
		t.Fatal(err)
	}
	if err := to.Suppressions().Add(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	forget := to.forgetful()
	var saved []byte
	var m Migration
	fail := 1
	for runs := 0; ; runs++ {
		if runs > 100 {
			t.Fatal("it never ends")
		}
		m = Migration{}
		if saved != nil {
			if err := json.Unmarshal(saved, &m); err != nil {
				t.Fatal(err)
			}
		}
		calls := 0
		var err error
		m, err = Migrate(t.Context(), old.Queue, to.Queue, m, func(m Migration) error {
			if calls++; calls > fail {
				return errors.New("the process died") // what it had stored is not noted
			}
			var err error
			saved, err = json.Marshal(m)
			return err
		})
		if err == nil {
			break
		}
		fail = 1 + runs%2
		forget()
	}
	if !m.Done || m.Messages != 32 || m.Waiting != 80 || m.Deliveries != 142 {
		m.Chunks = nil
		t.Errorf("%+v", m)
	}
	sameContent(t, content(t, to.Queue), want)
	var list []string
	err := to.Suppressions().Each(t.Context(), SuppressionQuery{}, 0, func(s Suppression, _ uint64) (bool, error) {
		list = append(list, s.Address+" "+s.Tenant+" "+s.Reason)
		return true, nil
	})
	if slices.Sort(list); err != nil || !slices.Equal(list, []string{"newer@x.test  of the cluster", "u@x.test acme Test"}) {
		t.Errorf("suppression list: %q, %v", list, err)
	}
	if got := doubted(t, to); len(got) != 1 || got[0] != "doubt.0" {
		t.Errorf("doubts: %v", got)
	}
	if again, err := Migrate(t.Context(), old.Queue, to.Queue, m, func(Migration) error { return nil }); err != nil || again.Octets != m.Octets {
		t.Errorf("once more: %v", err)
	}
	f.give(to, allParts()...)
	js := append(to.fetch(62), to.drain(40)...) // the rest is held, or due later
	for _, j := range js {
		r, err := j.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || int64(len(b)) != j.Message.Size {
			t.Errorf("%s: %d octets of %d, %v", j.ID(), len(b), j.Message.Size, err)
		}
		j.Done(Attempt{})
	}
	flushMember(t, to)
	// The orphans of what was copied twice stay for as long as a migration may last.
	if err := to.sweepOrphans(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if s, err := to.getJS.Stream(t.Context(), streamBody); err != nil || s.CachedInfo().State.Msgs == 0 {
		t.Errorf("imported bodies were swept away: %v", err)
	}
}

// The cluster has begun to deliver what a broken migration had brought.
func TestMigrateIntoALiveCluster(t *testing.T) {
	t.Parallel()
	old := oldNode(t)
	want := content(t, old.Queue)
	f := newFleet(t, Options{MaxInline: 200})
	to := f.join("new1")
	f.give(to, allParts()...)
	forget := to.forgetful()
	var m Migration
	for ended := false; !ended; {
		before := m
		_, err := Migrate(t.Context(), old.Queue, to.Queue, m, func(n Migration) error {
			if n.Body == before.Body && (n.Ready != before.Ready || n.Wait != before.Wait) {
				return errors.New("the process died")
			}
			m = n
			return nil
		})
		if err == nil {
			break
		}
		// Some of it is delivered, some is parked, and parked once more.
		js := append(to.fetch(4), to.drainFor(100*time.Millisecond)...)
		for i, j := range js {
			switch i % 3 {
			case 0:
				delete(want, j.ID())
				j.Done(Attempt{})
			case 1:
				want[j.ID()] = "moved"
				j.Wait(j.Delivery, nil)
			case 2:
				want[j.ID()] = "moved"
				next := j.Delivery
				next.Attempts++
				j.Wait(next, &Attempt{})
			}
		}
		flushMember(t, to)
		forget()
		_, err = Migrate(t.Context(), old.Queue, to.Queue, m, func(n Migration) error {
			m = n
			return nil
		})
		ended = err == nil
	}
	got := content(t, to.Queue)
	for id := range got {
		if want[id] == "moved" {
			got[id] = "moved"
		}
	}
	sameContent(t, got, want)
}

// What cannot work is refused with a reason.
func TestMigrateRefuses(t *testing.T) {
	t.Parallel()
	n := open(t, Options{Sync: noSync})
	f := newFleet(t, Options{})
	to := f.join("new1")
	none := func(Migration) error { return nil }
	for name, x := range map[string]struct {
		from, to *Queue
		m        Migration
	}{
		"to a node alone":    {n.Queue, n.Queue, Migration{}},
		"from a cluster":     {to.Queue, to.Queue, Migration{}},
		"of a later version": {n.Queue, to.Queue, Migration{Format: 2}},
		"too old":            {n.Queue, to.Queue, Migration{Format: 1, Started: time.Now().Add(-7 * 24 * time.Hour)}},
	} {
		if _, err := Migrate(t.Context(), x.from, x.to, x.m, none); err == nil {
			t.Errorf("a migration %s is not refused", name)
		}
	}
	n.accept("m", "x\r\n", "u@d.test")
	n.fetch(1)
	if _, err := Migrate(t.Context(), n.Queue, to.Queue, Migration{}, none); err == nil {
		t.Error("a queue that delivers is migrated")
	}
}
