package queue

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// team is what a queue has besides when it is one node of a cluster; nil on a node alone.
type team struct {
	q         *Queue
	journal   string // subject of this run's journal: event.journal.<node>.<run>
	mark      string // and of its mark: event.run.<node>.<run>
	ready     atomic.Pointer[readyGeneration]
	pull      *puller
	control   *control
	summaries summaries

	mu    sync.Mutex
	holds map[uint32]*hold // by partition

	take     chan struct{} // a partition is to be taken over; cap 1
	refollow chan struct{} // the partitions that work have changed; cap 1
	followed atomic.Uint64 // WAIT up to here has been told of, for all of them
}

func newTeam(q *Queue) *team {
	// A run of its own: what an earlier one left is a dead node's.
	run := "." + laneToken(mail.Domain(q.o.Node)) + "." + mail.NewID(time.Now())
	return &team{q: q, holds: map[uint32]*hold{}, take: make(chan struct{}, 1), refollow: make(chan struct{}, 1),
		journal: subjectJournal + run, mark: subjectRun + run}
}

// open joins READY's consumer and finds out where the streams stand.
func (t *team) open(ctx context.Context) error {
	q := t.q
	for _, x := range []struct {
		stream string
		at     func(uint64)
	}{
		{streamReady, q.known.sawReady}, {streamWait, q.known.sawWait}, {streamEvent, func(seq uint64) { q.lastEvent = seq }},
	} {
		st, err := q.streamState(ctx, x.stream, "")
		if err != nil {
			return err
		}
		x.at(st.LastSeq)
	}
	if err := q.openReady(ctx); err != nil {
		return err
	}
	t.pull = newPuller(q)
	return q.hearRefused()
}

func (t *team) holdOf(p uint32) *hold {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.holds[p]
}

// workingOn returns the hold of the partition a subject of WAIT lies in, if it works.
func (t *team) workingOn(subject string) *hold {
	s, err := parseSlot(subject)
	if err != nil {
		return nil
	}
	if h := t.holdOf(s.part); h != nil && h.working.Load() {
		return h
	}
	return nil
}

// working returns the holds that work.
func (t *team) working() (hs []*hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.holds {
		if h.working.Load() {
			hs = append(hs, h)
		}
	}
	slices.SortFunc(hs, func(a, b *hold) int { return cmp.Compare(a.part, b.part) })
	return hs
}

// workingSubjects are the subjects of the partitions that work.
func (t *team) workingSubjects() (subjects []string) {
	for _, h := range t.working() {
		subjects = append(subjects, partPrefix(h.part)+">")
	}
	return subjects
}

func (t *team) forget(h *hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holds[h.part] == h {
		delete(t.holds, h.part)
	}
}

func (t *team) takeNow() { nudge(t.take) }

// changed says that the set of partitions that work is another.
func (t *team) changed() { nudge(t.refollow) }

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// leave ends this node's part in the cluster. Callers have ended their jobs; those that
// they have not are offered again after the ack wait.
func (q *Queue) leave(ctx context.Context) error {
	t := q.team
	t.control.stop()
	t.mu.Lock()
	hs := slices.Collect(maps.Values(t.holds))
	t.mu.Unlock()
	for _, h := range hs {
		h.close() // all at once: what is in hand of the last one ends meanwhile
	}
	err := q.Flush(ctx)
	q.journal.refuseDots() // from here on nothing can be sent any more
	t.pull.close()
	open := 0
	for _, r := range q.claims.all() {
		if r.unsettled() {
			open++ // its next holder, or whoever it is offered to, reads our journal
		}
	}
	q.journal.mu.Lock()
	owed := open + len(q.journal.lost)
	q.journal.mu.Unlock()
	if err != nil || owed > 0 {
		return err
	}
	return q.endRun(ctx)
}

// unsettled tells whether the journal says something of the record that others must find.
func (r *record) unsettled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.kept) > 0
}
