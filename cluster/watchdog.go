package cluster

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// The watchdog looks so many times in RaftOptions.Timing.Stall.
const stallTicks = 6

// watch ends a leader that does not lead: see RaftOptions.Fatal. It counts its own ticks
// and reads no clock, so a process that was frozen as a whole is not blamed for it.
func (r *Raft) watch() {
	t := time.NewTicker(r.o.Timing.Stall / stallTicks)
	defer t.Stop()
	var idle, stuck int // ticks without a commit, ticks within one write
	var commits, writes uint64
	for {
		select {
		case <-t.C:
		case <-r.ctx.Done():
			return
		}
		waiting, c := r.asked.look()
		w := r.store.writes.Load()
		leads := r.raft.State() == raft.Leader
		idle = countIf(leads && waiting > 0 && c == commits, idle)
		stuck = countIf(leads && w%2 == 1 && w == writes, stuck)
		commits, writes = c, w
		if max(idle, stuck) < stallTicks {
			continue
		}
		why := fmt.Errorf("it leads, and for %v nothing was committed although asked: the others answer, but do not store", r.o.Timing.Stall)
		if stuck >= stallTicks-1 { // the proposal was counted a tick before its write
			why = fmt.Errorf("it leads, and one write to %s has been under way for %v: the disk stands still", r.store.path, r.o.Timing.Stall)
		}
		idle, stuck = 0, 0
		if r.voters() < 2 { // nobody could take over, and what needs no permits goes on
			r.log.Error("the replicated state stands still", "error", why)
			continue
		}
		r.end(why)
	}
}

func countIf(yes bool, n int) int {
	if yes {
		return n + 1
	}
	return 0
}
