package scheduler

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tarishi/tarishi/shaping"
)

// script draws commands as leaders would send them, and as they would not.
type script struct {
	f        *FSM
	raftTerm uint64
	now      Time
}

func (s *script) next(t *rapid.T) (uint64, *Command) {
	s.now += Time(rapid.Int64Range(0, int64(10*Minute)).Draw(t, "passes"))
	switch rapid.SampledFrom([]string{"tick", "tick", "tick", "tick", "term", "join", "change", "stale", "init"}).Draw(t, "command") {
	case "term":
		s.raftTerm++
		return s.raftTerm, &Command{Type: TermStart, Clock: down(s.now, Microsecond), RaftTerm: s.raftTerm}
	case "join":
		return s.raftTerm, &Command{Type: Join, Node: "n"}
	case "change":
		c := rapid.SampledFrom([]*shaping.Change{
			messages("a.test", "10/1s"), messages("a.test", "10/1m"), unset("a.test"), connections("b.test", 3), suspend("a.test"), resume("a.test"),
			messages("", "1/1s"),
		}).Draw(t, "change")
		return s.raftTerm, &Command{Type: Change, Change: c}
	case "stale":
		return s.raftTerm, &Command{Type: Tick, Clock: down(s.now, Microsecond), Term: s.f.term - 1, Seq: s.f.seq + 1,
			Recs: []Rec{{ID: s.f.lastCounter + 1, Name: "stale", Add: 5}}}
	case "init":
		return s.raftTerm, &Command{Type: ClusterInit, Cluster: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "name")}
	}
	return s.raftTerm, s.tick(t)
}

func (s *script) tick(t *rapid.T) *Command {
	f := s.f
	c := &Command{Type: Tick, Clock: down(s.now, Microsecond), Term: f.term, Seq: f.seq + uint64(rapid.IntRange(1, 20).Draw(t, "seq")/20) + 1}
	c.Horizon, c.Lease = c.Clock+Second, c.Clock+30*Second
	for range rapid.IntRange(0, 3).Draw(t, "recs") {
		id := uint64(rapid.IntRange(1, int(f.lastCounter)+2).Draw(t, "id"))
		r := Rec{ID: id}
		h := f.past(id)
		if h == nil {
			r.Name = fmt.Sprint("messages domain:", id)
		}
		if rapid.Bool().Draw(t, "reserve") {
			r.Add = rapid.Int64Range(1, 50).Draw(t, "add")
		} else if h != nil && h.open > 0 {
			n := rapid.Int64Range(1, h.open).Draw(t, "n")
			at := up(s.now-Time(rapid.Int64Range(0, int64(Second)).Draw(t, "ago")), Millisecond)
			r.Close = append(r.Close, Start{at, n})
		} else {
			r.Forget = true
		}
		c.Recs = append(c.Recs, r)
	}
	if n := int(f.lastSession); n > 0 {
		x := SessionID(rapid.IntRange(1, n).Draw(t, "session"))
		switch rapid.IntRange(0, 3).Draw(t, "what") {
		case 0:
			c.Leaves = append(c.Leaves, x)
		case 1:
			c.Absent = append(c.Absent, x)
		case 2:
			id := f.lastCounter + 10
			c.Slots = append(c.Slots, SlotRec{ID: id, Name: fmt.Sprint("connections ", id), Session: x, Most: rapid.IntRange(0, 3).Draw(t, "most")})
		}
	}
	return c
}

// The same commands make the same state, whether it was kept in memory or went through
// a snapshot at any point, and whatever the commands are.
func TestStateIsAFunctionOfTheLog(t *testing.T) {
	p := DefaultParams()
	rapid.Check(t, func(t *rapid.T) {
		f, g := NewFSM(p), NewFSM(p)
		s := script{f: f}
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			raftTerm, c := s.next(t)
			b := c.Append(nil)
			one, _ := ParseCommand(b)
			two, err := ParseCommand(b)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			r1, err1 := f.Apply(raftTerm, one)
			r2, err2 := g.Apply(raftTerm, two)
			if fmt.Sprint(r1, err1) != fmt.Sprint(r2, err2) {
				t.Fatalf("%+v: %v %v here and %v %v there", c, r1, err1, r2, err2)
			}
			snap := f.Snapshot()
			if !bytes.Equal(snap, g.Snapshot()) {
				t.Fatalf("two states after %+v", c)
			}
			if g, err = Restore(p, snap); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(snap, g.Snapshot()) {
				t.Fatalf("another state after a snapshot and %+v", c)
			}
		}
	})
}

