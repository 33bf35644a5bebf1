package scheduler

import "github.com/tarishi/tarishi/shaping"

// FSM is what every scheduler node holds. It changes by Apply alone, and the same
// commands in the same order make the same FSM on every node. It is not safe for
// concurrent use, and a Leader reads it: whoever owns both holds one mutex.
type FSM struct {
	p Params
}

// NewFSM makes the empty state.
func NewFSM(p Params) *FSM { return &FSM{p: p} }

// Apply works in one committed entry of the log. TermStart returns the new term
// (uint64), Join the SessionID, Change the Book's new version (uint64); the others
// nil. An error says why the command changes nothing; every node gets the same one.
func (f *FSM) Apply(raftTerm uint64, c *Command) (any, error) { return nil, nil }

// Book is the limits in force. It is not changed any more.
func (f *FSM) Book() *shaping.Book { return nil }

// Stamp is the term and the latest clock stamp of its leader, for Follower.Observe.
func (f *FSM) Stamp() (term uint64, clock Time) { return 0, 0 }

// Cluster is the name of the cluster; empty before ClusterInit.
func (f *FSM) Cluster() string { return "" }

// Sessions lists the sessions that have joined and not left, by id.
func (f *FSM) Sessions() []SessionInfo { return nil }

// Snapshot writes the whole state. It is quick enough to be called between two
// entries, and the bytes are the FSM's no more.
func (f *FSM) Snapshot() []byte { return nil }

// Restore reads what Snapshot wrote. A damaged snapshot and one of a newer version
// (ErrNewer) are refused.
func Restore(p Params, b []byte) (*FSM, error) { return nil, nil }
