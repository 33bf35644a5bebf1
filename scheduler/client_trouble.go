package scheduler

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// An election, and what comes after it, is over sooner; it is said again after the second.
const (
	troubleAfter = 6 * time.Second
	troubleAgain = 15 * time.Second
)

// trouble is why there is no stream to the leader, by scheduler: a refusal is seen by
// who is refused alone, in time to mend what it names.
type trouble struct {
	since, said int64 // local clock; 0: not yet
	why         map[string]string
}

func (t *trouble) note(where, why string) {
	if t.why == nil || len(t.why) > 100 { // hints may name any address
		t.why = map[string]string{}
	}
	if where == here {
		where = "this node"
	}
	t.why[where] = why
}

func (t *trouble) report(log *slog.Logger, x int64) {
	if t.since == 0 {
		t.since = x
	}
	if x-t.since < int64(troubleAfter) || t.said != 0 && x-t.said < int64(troubleAgain) {
		return
	}
	t.said = x
	var why []string
	for _, where := range slices.Sorted(maps.Keys(t.why)) {
		why = append(why, where+": "+t.why[where])
	}
	log.Warn("no stream to the scheduler's leader; what this node may send ends with its session",
		"for", time.Duration(x-t.since).Round(time.Second), "reason", strings.Join(why, "; "))
}
