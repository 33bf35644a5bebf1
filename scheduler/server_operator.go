package scheduler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	callWhy      = "why"      // LaneQuery; LaneAnswer
	callSessions = "sessions" // []SessionStatus
	callImport   = "import"   // nothing
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
	ID         SessionID     `json:"session"`
	Node       string        `json:"node"`
	Connected  bool          `json:"connected"`
	Lease      time.Duration `json:"lease_ns"` // how long it may work still, without another answer
	Version    uint64        `json:"version"`  // of the limits it works by; 0: it has yet to say
	Partitions int           `json:"partitions"`
	Slots      int           `json:"slots"`
	Draining   bool          `json:"draining,omitempty"`
}

// LiveQuery says which windows and limits of connections are asked for.
type LiveQuery struct {
	To    string `json:"to,omitempty"`    // those whose counter has it in its name; empty: all
	Limit int    `json:"limit,omitempty"` // so many; 0: 1000
}

// LiveAnswer is what the leader knows of them, those that most waits for first.
type LiveAnswer struct {
	Now   Time   `json:"now"` // that Live.Next counts from
	Live  []Live `json:"live"`
	Total int    `json:"total"` // with those that were left out
}

const (
	progressTime = 100 * time.Millisecond // between two words on whom a change waits for
	aliveTime    = 2 * time.Second        // and without news
)

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
	over := r.ctx.Err() != nil
	if err == nil || !over && ctx.Err() != nil {
		return
	}
	if errors.Is(err, ErrNotLeader) || over && !errors.Is(err, ErrUnknownOutcome) {
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
	case callWhy:
		var q LaneQuery
		if err := json.Unmarshal(c.json, &q); err != nil {
			return malformed("a query: %v", err)
		}
		return say(r.why(q), true)
	case callSessions:
		if err := r.s.raft.Barrier(ctx); err != nil {
			return err
		}
		return say(r.statuses(nil), true)
	case callImport:
		var q importCall
		if err := json.Unmarshal(c.json, &q); err != nil {
			return malformed("a state: %v", err)
		}
		if err := r.takeOver(ctx, q); err != nil {
			return err
		}
		return say(struct{}{}, true)
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
	var told time.Time
	var last []SessionID
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
		since := time.Since(told)
		if since >= aliveTime || since >= progressTime && !slices.Equal(waiting, last) {
			told, last = time.Now(), waiting
			if err := say(Progress{Version: version, Waiting: r.statuses(append([]SessionID{}, waiting...))}, false); err != nil {
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

// statuses lists the sessions; only those of a set, unless it is nil.
func (r *reign) statuses(of []SessionID) []SessionStatus {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	out := []SessionStatus{}
	if r.leader == nil {
		return out
	}
	now := r.now()
	for _, i := range st.f.Sessions() {
		if of != nil && !slices.Contains(of, i.ID) {
			continue
		}
		x := SessionStatus{ID: i.ID, Node: i.Node}
		_, x.Connected = r.sessions[i.ID]
		if s := r.leader.sessions[i.ID]; s != nil {
			x.Lease = time.Duration(max(0, s.lease-now)) // not what this leader alone has promised
		}
		if h, ok := r.leader.Holds(i.ID); ok {
			x.Version, x.Partitions, x.Slots, x.Draining = h.Version, h.Partitions, h.Slots, h.Draining
		}
		out = append(out, x)
	}
	return out
}

// why tells what holds a lane.
func (r *reign) why(q LaneQuery) LaneAnswer {
	st := r.s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if r.leader == nil {
		return LaneAnswer{Holds: -1, Live: []Live{}}
	}
	return r.leader.Why(r.now(), q)
}

// live lists windows and limits of connections.
func (r *reign) live(q LiveQuery) LiveAnswer {
	st := r.s.state
	st.mu.Lock()
	if r.leader == nil {
		st.mu.Unlock()
		return LiveAnswer{Live: []Live{}}
	}
	a := LiveAnswer{Now: r.now()}
	a.Live = r.leader.Live(a.Now)
	st.mu.Unlock()
	if q.To != "" {
		a.Live = slices.DeleteFunc(a.Live, func(l Live) bool { return !strings.Contains(l.Counter, q.To) })
	}
	slices.SortStableFunc(a.Live, func(x, y Live) int { return cmp.Compare(y.Waiting, x.Waiting) })
	a.Total = len(a.Live)
	if q.Limit <= 0 {
		q.Limit = 1000
	}
	a.Live = slices.Clip(a.Live[:min(q.Limit, a.Total)])
	return a
}
