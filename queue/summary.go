package queue

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// A listing in a cluster counts what waits anywhere, whoever holds it, by asking
// JetStream for all of WAIT's subjects. That costs a fifth of a second for a hundred
// thousand, so that an answer serves for a while: twenty times as long as it took to
// get, two seconds at least.
type summaries struct {
	mu    sync.Mutex
	state streamState
	until time.Time
}

func (t *team) summary(ctx context.Context, by map[mail.Domain]*LaneInfo) (map[mail.Domain][]string, error) {
	t.summaries.mu.Lock()
	defer t.summaries.mu.Unlock()
	if began := time.Now(); began.After(t.summaries.until) {
		st, err := t.q.streamState(ctx, streamWait, "wait.>")
		if err != nil {
			return nil, err
		}
		t.summaries.state = st
		t.summaries.until = time.Now().Add(max(2*time.Second, 20*time.Since(began)))
	}
	return summarize(t.summaries.state.Subjects, by), nil
}

// summarize fills in what the subjects' counts tell, and returns each lane's first slots.
func summarize(subjects map[string]uint64, by map[mail.Domain]*LaneInfo) map[mail.Domain][]string {
	slots := map[mail.Domain][]slotName{}
	for subject, n := range subjects {
		s, err := parseSlot(subject)
		if err != nil {
			continue // a fence
		}
		li := by[s.line.Destination]
		if li == nil {
			li = &LaneInfo{Destination: s.line.Destination}
			by[s.line.Destination] = li
		}
		li.Count += int64(n)
		if s.held {
			li.Held += int64(n)
		} else if due := time.UnixMilli(s.at); li.NextDue.IsZero() || due.Before(li.NextDue) {
			li.NextDue = due
		}
		slots[s.line.Destination] = append(slots[s.line.Destination], s)
	}
	return firstSlots(slots)
}

// firstSlots returns the subjects of the slots of each lane that are due first.
func firstSlots(slots map[mail.Domain][]slotName) map[mail.Domain][]string {
	out := map[mail.Domain][]string{}
	for lane, list := range slots {
		slices.SortFunc(list, slotName.compare)
		for _, s := range list[:min(len(list), 4)] {
			out[lane] = append(out[lane], s.subject())
		}
	}
	return out
}
