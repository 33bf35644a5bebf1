package scheduler

import (
	"errors"

	"github.com/tarishi/tarishi/shaping"
)

// Errors of commands and snapshots.
var (
	// ErrNewer: written by a newer version of the program. The node must stop; to go
	// on without the entry would make its state differ from the others'.
	ErrNewer = errors.New("written by a newer version of tarishi; upgrade this node")
	// ErrStale: of a leader whose term is over; nothing has changed.
	ErrStale = errors.New("of a term that is over")
	// ErrGap: a Tick before this one is not in the log. Its leader knows less than it
	// thinks and must begin a new term.
	ErrGap = errors.New("an earlier entry of this term is missing")
)

// CommandType is the kind of a Command.
type CommandType uint8

// The commands.
const (
	TermStart   CommandType = iota + 1 // the first entry of every leader: RaftTerm, Clock
	Tick                               // built by Leader.Tick and by nobody else
	Join                               // a session begins: Node
	Change                             // of the Book: Change
	ClusterInit                        // names the cluster, once: Cluster
	Import                             // takes over a one-node state: Snapshot, Clock
)

// Command is one entry of the log. Which fields are used depends on its Type.
type Command struct {
	Type     CommandType
	Clock    Time            // TermStart, Tick, Import: the leader's clock
	RaftTerm uint64          // TermStart: the raft term in which its proposer leads; in another it is void
	Node     string          // Join: the name of the node
	Change   *shaping.Change // Change
	Cluster  string          // ClusterInit
	Snapshot []byte          // Import: what FSM.Snapshot wrote

	Term    uint64      // Tick: the leader's
	Seq     uint64      // Tick: counts the term's Ticks from 1
	Horizon Time        // Tick: no permit lives past it
	Lease   Time        // Tick: no session works past it, and those in Absent not past what was said before
	Recs    []Rec       // Tick: of counters, by ID
	Slots   []SlotRec   // Tick: of counters of connections
	Absent  []SessionID // Tick: sessions not heard of lately
	Leaves  []SessionID // Tick: sessions that have lapsed or said bye
}

// Rec is what a Tick says of one counter. The leader numbers the counters.
type Rec struct {
	ID     uint64
	Name   string  // of a counter that is new; else empty
	Keep   Time    // how long its history is kept; 0: as before
	Add    int64   // so many starts more are reserved, or given back
	Close  []Start // reserved before, and known now
	Forget bool    // nothing is reserved, and the history is too old to matter
}

// Start is N starts, the last of which was at At or before.
type Start struct {
	At Time
	N  int64
}

// SlotRec says how many slots of a counter a session holds at most.
type SlotRec struct {
	ID      uint64 // of the counter, numbered as in Rec
	Name    string // if the counter is new
	Session SessionID
	Most    int
}

// Times are written in whole units. Rounding goes to the safe side: what bounds from
// above (clock, horizon, lease) goes down, a start that occupies a window goes up.
func down(t, unit Time) Time {
	r := t % unit
	if r < 0 {
		r += unit
	}
	return t - r
}

func up(t, unit Time) Time { return -down(-t, unit) }
