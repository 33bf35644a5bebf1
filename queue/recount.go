package queue

import (
	"context"
	"log/slog"
	"time"
)

// recountEvery is the pause between two partitions, so that a round takes a minute;
// recountRest is what it becomes at most. A node alone counts everything at once, and
// hears of nothing that it could miss.
const recountEvery, recountRest, recountAlone = time.Second, 5 * time.Second, 5 * time.Minute

// recount does so on a node alone, as long as ctx lasts.
func (q *Queue) recount(ctx context.Context) {
	tick := time.NewTicker(recountAlone)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		q.recountNow(ctx, recountEvery)
	}
}

// recountNow counts what waits on a node alone, twice with a pause in between.
func (q *Queue) recountNow(ctx context.Context, pause time.Duration) {
	found, err := q.compare(ctx, allSlots, "wait.>")
	if err != nil || len(found) == 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(pause):
	}
	last := map[slotName]difference{}
	for _, d := range found {
		last[d.slot] = d
	}
	if found, err = q.compare(ctx, allSlots, "wait.>"); err != nil {
		return
	}
	q.correct(nil, last, found)
}

// correct puts right what was found twice.
func (q *Queue) correct(h *hold, last map[slotName]difference, found []difference) {
	for _, d := range found {
		if last[d.slot] == d && q.lanes.correct(h, d) {
			level := slog.LevelInfo // as after a node has died with mail on its way
			if d.big() {
				level = slog.LevelWarn
			}
			q.log.Log(context.Background(), level, "what waits was counted anew and corrected", "subject", d.slot.subject(), "counted", d.counted, "there", d.there)
		}
	}
}

func allSlots(slotName) bool { return true }

// recount compares what is counted with what JetStream says, one partition after the
// other, as long as ctx lasts: the follower may have missed something, and nothing may
// be forgotten. A difference counts only when it is found twice with nothing moving
// in between, since each side hears of a change at its own time. A hundred times as long
// as it took is its rest: with hundreds of thousands of slots it takes its time.
func (t *team) recount(ctx context.Context) {
	last := map[slotName]difference{}
	next := uint32(0)
	took := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(recountEvery, min(100*took, recountRest))):
		}
		h := t.nextWorking(next)
		if h == nil {
			continue
		}
		next = h.part + 1
		h.mu.Lock()
		old := h.fences.prune(time.Now())
		h.mu.Unlock()
		t.q.removeFences(ctx, &fences{old: old})
		began := time.Now()
		found, err := t.compare(ctx, h)
		if took = time.Since(began); err != nil {
			continue // the leader is away; next time
		}
		if len(found) > 0 {
			// Once more, a little later: after that it is no coincidence.
			select {
			case <-ctx.Done():
				return
			case <-time.After(recountEvery):
			}
			clear(last)
			for _, d := range found {
				last[d.slot] = d
			}
			if found, err = t.compare(ctx, h); err != nil {
				continue
			}
			t.q.correct(h, last, found)
		}
	}
}

// difference is a slot that counts something else than there is.
type difference struct {
	slot           slotName
	counted, there int
	changes        int
}

// big tells a difference that no failover explains.
func (d difference) big() bool {
	off := d.there - d.counted
	return max(off, -off) > max(100, d.there/10)
}

func (t *team) nextWorking(from uint32) *hold {
	hs := t.working()
	for _, h := range hs {
		if h.part >= from {
			return h
		}
	}
	if len(hs) > 0 {
		return hs[0]
	}
	return nil
}

func (t *team) compare(ctx context.Context, h *hold) (found []difference, err error) {
	return t.q.compare(ctx, func(s slotName) bool { return s.part == h.part }, partPrefix(h.part)+">")
}

// compare finds the slots that count something else than JetStream says of them.
func (q *Queue) compare(ctx context.Context, which func(slotName) bool, filter string) (found []difference, err error) {
	before := q.lanes.counts(which)
	there, _, err := q.countSlots(ctx, filter)
	if err != nil {
		return nil, err
	}
	after := q.lanes.counts(which)
	for s, n := range there {
		if before[s] == after[s] && after[s].counted != n {
			found = append(found, difference{s, after[s].counted, n, after[s].changes})
		}
	}
	for s, c := range after {
		if _, ok := there[s]; !ok && before[s] == c && c.counted != 0 {
			found = append(found, difference{s, c.counted, 0, c.changes})
		}
	}
	return found, nil
}

// counts returns what is counted in some slots.
func (l *lanes) counts(which func(slotName) bool) map[slotName]difference {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[slotName]difference{}
	for _, la := range l.m {
		for _, list := range [][]*slot{la.slots, la.held} {
			for _, s := range list {
				if which(s.slotName) {
					out[s.slotName] = difference{slot: s.slotName, counted: s.count, changes: s.changes}
				}
			}
		}
	}
	return out
}

// correct makes a slot count what is there, unless something has moved meanwhile.
func (l *lanes) correct(h *hold, d difference) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slot(d.slot, false)
	if h != nil && h.dropped || l.unreadable > 0 && d.there > d.counted { // known, and told of
		return false
	}
	if s == nil && d.changes != 0 || s != nil && (s.changes != d.changes || s.count != d.counted) {
		return false
	}
	if s != nil && s.reader != nil {
		s.reader.again = 0 // from the beginning: what was missed may lie anywhere
	}
	l.addLocked(d.slot, d.there-d.counted)
	return true
}
