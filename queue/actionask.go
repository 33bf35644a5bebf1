package queue

import (
	"context"
	"errors"
	"time"
)

// In a cluster an action's nodes are asked how far they are; and each, being asked,
// reads the journal, so that it knows of an action before the one who asked for it is
// answered.

// nodesFor is for how long a list of the live nodes serves.
const nodesFor = 5 * time.Second

func (s *actions) liveNodes(ctx context.Context) ([]run, error) {
	s.mu.Lock()
	rs, at := s.nodes.list, s.nodes.at
	s.mu.Unlock()
	if time.Since(at) < nodesFor {
		return rs, nil
	}
	rs, err := s.q.live(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.nodes.list, s.nodes.at = rs, time.Now()
	s.mu.Unlock()
	return rs, nil
}

// askPasses asks all nodes for their passes of an action and the partitions they hold.
// One that does not answer within its patience has none.
func (s *actions) askPasses(ctx context.Context, id string, patience time.Duration) (live map[string]passReport, held []uint32, err error) {
	rs, err := s.liveNodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	answers, missing, err := s.q.askAll(ctx, rs, question{Op: "action", ID: id}, patience, nil)
	if err != nil {
		return nil, nil, err
	}
	if len(missing) > 0 {
		s.mu.Lock()
		s.nodes.at = time.Time{} // who is silent may be dead
		s.mu.Unlock()
	}
	live = map[string]passReport{}
	for _, r := range answers {
		held = append(held, r.Parts...)
		for name, p := range r.Passes {
			live[name] = p
		}
	}
	return live, held, nil
}

// inHand are the records that some node has in hand.
func (s *actions) inHand(ctx context.Context) hands {
	h, err := s.q.handsNow(ctx)
	if err != nil {
		s.q.log.Debug("what is in hand could not be asked for", "error", err)
	}
	return h
}

// countOrdered counts what an action means in READY: in a node's hand, or to be done
// when a node takes it.
func (q *Queue) countOrdered(ctx context.Context, x *acting, inHand hands) (r Result, err error) {
	m := newMatcher(x.Filter)
	err = q.eachReady(ctx, m, func(s stored) error {
		if s.seq > x.upTo {
			return errEnough // it came later
		}
		n := q.meantIn(s, x.meant(m))
		switch {
		case n == 0:
			return nil
		case inHand.ready[s.seq] != "":
			r.Busy += n
		case x.stands():
			r.Ordered += n
		default:
			r.Unchanged += n // it is due, and not held
		}
		r.Matched += n
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return r, err
}
