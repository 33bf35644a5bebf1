package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tarishi/tarishi/shaping"
)

// What an operator can ask of the leader, in call.what.
const (
	callChange   = "change"   // changeCall; progress, then the result
	callWait     = "wait"     // waitCall: for a change made before
	callBook     = "book"     // shaping.Book
	callLive     = "live"     // LiveQuery; []Live
	callSessions = "sessions" // []SessionStatus
)

// Kinds of a reply that is an error.
const (
	kindRefused = "refused" // a change that is not possible
	kindUnknown = "unknown" // a change that may or may not have been made
	kindFailed  = "failed"
)

type changeCall struct {
	Change shaping.Change `json:"change"`
	Async  bool           `json:"async,omitempty"` // do not wait until it is in force
}

type waitCall struct {
	Version uint64 `json:"version"`
}

// Progress is how far a change has come.
type Progress struct {
	Version uint64          `json:"version"`           // of the limits, with the change
	InForce time.Time       `json:"in_force,omitzero"` // by the leader's wall clock; zero: not yet
	Waiting []SessionStatus `json:"waiting,omitempty"` // sessions that do not work by it yet
}

// SessionStatus is one session, for people.
type SessionStatus struct {
	ID        SessionID     `json:"session"`
	Node      string        `json:"node"`
	Connected bool          `json:"connected"`
	Lease     time.Duration `json:"lease_ns"` // how long it may work still, without another answer

	Version    uint64 `json:"version"`    // of the limits it works by
	Partitions int    `json:"partitions"` // of WAIT that it holds
	Slots      int    `json:"slots"`      // connections under a limit
	Draining   bool   `json:"draining,omitempty"`
}

// LiveQuery says which windows and limits of connections are asked for.
type LiveQuery struct {
	To    string `json:"to,omitempty"`    // those whose counter has it in its name; empty: all
	Limit int    `json:"limit,omitempty"` // so many; 0: 1000
}

// LiveAnswer is what the leader knows of them.
type LiveAnswer struct {
	Now  Time   `json:"now"` // that Live.Next counts from
	Live []Live `json:"live"`
	More int    `json:"more,omitempty"` // so many were left out
}

const progressTime = time.Second

// operate answers one call.
func (s *Server) operate(r *reign, link leaderLink, c *callFrame) {
	// The caller says no more: when its stream breaks, nobody waits for the answer.
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	s.links.Go(func() {
		_, err := link.Recv()
		cancel(err)
	})
	say := func(v any, last bool) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if len(b) > maxFrame/2 {
			return fmt.Errorf("the answer has %d octets, more than can be sent; ask for less", len(b))
		}
		return link.Send(&leaderFrame{term: r.term, reply: &replyFrame{json: b, last: last}})
	}
	err := r.answer(ctx, c, say)
	if err == nil || r.ctx.Err() == nil && ctx.Err() != nil {
		return
	}
	if errors.Is(err, ErrNotLeader) {
		link.Send(&leaderFrame{redirect: s.elsewhere(err.Error())})
		return
	}
	a := &replyFrame{last: true, err: err.Error(), kind: kindFailed}
	var refused *shaping.RefusedError
	switch {
	case errors.As(err, &refused):
		a.kind, a.err, a.field, a.mend = kindRefused, refused.What, refused.Field, refused.Mend
	case errors.Is(err, ErrUnknownOutcome):
		a.kind = kindUnknown
	}
	link.Send(&leaderFrame{term: r.term, reply: a})
}

func (r *reign) answer(ctx context.Context, c *callFrame, say func(any, bool) error) error {
	switch c.what {
	case callChange:
		var q changeCall
		if err := json.Unmarshal(c.json, &q); err != nil {
			return malformed("a change: %v", err)
		}
		version, err := r.change(ctx, &q.Change)
		if err != nil {
			return err
		}
		if err := say(Progress{Version: version}, q.Async); err != nil || q.Async {
			return err
		}
		return r.await(ctx, version, say)
	case callWait:
		var q waitCall
		if err := json.Unmarshal(c.json, &q); err != nil {
			return malformed("a wait: %v", err)
		}
		if err := r.s.raft.Barrier(ctx); err != nil {
			return err
		}
		if now := r.s.state.Book().Version; q.Version > now {
			return fmt.Errorf("the limits are at version %d and know no version %d", now, q.Version)
		}
		return r.await(ctx, q.Version, say)
	case callBook:
		// Whoever asks after a change was answered must see it, so it is not enough to
		// have been the leader.
		if err := r.s.raft.Barrier(ctx); err != nil {
			return err
		}
		return say(r.s.state.Book(), true)
	case callLive:
		var q LiveQuery
		if err := json.Unmarshal(c.json, &q); err != nil {
			return malformed("a query: %v", err)
		}
		return say(r.live(q), true)
	case callSessions:
		if err := r.s.raft.Barrier(ctx); err != nil {
			return err
		}
		return say(r.statuses(nil), true)
	}
	return malformed("nothing is called %q; this node may be older than the one that asks", c.what)
}

