package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A snapshot and the log after it come back as they were; what cannot be read is
// refused, or replaced by what can.
func TestSnapshots(t *testing.T) {
	dir := t.TempDir()
	start := func(restore error) (*Raft, *counter, error) {
		c := &counter{restore: restore}
		r, err := StartRaft(t.Context(), RaftOptions{Dir: dir, FSM: c, Node: "mx1", noSync: true})
		if err == nil {
			<-r.Leadership()
		}
		return r, c, err
	}
	var next uint64
	grow := func(r *Raft, n int) {
		t.Helper()
		for range n {
			if _, err := r.Propose(t.Context(), number(next)); err != nil {
				t.Fatal(err)
			}
			next++
		}
	}
	r, _, err := start(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // of which two are kept
		grow(r, 10)
		if err := r.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	grow(r, 5)
	r.Stop()
	kept, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*"))
	if len(kept) != 2 {
		t.Fatalf("kept %v", kept)
	}
	check := func() {
		t.Helper()
		r, c, err := start(nil)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the log is applied", func() bool { return len(c.numbers()) == int(next) })
		for i, n := range c.numbers() {
			if n != uint64(i) {
				t.Fatalf("entry %d is %d", i, n)
			}
		}
		r.Stop()
	}
	check()
	if _, _, err := start(fmt.Errorf("format 9: %w", ErrNewer)); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer snapshot: %v", err)
	}
	// The newest is damaged: the older one and the log do as well.
	slices.Sort(kept)
	state := filepath.Join(kept[1], "state.bin")
	b, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	b[3] ^= 1
	os.WriteFile(state, b, 0o600)
	check()
	// Unless the log does not reach back to it.
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := s.FirstIndex()
	s.DeleteRange(first, first+28)
	s.Close()
	if _, _, err := start(nil); err == nil || !strings.Contains(err.Error(), "the log does not go on after entry") {
		t.Errorf("with a gap: %v", err)
	}
}

// A node whose log ends before the others' begin gets a snapshot.
func TestSnapshotToJoiner(t *testing.T) {
	t.Parallel()
	nodes := testCluster(t, 3)
	for _, n := range nodes {
		n.trailing = 5
	}
	startAll(t, nodes...)
	for i := range uint64(30) {
		propose(t, i, nodes...)
	}
	victim := nodes[2]
	victim.stop()
	os.RemoveAll(victim.dir)
	for _, n := range nodes[:2] {
		eventually(t, "all entries", func() bool { return len(n.fsm.distinct()) == 30 })
		if err := n.raft.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		if first, err := n.raft.store.FirstIndex(); err != nil || first < 10 {
			t.Fatalf("the log still begins at %d (%v)", first, err)
		}
	}
	startAll(t, victim)
	propose(t, 30, nodes...)
	check := func() {
		t.Helper()
		eventually(t, "the state", func() bool { return slices.Equal(victim.fsm.distinct(), nodes[0].fsm.distinct()) })
	}
	check()
	victim.stop() // and again from its own snapshot and log
	startAll(t, victim)
	check()
}
