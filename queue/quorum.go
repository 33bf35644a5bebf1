package queue

import (
	"errors"
	"fmt"
	"time"
)

// streamPlaces is where a stream is kept, as the server says that answered for it.
type streamPlaces struct {
	Leader   string         `json:"leader"`
	Replicas []replicaPlace `json:"replicas"`
}

// replicaPlace is a server besides the leader.
type replicaPlace struct {
	Name    string        `json:"name"`
	Offline bool          `json:"offline"`
	Lag     uint64        `json:"lag"`    // operations
	Active  time.Duration `json:"active"` // since it was last heard of
}

// A replica says something every second; one that has been silent for so long stores
// nothing. JetStream itself gives up its leadership after ten seconds.
const silentReplica = 5 * time.Second

var errNoLeader = errors.New("it has no leader: no majority of its servers is there")

// fault says why nothing can be stored in the stream at present; nil: it can. A server
// that has lost the others answers questions about a stream all the same, as a leader that
// has not noticed yet or from the replica it has: what it says is no sign of life.
func (p *streamPlaces) fault() error {
	if p == nil {
		return nil // one server on its own
	}
	if p.Leader == "" {
		return errNoLeader
	}
	well := 1
	for _, r := range p.Replicas {
		if !r.Offline && r.Active < silentReplica {
			well++
		}
	}
	if all := 1 + len(p.Replicas); well < all/2+1 {
		return fmt.Errorf("%d of the %d servers that keep it are there, which is no majority", well, all)
	}
	return nil
}