// change commits a change of the book. What is refused here is refused without an
// entry; the log has the last word.
func (r *reign) change(ctx context.Context, c *shaping.Change) (uint64, error) {
	if c.At.IsZero() {
		c.At = time.Now().UTC()
	}
	next, err := r.s.state.Book().Apply(*c)
	if err != nil {
		return 0, err
	}
	if rules, err := newRuleBook(next); err != nil {
		return 0, err
	} else if len(rules.encoded) > maxFrame/2 {
		return 0, &shaping.RefusedError{What: fmt.Sprintf("with it the limits take %d octets, more than the %d that are sent to every node", len(rules.encoded), maxFrame/2),
			Mend: "use patterns and named destinations instead of one rule for every domain"}
	}
	// Once proposed it is not to be given up because the caller has gone.
	v, err := r.s.propose(r.ctx, &Command{Type: Change, Change: c})
	if err != nil {
		var refused *shaping.RefusedError
		if !errors.As(err, &refused) && !errors.Is(err, ErrNotLeader) {
			err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		return 0, err
	}
	version, ok := v.(uint64)
	if !ok {
		return 0, fmt.Errorf("%w: the log answered %T", ErrUnknownOutcome, v)
	}
	return version, nil
}

// await tells how a version comes into force, until it has.
func (r *reign) await(ctx context.Context, version uint64, say func(any, bool) error) error {
	told := time.Now()
	for {
		st := r.s.state
		st.mu.Lock()
		if r.leader == nil {
			st.mu.Unlock()
			return ErrNotLeader
		}
		done, waiting := r.leader.InForce(version, r.now())
		next := r.force
		st.mu.Unlock()
		if done {
			return say(Progress{Version: version, InForce: time.Now().UTC()}, true)
		}
		if time.Since(told) >= progressTime {
			told = time.Now()
			if err := say(Progress{Version: version, Waiting: r.statuses(waiting)}, false); err != nil {
				return err
			}
		}
		select {
		case <-next: // the leader has had a turn
		case <-time.After(progressTime):
		case <-ctx.Done():
			if r.ctx.Err() != nil {
				return ErrNotLeader
			}
			return context.Cause(ctx)
		}
	}
}

// statuses lists the sessions, or those named.
func (r *reign) statuses(of []SessionID) []SessionStatus {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	wanted := map[SessionID]bool{}
	for _, id := range of {
		wanted[id] = true
	}
	out := []SessionStatus{}
	if r.leader == nil {
		return out
	}
	now := r.now()
	for _, i := range st.f.Sessions() {
		if of != nil && !wanted[i.ID] {
			continue
		}
		_, connected := r.sessions[i.ID]
		h, _ := r.leader.Holds(i.ID)
		out = append(out, SessionStatus{ID: i.ID, Node: i.Node, Connected: connected,
			Lease:   time.Duration(max(0, r.leader.Lease(i.ID)-now)),
			Version: h.Version, Partitions: h.Partitions, Slots: h.Slots, Draining: h.Draining})
	}
	return out
}

// live lists windows and limits of connections.
func (r *reign) live(q LiveQuery) LiveAnswer {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	a := LiveAnswer{Live: []Live{}}
	if r.leader == nil {
		return a
	}
	a.Now = r.now()
	limit := q.Limit
	if limit <= 0 {
		limit = 1000
	}
	for _, l := range r.leader.Live(a.Now) {
		switch {
		case q.To != "" && !strings.Contains(l.Counter, q.To):
		case len(a.Live) < limit:
			a.Live = append(a.Live, l)
		default:
			a.More++
		}
	}
	return a
}
