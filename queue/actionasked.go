package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// begin stores an action.
func (s *actions) begin(ctx context.Context, a Action) (ActionState, error) {
	q := s.q
	if err := q.roomFor(a.Verb); err != nil {
		return ActionState{}, err
	}
	if err := s.load(ctx); err != nil {
		return ActionState{}, err
	}
	s.mu.Lock()
	open := 0
	for _, x := range s.known {
		if x.open() {
			open++
		}
	}
	s.mu.Unlock()
	if open >= openActions {
		return ActionState{}, fmt.Errorf("%d actions are under way; wait for one of them to end, or cancel it", open)
	}
	st, err := q.streamState(ctx, streamReady, "")
	if err != nil {
		return ActionState{}, err
	}
	expected, err := q.expect(ctx, a.Filter)
	if err != nil {
		return ActionState{}, err
	}
	now := time.Now()
	a.ID, a.At = mail.NewID(now), now.UTC()
	parts := 1
	if q.team != nil {
		parts = Partitions
	}
	s.mu.Lock()
	s.began[a.ID] = true
	s.mu.Unlock()
	err = s.store(ctx, a.ID, actionRecord{Kind: actBegin, Action: &a, UpTo: st.LastSeq, Parts: parts, Expected: expected})
	if err != nil {
		return ActionState{}, err
	}
	if q.o.NoBarrier || q.team != nil {
		return s.state(ctx, a.ID)
	}
	if err := q.barrier.Wait(ctx, streamEvent); err != nil { // an operator was told that it goes on after a power cut
		return ActionState{}, err
	}
	return s.state(ctx, a.ID)
}

// expect counts what an action may mean, where the counts of the lines tell.
func (q *Queue) expect(ctx context.Context, f Filter) (int64, error) {
	m := newMatcher(f)
	if !m.whole() {
		return 0, nil
	}
	by, err := q.Lines(ctx)
	if err != nil {
		return 0, err
	}
	var n int64
	for l, c := range by {
		if !m.line(l) {
			continue
		}
		switch {
		case m.Held == nil:
			n += c.Waiting + c.Held
		case *m.Held:
			n += c.Held
		default:
			n += c.Waiting
		}
	}
	return n, nil
}

// cancel ends an action.
func (s *actions) cancel(ctx context.Context, id, author string) error {
	st, err := s.state(ctx, id)
	if err != nil {
		return err
	}
	if st.State != ActionRunning {
		return fmt.Errorf("%w: %s is %s already", ErrNotRunning, id, st.State)
	}
	if err := s.store(ctx, id, actionRecord{Kind: actCancel, Author: cmp.Or(author, "an operator")}); err != nil {
		return err
	}
	// What was done is to be told when we have answered, by us and by the others, who hear
	// of the end by being asked.
	s.stopped(ctx, id)
	_, err = s.stateWithin(ctx, id, answerWait)
	return err
}

// stopped waits until this node does nothing more for an action that has ended.
func (s *actions) stopped(ctx context.Context, id string) {
	s.mu.Lock()
	x, off := s.known[id], s.offs[id]
	open := x == nil || x.open()
	s.mu.Unlock()
	if open || off == nil {
		return
	}
	select {
	case <-off:
	case <-ctx.Done():
	}
}

// endOf is closed when the action has ended.
func (s *actions) endOf(id string) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.ends[id]
	if c == nil {
		return nil, ErrNoAction
	}
	return c, nil
}

// passes are this node's passes under way.
func (s *actions) passes(id string) map[string]passReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]passReport{}
	for name, p := range s.live[id] {
		out[name] = p.report()
	}
	if e := s.errs[id]; e != "" {
		out["of "+s.q.o.Node] = passReport{Error: e}
	}
	return out
}

// state asks all nodes how far an action is. They hear of it by that, if they had not.
func (s *actions) state(ctx context.Context, id string) (ActionState, error) {
	return s.stateWithin(ctx, id, time.Second)
}

func (s *actions) stateWithin(ctx context.Context, id string, patience time.Duration) (ActionState, error) {
	if err := s.load(ctx); err != nil {
		return ActionState{}, err
	}
	s.mu.Lock()
	x := s.known[id]
	s.mu.Unlock()
	if x == nil {
		return ActionState{}, ErrNoAction
	}
	live, held := s.passes(id), []uint32{0}
	if s.q.team != nil {
		var err error
		if live, held, err = s.askPasses(ctx, id, patience); err != nil {
			return ActionState{}, err
		}
		if err := s.load(ctx); err != nil { // what ended while we asked is in the journal by now
			return ActionState{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := x.state(live)
	if x.open() {
		for p := range uint32(x.parts) {
			if !x.done[p] && !slices.Contains(held, p) {
				st.Waits = append(st.Waits, p)
			}
		}
		st.Error = cmp.Or(st.Error, s.waitsForLocked(x))
	}
	return st, nil
}

// all lists the actions that the journal knows, the newest first.
func (s *actions) all(ctx context.Context) ([]ActionState, error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	var ids []string
	for id := range s.known {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	slices.Sort(ids)
	slices.Reverse(ids)
	ids = ids[:min(len(ids), listedActions)]
	var out []ActionState
	for _, id := range ids {
		s.mu.Lock()
		x := s.known[id]
		open := x.open()
		st := x.state(nil)
		s.mu.Unlock()
		if open {
			var err error
			if st, err = s.state(ctx, id); err != nil {
				return nil, err
			}
		}
		out = append(out, st)
	}
	return out, nil
}
