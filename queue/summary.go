package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// What waits is counted by slots, never by messages. A node alone has the counts in
// memory. A listing in a cluster counts what waits anywhere, whoever holds it, by
// asking JetStream for all of WAIT's subjects. That costs a fifth of a second for a
// hundred thousand, so that an answer serves for a while: twenty times as long as it
// took to get, two seconds at least.
type summaries struct {
	mu    sync.Mutex
	state streamState
	until time.Time
	stale atomic.Bool // something has been done to very much
}

// subjects are WAIT's, with how many records each has.
func (t *team) subjects(ctx context.Context) (map[string]uint64, error) {
	t.summaries.mu.Lock()
	defer t.summaries.mu.Unlock()
	if began := time.Now(); began.After(t.summaries.until) || t.summaries.stale.Swap(false) {
		st, err := t.q.streamState(ctx, streamWait, "wait.>")
		if err != nil {
			return nil, err
		}
		t.summaries.state = st
		t.summaries.until = time.Now().Add(max(2*time.Second, 20*time.Since(began)))
	}
	return t.summaries.state.Subjects, nil
}

// eachSlot gives each slot of WAIT with its count, and how many of it are in hand (in a
// cluster that is not known, and 0). fn must not block.
func (q *Queue) eachSlot(ctx context.Context, fn func(s slotName, count, taken int64)) error {
	if q.team != nil {
		subjects, err := q.team.subjects(ctx)
		if err != nil {
			return err
		}
		for subject, n := range subjects {
			if s, err := parseSlot(subject); err == nil { // else a fence
				fn(s, int64(n), 0)
			}
		}
		return nil
	}
	l := q.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, li := range l.m {
		for _, list := range [][]*slot{li.slots, li.held} {
			for _, s := range list {
				fn(s.slotName, int64(s.count), int64(s.taken))
			}
		}
	}
	return nil
}

// LineCount is how much waits in a line.
type LineCount struct {
	Waiting, Held int64
	NextDue       time.Time // of what waits; zero: nothing does
}

// Lines counts what waits by line.
func (q *Queue) Lines(ctx context.Context) (map[mail.Line]LineCount, error) {
	by := map[mail.Line]LineCount{}
	err := q.eachSlot(ctx, func(s slotName, count, _ int64) {
		c := by[s.line]
		if s.held {
			c.Held += count
		} else {
			c.Waiting += count
			c.NextDue = sooner(c.NextDue, time.UnixMilli(s.at))
		}
		by[s.line] = c
	})
	return by, err
}

// sooner is the earlier of two instants, of which the first may be none.
func sooner(t, u time.Time) time.Time {
	if t.IsZero() || u.Before(t) {
		return u
	}
	return t
}

// Summary is the whole queue in a few numbers.
type Summary struct {
	Ready, Waiting, Held, Active int64 // Waiting without those held
	Destinations, Lines          int
	Tenants                      map[string]int64 // what waits and is held, by tenant; "": of none
	Classes                      map[mail.Class]int64
	Due                          [len(DueSteps) + 1]int64 // what waits, by when it is due
}

// DueSteps part what waits by when it is due: now, within so long, later.
var DueSteps = [...]time.Duration{0, time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour}

// Summary counts the queue by lines and slots; it reads no mail.
func (q *Queue) Summary(ctx context.Context) (Summary, error) {
	s := Summary{Tenants: map[string]int64{}, Classes: map[mail.Class]int64{}}
	now := time.Now()
	destinations, lines := map[mail.Domain]bool{}, map[mail.Line]bool{}
	err := q.eachSlot(ctx, func(n slotName, count, taken int64) {
		if count == 0 {
			return
		}
		destinations[n.line.Destination], lines[n.line] = true, true
		s.Tenants[n.line.Tenant] += count
		s.Classes[n.line.Class] += count
		s.Active += taken
		if n.held {
			s.Held += count
			return
		}
		s.Waiting += count
		i, in := 0, time.UnixMilli(n.at).Sub(now)
		for i < len(DueSteps) && in > DueSteps[i] {
			i++
		}
		s.Due[i] += count
	})
	if err != nil {
		return s, err
	}
	st := q.Stats()
	s.Ready, s.Destinations, s.Lines = st.Ready, len(destinations), len(lines)
	if q.team == nil {
		s.Active = st.Active
		return s, nil
	}
	h, err := q.handsNow(ctx)
	s.Active = int64(len(h.ready) + len(h.wait))
	return s, err
}
