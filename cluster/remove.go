package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
)

// Remove takes a node that is gone for good out of the members; on the leader. One that
// is still listed among the peers would come back as a member as soon as it starts, and
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
	if slices.ContainsFunc(r.o.Peers, func(p Peer) bool { return p.Node == node }) {
		return fmt.Errorf("%s is still among cluster.peers of %s. If only its disk or its machine is gone, there is nothing to remove: "+
			"start it again with an empty folder, under the same name. If another node takes its place, or five become three, "+
			"change cluster.peers on all the others first, restart them one by one, and then remove it", node, r.o.Node)
	}
	var gone []raft.Server
	voters, well := 0, 0 // of those that stay
	for _, v := range r.servers() {
		answers := string(v.ID) == r.identity().Server || r.answers(v)
		switch {
		case nodeOf(string(v.ID)) == node && answers:
			return fmt.Errorf("%s answers at %s: stop it first", node, v.Address)
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
		return fmt.Errorf("%s: %w", node, ErrNoMember)
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
