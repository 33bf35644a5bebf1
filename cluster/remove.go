package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Remove takes a node that is gone for good out of the members; on the leader. A node
// that still runs and is listed among the peers would come back as a new member.
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
	var found []raft.Server
	for _, v := range r.servers() {
		if nodeOf(string(v.ID)) == node {
			found = append(found, v)
		}
	}
	if len(found) == 0 {
		return fmt.Errorf("%s is no member; `tarishi nodes` lists them", node)
	}
	for _, p := range r.o.Peers {
		if p.Node != node || ctx.Err() != nil {
			continue
		}
		if s, err := r.o.Transport.Status(ctx, p.Addr); err == nil && s.Server == string(found[0].ID) {
			return fmt.Errorf("%s answers at %s: stop it first, or it would join again at once", node, p.Addr)
		}
	}
	for _, v := range found {
		r.log.Warn("an operator removes a member", "node", node, "server", string(v.ID))
		if err := r.raft.RemoveServer(v.ID, 0, joinTimeout).Error(); err != nil {
			return fmt.Errorf("remove %s: %w", v.ID, err)
		}
	}
	return nil
}
