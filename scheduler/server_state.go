package scheduler

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/tarishi/tarishi/shaping"
)

// State is the replicated state of one scheduler node as raft drives it: an FSM
// with the mutex that guards it and the leader that reads it, and the node's bound
// of cluster time.
type State struct {
	p     Params
	clock func() int64
	boot  string // names the run of the machine that clock counts from; empty: not known
	file  string // where the bound is kept for the next run; empty: nowhere
	fatal func(error)
	log   *slog.Logger

	mu       sync.Mutex
	f        *FSM
	follower Follower
	kept     Follower // of the run before, in the same run of the machine
	keptTerm uint64   // 0: there was none
	saved    keptClock
	broken   error
	changed  func() // an entry has changed the book or the sessions
}

// applied is what Apply gives to whoever proposed the entry.
type applied struct {
	value any
	err   error
}

func newState(o ServerOptions) *State {
	s := &State{p: o.Params, clock: o.Clock, boot: o.Boot, file: o.ClockFile, fatal: o.Fatal, log: o.Log,
		f: NewFSM(o.Params), changed: func() {}}
	s.readClock()
	return s
}

// Apply works in one committed entry. One that this version does not know, or that
// is damaged, ends the node: to go on without it would make its state differ from
// the others'.
func (s *State) Apply(_, term uint64, data []byte) any {
	c, err := ParseCommand(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return applied{nil, s.broken}
	}
	if err != nil {
		s.broken = fmt.Errorf("an entry of the scheduler's log: %w", err)
		s.fatal(s.broken)
		return applied{nil, s.broken}
	}
	v, err := s.f.Apply(term, c)
	s.observe()
	switch c.Type {
	case Change, Join, Import:
		s.changed()
	case Tick:
		if len(c.Leaves) > 0 {
			s.changed()
		}
	}
	return applied{v, err}
}

// observe takes the latest stamp into the node's bound of cluster time.
func (s *State) observe() {
	term, stamp := s.f.Stamp()
	if term != 0 {
		s.follower.Observe(s.p, term, stamp, s.clock())
	}
}

// Snapshot writes the whole state.
func (s *State) Snapshot() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, s.broken
	}
	return s.f.Snapshot(), nil
}

// Restore replaces the state by what Snapshot wrote, here or on another node.
func (s *State) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("snapshot of the scheduler: %w", err)
	}
	f, err := Restore(s.p, b)
	if err != nil {
		return fmt.Errorf("snapshot of the scheduler: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.f = f
	s.observe()
	s.changed()
	return nil
}

// Book is the limits as far as this node knows them; the leader may be ahead.
func (s *State) Book() *shaping.Book {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.f.Book()
}

// Cluster is the name of the cluster, empty before it has one.
func (s *State) Cluster() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.f.Cluster()
}

// bound is the node's lower bound of cluster time, where a leader's clock begins.
// The caller holds mu.
func (s *State) bound(x int64) Time {
	b := s.follower.At(s.p, x)
	// What the run before knew holds still if no other term has begun since.
	if term, _ := s.f.Stamp(); s.keptTerm != 0 && s.keptTerm == term {
		b = max(b, s.kept.At(s.p, x))
	}
	return b
}

// keptClock is the bound as it lies on the disk: while the machine runs, it lets a
// restarted node go on with cluster time as if it had not been away. Without it the
// time between counts as none, which is safe and makes long windows open late.
type keptClock struct {
	Boot  string `json:"boot"`
	Local int64  `json:"local"`
	Term  uint64 `json:"term"`
	Clock Time   `json:"clock"`
}

const keepClock = int64(60e9) // ns between two writes in a term

func (s *State) readClock() {
	if s.file == "" || s.boot == "" {
		return
	}
	b, err := os.ReadFile(s.file)
	if err != nil {
		return // there is none
	}
	var k keptClock
	if json.Unmarshal(b, &k) != nil || k.Boot != s.boot || k.Term == 0 || k.Clock < 0 || k.Local > s.clock() {
		return // of another run of the machine, or torn by its end
	}
	s.kept.Observe(s.p, k.Term, k.Clock, k.Local)
	s.keptTerm = k.Term
}

// saveClock writes the bound down when the last one has grown old. A loss of it
// costs time, not correctness, so nothing is synced.
func (s *State) saveClock() {
	if s.file == "" || s.boot == "" {
		return
	}
	s.mu.Lock()
	x := s.clock()
	term, _ := s.f.Stamp()
	k := keptClock{s.boot, x, term, s.bound(x)}
	due := term != 0 && (term != s.saved.Term || x-s.saved.Local >= keepClock)
	s.mu.Unlock()
	if !due {
		return
	}
	b, err := json.Marshal(k)
	if err == nil {
		if err = os.WriteFile(s.file+".new", b, 0o600); err == nil {
			err = os.Rename(s.file+".new", s.file)
		}
	}
	if err != nil {
		s.log.Warn("cluster time cannot be kept for a restart", "file", s.file, "err", err)
	}
	s.mu.Lock()
	s.saved = k
	s.mu.Unlock()
}
