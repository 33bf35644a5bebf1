package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Remove takes a node that is gone for good out of the members; on the leader. A node
// that still runs and is listed among the peers would come back as a new member, and
// without the removed one a majority must be there to go on.
func (r *Raft) Remove(ctx context.Context, node string) error {
	if !r.clustered() {
		return errors.New("one node on its own has no members to remove")
	}
	r.changes.Lock()
	defer r.changes.Unlock()
	if r.Leading() == 0 {
		return r.notLeader()
	}
	if node == r.o.Node {
		return fmt.Errorf("%s leads: hand leadership over first (tarishi cluster transfer), then ask another node", node)
	}
	var gone []raft.Server
	voters, well := 0, 0 // of those that stay
	for _, v := range r.servers() {
		answers := string(v.ID) == r.identity().Server || r.answers(v)
		switch {
		case nodeOf(string(v.ID)) == node && answers:
			return fmt.Errorf("%s answers at %s: stop it first, or it would join again at once", node, v.Address)
		case nodeOf(string(v.ID)) == node:
			gone = append(gone, v)
		case v.Suffrage == raft.Voter:
			voters++
			if answers {
				well++
			}
		}
	}
	if len(gone) == 0 {
		return fmt.Errorf("%s is no member; `tarishi nodes` lists them", node)
	}
	if well < voters/2+1 {
		return fmt.Errorf("without %s there are %d voters, of which %d answer: that is no majority; bring the others back first", node, voters, well)
	}
	done := make(chan error, 1)
	go func() {
		for _, v := range gone {
			r.log.Warn("an operator removes a member", "node", node, "server", string(v.ID))
			if err := r.raft.RemoveServer(v.ID, 0, joinTimeout).Error(); err != nil {
				done <- fmt.Errorf("remove %s: %w", v.ID, err)
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

// answers tells whether a server answered when it was last asked.
func (r *Raft) answers(v raft.Server) bool {
	n, ok := r.probes.at(string(v.Address))
	return ok && n.err == nil && n.status != nil && n.status.Server == string(v.ID)
}