// exampleState has something in every section of a snapshot.
func exampleState(t testing.TB) *FSM {
	f := NewFSM(DefaultParams())
	for i, c := range []*Command{
		{Type: ClusterInit, Cluster: "blue"},
		{Type: TermStart, Clock: 5 * Second, RaftTerm: 2},
		{Type: Join, Node: "mx1"},
		{Type: Join, Node: "mx2"},
		{Type: Change, Change: examplesChange()},
		{Type: Tick, Clock: 6 * Second, Term: 1, Seq: 1, Horizon: 7500 * Millisecond, Lease: 36 * Second,
			Recs:  []Rec{{ID: 1, Name: "messages domain:example.net", Add: 20, Keep: 2 * Hour}, {ID: 2, Name: "messages domain:example.org", Add: 3}},
			Slots: []SlotRec{{3, "connections domain:example.net", 1, 2}}, Absent: []SessionID{2}},
		{Type: Tick, Clock: 7 * Second, Term: 1, Seq: 2, Horizon: 8500 * Millisecond, Lease: 36 * Second,
			Recs: []Rec{{ID: 1, Add: 5, Close: []Start{{6100 * Millisecond, 2}, {6900 * Millisecond, 7}}}}},
		{Type: TermStart, Clock: 7200 * Millisecond, RaftTerm: 3},
		{Type: Tick, Clock: 8 * Second, Term: 2, Seq: 1, Horizon: 9500 * Millisecond, Lease: 38 * Second, Recs: []Rec{{ID: 2, Add: 4}}},
	} {
		raftTerm := uint64(2)
		if i >= 7 {
			raftTerm = 3
		}
		if _, err := f.Apply(raftTerm, c); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestSnapshotIsWrittenAsEver(t *testing.T) {
	golden(t, "snapshot-1.hex", exampleState(t).Snapshot())
	f, err := Restore(DefaultParams(), readGolden(t, "snapshot-1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	h := f.byName["messages domain:example.net"]
	if f.Cluster() != "blue" || f.term != 2 || f.Book().Version != 1 || len(f.Sessions()) != 2 || h == nil || len(h.cells) != 3 ||
		h.cells[2] != (cell{8500 * Millisecond, 16}) || h.keep != 2*Hour || !h.tailed || f.sessions[1].slots[3] != 2 || f.past(3).held != 1 ||
		f.sessions[1].lease != 38*Second || f.byName["messages domain:example.org"].open != 4 {
		t.Errorf("it reads as %+v, %+v", f, h)
	}
}

func TestDamagedAndNewerSnapshotsAreRefused(t *testing.T) {
	b := exampleState(t).Snapshot()
	for i := range b {
		if _, err := Restore(DefaultParams(), b[:i]); err == nil {
			t.Fatalf("cut to %d octets it is taken", i)
		}
		c := bytes.Clone(b)
		c[i] ^= 0x20
		if _, err := Restore(DefaultParams(), c); err == nil {
			t.Fatalf("with octet %d changed it is taken", i)
		}
	}
	if _, err := Restore(DefaultParams(), append(b, 0)); err == nil {
		t.Error("with an octet more it is taken")
	}
	newer := bytes.Clone(b)
	newer[len(snapshotMagic)]++
	if _, err := Restore(DefaultParams(), newer); !errors.Is(err, ErrNewer) {
		t.Errorf("of a newer format: %v", err)
	}
	newer = bytes.Clone(b)
	newer[len(snapshotMagic)+1] = sectionEnd
	if _, err := Restore(DefaultParams(), newer); !errors.Is(err, ErrNewer) {
		t.Errorf("with a newer section: %v", err)
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(exampleState(f).Snapshot())
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := Restore(DefaultParams(), b)
		if err != nil {
			return
		}
		if _, err := g.Apply(g.raftTerm+1, &Command{Type: TermStart, RaftTerm: g.raftTerm + 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(DefaultParams(), g.Snapshot()); err != nil {
			t.Fatal(err)
		}
	})
}

// What a term had reserved and not accounted for counts as used at its horizon.
func TestNewTermCountsWhatWasReserved(t *testing.T) {
	f := exampleState(t)
	if _, err := f.Apply(4, &Command{Type: TermStart, Clock: 8 * Second, RaftTerm: 4}); err != nil {
		t.Fatal(err)
	}
	h := f.byName["messages domain:example.org"]
	if want := []cell{{8500 * Millisecond, 3}, {9500 * Millisecond, 4}}; h.open != 0 || fmt.Sprint(h.cells) != fmt.Sprint(want) {
		t.Errorf("%+v, want %v", h, want)
	}
}

func TestStaleCommandsChangeNothing(t *testing.T) {
	f := exampleState(t)
	before := f.Snapshot()
	for name, c := range map[string]struct {
		raftTerm uint64
		c        Command
		want     error
	}{
		"a tick of an older term":            {3, Command{Type: Tick, Term: 1, Seq: 3, Horizon: Hour}, ErrStale},
		"a tick that comes twice":            {3, Command{Type: Tick, Term: 2, Seq: 1, Horizon: Hour}, ErrGap},
		"a tick after one that is missing":   {3, Command{Type: Tick, Term: 2, Seq: 3, Horizon: Hour}, ErrGap},
		"a term begun by a leader of before": {4, Command{Type: TermStart, Clock: Hour, RaftTerm: 3}, ErrStale},
		"a term of an older raft term":       {2, Command{Type: TermStart, Clock: Hour, RaftTerm: 2}, ErrStale},
	} {
		if _, err := f.Apply(c.raftTerm, &c.c); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if !bytes.Equal(before, f.Snapshot()) {
			t.Fatalf("%s changes the state", name)
		}
	}
	if _, err := f.Apply(3, &Command{Type: ClusterInit, Cluster: "red"}); err == nil {
		t.Error("a cluster takes another name")
	}
	if _, err := f.Apply(3, &Command{Type: Change, Change: messages("no such destination", "1/1s")}); err == nil {
		t.Error("a rule to nobody is taken")
	}
	if !bytes.Equal(before, f.Snapshot()) {
		t.Error("what was refused changes the state")
	}
}

// A node on its own grows: its limits and its history become the cluster's.
func TestImport(t *testing.T) {
	old := exampleState(t)
	snap := old.Snapshot()
	fresh := func() *FSM {
		f := NewFSM(DefaultParams())
		_, _ = f.Apply(1, &Command{Type: ClusterInit, Cluster: "green"})
		_, _ = f.Apply(1, &Command{Type: TermStart, RaftTerm: 1})
		_, _ = f.Apply(1, &Command{Type: Join, Node: "n1"})
		return f
	}
	f := fresh()
	file := &shaping.Change{Op: shaping.OpFile, Node: "n1", Hash: "new", At: time.Unix(1e9, 0).UTC(), Rules: []shaping.Rule{{To: "*", Messages: windows("7/1s")}}}
	if _, err := f.Apply(1, &Command{Type: Change, Change: file}); err != nil {
		t.Fatal(err)
	}
	at := 100 * Second
	if _, err := f.Apply(1, &Command{Type: Import, Clock: at, Snapshot: snap}); err != nil {
		t.Fatal(err)
	}
	b := f.Book()
	if len(b.Set) != 1 || b.Set[0].To != "example.net" || len(b.File) != 1 || b.File[0].To != "*" || b.Version != 2 {
		t.Errorf("the book: %+v", b)
	}
	if f.Cluster() != "green" || len(f.Sessions()) != 1 {
		t.Errorf("the cluster %q with %v", f.Cluster(), f.Sessions())
	}
	// The node's last stamp was 8 s; its permits may have been used until 9.5 s.
	want := []cell{{at + 500*Millisecond, 3}, {at + 1500*Millisecond, 4}}
	if h := f.byName["messages domain:example.org"]; h == nil || fmt.Sprint(h.cells) != fmt.Sprint(want) {
		t.Errorf("%+v, want %v", h, want)
	}
	if f.byName["connections domain:example.net"] != nil {
		t.Error("slots of a dead session are taken over")
	}
	if _, err := f.Apply(1, &Command{Type: Tick, Term: 1, Seq: 1}); !errors.Is(err, ErrStale) {
		t.Errorf("the leader of before goes on: %v", err)
	}
	if again, err := Restore(DefaultParams(), f.Snapshot()); err != nil || !bytes.Equal(again.Snapshot(), f.Snapshot()) {
		t.Errorf("its snapshot: %v", err)
	}

	for name, f := range map[string]*FSM{"a cluster with limits": old, "a cluster that has taken over": f} {
		if _, err := f.Apply(f.raftTerm, &Command{Type: Import, Clock: Hour, Snapshot: snap}); err == nil {
			t.Errorf("%s takes over another state", name)
		}
	}
	if _, err := fresh().Apply(1, &Command{Type: Import, Snapshot: snap[:40]}); err == nil {
		t.Error("a damaged state is taken over")
	}
}
