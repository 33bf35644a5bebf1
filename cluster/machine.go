package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// FSM is the state that raft replicates: every node applies the same entries in the
// same order. Calls come from one goroutine, Snapshot and Restore included.
type FSM interface {
	// Apply changes the state by one committed entry. What it returns, an error too, is
	// the result of the Propose that the entry came from, if that was on this node.
	Apply(index, term uint64, data []byte) any
	// Snapshot returns the whole state. Nothing is applied meanwhile, so it must be quick.
	Snapshot() ([]byte, error)
	// Restore replaces the state, or leaves it and says why it cannot be read.
	Restore(io.Reader) error
}

// machine is an FSM as raft wants it.
type machine struct {
	fsm FSM

	mu  sync.Mutex
	err error // the last Restore's
}

// Apply is part of raft.FSM.
func (m *machine) Apply(l *raft.Log) any { return m.fsm.Apply(l.Index, l.Term, l.Data) }

// Snapshot is part of raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	b, err := m.fsm.Snapshot()
	return snapshot(b), err
}

// Restore is part of raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	err := m.fsm.Restore(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
	return err
}

func (m *machine) restoreError() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

type snapshot []byte

// Persist is part of raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release is part of raft.FSMSnapshot.
func (s snapshot) Release() {}

// snapshots guards the start. raft tries an older snapshot when the newest cannot be
// read, which is well when the log reaches back to it and otherwise a panic later, and
// never well when the newest is whole and only this release is too old for it.
type snapshots struct {
	raft.SnapshotStore
	store   *logStore
	machine *machine
	started atomic.Bool
	refused []error
}

// Open is part of raft.SnapshotStore.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if s.started.Load() {
		return s.SnapshotStore.Open(id)
	}
	meta, r, err := s.open(id)
	if err != nil {
		s.refused = append(s.refused, fmt.Errorf("snapshot %s: %w", id, err))
	}
	return meta, r, err
}

func (s *snapshots) open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if err := s.machine.restoreError(); err != nil {
		return nil, nil, fmt.Errorf("not used in place of a newer one that is whole: %w", err)
	}
	meta, r, err := s.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	switch ok, err := s.store.follows(meta.Index); {
	case err != nil:
		return nil, nil, errors.Join(err, r.Close())
	case !ok:
		return nil, nil, errors.Join(fmt.Errorf("the log does not go on after entry %d, where it ends", meta.Index), r.Close())
	}
	return meta, r, nil
}
