package command

import (
	"errors"
	"fmt"
	"time"
)

// leaderlessMost is for how long a node knows no leader among the schedulers when one
// has died and all goes well, and as long again.
const leaderlessMost = 8 * time.Second

// schedulerReady is an error while this node cannot do its part for want of the
// schedulers: they have no leader, it keeps no full copy of what they agree on, or it is
// there to deliver and has no session with them.
func schedulerReady(k *council, s *session) error {
	if k.raft != nil {
		if d := k.raft.Leaderless(); d >= leaderlessMost {
			return fmt.Errorf("no leader is known since %s: nothing that is limited is sent, and no limit can change", d.Round(time.Second))
		}
		if !k.raft.Voting() {
			return errors.New("this node has no vote among the schedulers yet: do not stop another one")
		}
	}
	// One that also takes mail in does so without a session; what there is to say of
	// that the queue says.
	if s.client != nil && !k.c.Has("ingress") && !s.client.Live() {
		return errors.New("no live session with the scheduler: nothing is sent from here")
	}
	return nil
}
