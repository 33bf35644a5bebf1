package admin

import (
	"context"
	"errors"
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// Limits is the operator's side of the limits, wherever their leader is. Methods
// may be called concurrently. A *shaping.RefusedError says why a change is not
// made; any other error, that nobody who knows could answer.
type Limits interface {
	// Book is every limit in force, with its history.
	Book(ctx context.Context) (*shaping.Book, error)
	// Live tells how the limits in use stand: up to max of them, those that mail
	// waits for first, and how many there are.
	Live(ctx context.Context, max int) (live []LiveLimit, total int, err error)
	// Change makes a change and returns the version from which it holds; the
	// present one when nothing changes. ErrUnknown: it may have been made.
	Change(ctx context.Context, c shaping.Change) (version uint64, err error)
	// InForce waits until every node works by that version or a later one, or may
	// start nothing any more. It tells waiting of those that do not yet, at once and
	// whenever that changes, from its own goroutine. It returns the instant from
	// which the limits are exact: for any window that begins after it.
	InForce(ctx context.Context, version uint64, waiting func([]Laggard)) (since time.Time, err error)
	// MX lists the hosts mail for a domain would go to; none when a route of ours
	// says where, or the domain has no MX.
	MX(ctx context.Context, d mail.Domain) ([]string, error)
}

// ErrUnknown says that it is not known whether a change was made: the leader was
// lost while it was made.
var ErrUnknown = errors.New("the leader was lost meanwhile, and the change may have been made")

// LiveLimit is one window, or one bound on connections, as it stands.
type LiveLimit struct {
	Counter     string `json:"counter"`
	Destination string `json:"destination"` // taken from Counter, as are Source and Tenant; the server does that
	Source      string `json:"source,omitempty"`
	Tenant      string `json:"tenant,omitempty"`

	Field    shaping.Field   `json:"field"`
	Max      int             `json:"max"`
	Kept     int             `json:"kept,omitempty"`   // of Max: for class high alone
	Window   string          `json:"window,omitempty"` // its length, as "1h"; empty: connections open at the same time
	Used     int             `json:"used"`             // started within the window; connections open
	InFlight int             `json:"in_flight"`        // allowed and not known to have started yet; connections that are closing
	Waiting  int             `json:"waiting"`          // asked for and not allowed yet
	Next     time.Time       `json:"next,omitzero"`    // when there is room again; absent: there is now, or it is not known
	From     shaping.RuleRef `json:"from"`

	// Of a limit in shadow, which holds nothing:
	Shadow  bool      `json:"shadow,omitempty"`
	Since   time.Time `json:"since,omitzero"`    // it has counted from then on
	Started int       `json:"started,omitempty"` // so many starts
	Held    int       `json:"held,omitempty"`    // of which it would have held so many
}

// Laggard is a node that does not work by the present limits yet.
type Laggard struct {
	Node  string    `json:"node"`
	Until time.Time `json:"until,omitzero"` // then it may start nothing any more unless it does
}

// Cluster is the operator's side of the nodes. Methods may be called concurrently.
type Cluster interface {
	Nodes(ctx context.Context) (NodesView, error)
	// Remove takes a node that is gone for good out of the cluster's state.
	Remove(ctx context.Context, node string) error
	// Transfer hands the leadership of the limits to another node and returns who
	// leads then.
	Transfer(ctx context.Context) (leader string, err error)
}

// NodesView is all nodes as one of them sees them. It is also the JSON of the API.
type NodesView struct {
	Now     time.Time    `json:"now"`
	Cluster string       `json:"cluster,omitempty"`   // its name; empty: one node on its own
	Leader  string       `json:"leader,omitempty"`    // of the limits; empty: none is known
	Term    uint64       `json:"raft_term,omitempty"` // of raft, not of the limits
	Nodes   []NodeLine   `json:"nodes"`
	Streams []StreamLine `json:"streams"`
	Reasons []string     `json:"reasons"` // what is wrong with the whole; empty: nothing
}

// NodeLine is one node.
type NodeLine struct {
	Node    string   `json:"node"`
	Addr    string   `json:"addr,omitempty"`
	Here    bool     `json:"here,omitempty"` // the one that answers
	Roles   []string `json:"roles,omitempty"`
	Release string   `json:"release,omitempty"`
	Error   string   `json:"error,omitempty"` // why it could not be asked

	Raft     *RaftLine     `json:"raft,omitempty"` // nodes with the scheduler role
	Sessions []SessionLine `json:"sessions,omitempty"`

	Connections *int64       `json:"connections,omitempty"` // to receivers; absent: not known
	Permits     *PermitStats `json:"permits,omitempty"`     // of its deliverer
}

// RaftLine is a node's part in keeping the limits.
type RaftLine struct {
	State   string    `json:"state"` // leader, follower, candidate, waiting, stopped
	Voter   bool      `json:"voter"`
	Term    uint64    `json:"term"`
	Applied uint64    `json:"applied"`
	Contact time.Time `json:"contact,omitzero"` // when the leader last heard of it, or it of the leader
}

// SessionLine is one deliverer's session with the leader.
type SessionLine struct {
	Session    uint64    `json:"session"`
	Lease      time.Time `json:"lease,omitzero"` // until when it may start something
	Version    uint64    `json:"version"`        // of the limits it works by
	Partitions int       `json:"partitions"`     // of the waiting mail
	Slots      int       `json:"slots"`          // connections it holds under a limit
	Draining   bool      `json:"draining,omitempty"`
}

// StreamLine is one stream of the queue.
type StreamLine struct {
	Stream   string        `json:"stream"`
	Leader   string        `json:"leader,omitempty"`
	Messages uint64        `json:"messages"`
	Bytes    uint64        `json:"bytes"`
	Replicas []ReplicaLine `json:"replicas"`
	Error    string        `json:"error,omitempty"`
}

// ReplicaLine is one copy of a stream besides its leader's.
type ReplicaLine struct {
	Node    string    `json:"node"`
	Current bool      `json:"current"` // it has everything
	Lag     uint64    `json:"lag,omitempty"`
	Seen    time.Time `json:"seen,omitzero"`
}
