package scheduler

import (
	"sync"
	"time"

	"github.com/tarishi/tarishi/proto"
	"github.com/tarishi/tarishi/shaping"
)

// maxSightings bounds what one beat says of replies. What is more is not said: it was
// one bad minute at very many places, and the next one brings them again.
const maxSightings = 1000

// sightings is what a deliverer has seen of replies since the last beat, taken
// together. It has a lock of its own: whoever sees something holds others.
type sightings struct {
	mu    sync.Mutex
	of    map[shaping.Place]*shaping.Sighting
	tally shaping.Tally // of this node alone
}

// add tells whether this node has seen enough by itself.
func (n *sightings) add(x shaping.Sighting, now time.Time) (enough bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	enough = n.tally.Add(&x, now)
	p := x.Place()
	if o := n.of[p]; o != nil {
		o.Count += x.Count
		o.Threshold, o.Remedy = x.Threshold, x.Remedy
		return enough
	}
	if len(n.of) >= maxSightings {
		return enough
	}
	if n.of == nil {
		n.of = map[shaping.Place]*shaping.Sighting{}
	}
	x.Sample = shaping.Cause(x.Sample)
	n.of[p] = &x
	return enough
}

// take returns what there is, for one beat. A beat that is lost takes it along: the
// threshold is then met a little later.
func (n *sightings) take() []shaping.Sighting {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.of) == 0 {
		return nil
	}
	out := make([]shaping.Sighting, 0, len(n.of))
	for _, x := range n.of {
		out = append(out, *x)
	}
	n.of = nil
	return out
}

// Sighted says that replies have come for which a rule asks for a remedy. The leader
// counts those of all nodes, and makes it a reaction when the threshold is met. enough:
// this node alone has seen so many; the rules are about to change.
func (c *Client) Sighted(n shaping.Sighting) (enough bool) {
	now := time.Now()
	if t := c.Rules(); t != nil && t.Settling(&n, now) {
		return false // it is about what was sent before the reaction
	}
	enough = c.sightings.add(n, now)
	c.mu.Lock()
	c.owing = true // not at once: a burst of replies goes with one beat
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default:
	}
	return enough
}

func encodeSightings(ns []shaping.Sighting) (out []*proto.ReplySighting) {
	for i := range ns {
		n := &ns[i]
		out = append(out, &proto.ReplySighting{Rule: n.Rule, Threshold: n.Threshold.String(), Remedy: n.Remedy.String(),
			Destination: n.To.Key, Name: n.To.Name, Source: n.Source, Tenant: n.Tenant, Count: count32(n.Count), Sample: n.Sample})
	}
	return out
}

// decodeSightings leaves out what this version does not understand: a node that is
// newer may know remedies that the leader does not.
func decodeSightings(ns []*proto.ReplySighting) (out []shaping.Sighting) {
	for _, n := range ns[:min(len(ns), maxSightings)] {
		x := shaping.Sighting{Rule: n.Rule, To: shaping.Destination{Key: n.Destination, Name: n.Name},
			Source: n.Source, Tenant: n.Tenant, Count: toCount(n.Count), Sample: n.Sample}
		if x.Threshold.UnmarshalText([]byte(n.Threshold)) != nil || x.Remedy.UnmarshalText([]byte(n.Remedy)) != nil {
			continue
		}
		out = append(out, x)
	}
	return out
}
