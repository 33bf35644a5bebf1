package queue

import (
	"context"
	"time"
)

// Select claims every matching delivery that nobody has in hand and gives it to fn,
// which must end it: an operator's action by hand, once over READY and WAIT.
func (q *Queue) Select(ctx context.Context, f Filter, fn func(*Job) error) (Selection, error) {
	x := newActing(0, actionRecord{Action: &Action{ID: "by hand", At: time.Now().Add(time.Hour), Filter: f}})
	m := newMatcher(f)
	var sum Selection
	seen := map[string]int{} // a delivery that is stored anew is met again: once is enough
	each := func(m2 stored) error {
		meant := x.meant(m)
		if q.meantIn(m2, meant) == 0 {
			return nil
		}
		sel, err := q.selectRecord(ctx, m2, meant, q.claims.ends(), func(j *Job) error {
			if gen, again := seen[j.ID()]; again && j.Generation > gen {
				sum.Matched--
				j.release()
				return nil
			}
			seen[j.ID()] = j.Generation
			return fn(j)
		})
		sum.Matched += sel.Matched
		sum.Busy += sel.Busy
		return err
	}
	if q.team == nil {
		if err := q.scanReady(ctx, each); err != nil {
			return sum, err
		}
		return sum, q.scanWaitFrom(ctx, 1, m.subjects(nil), each)
	}
	var parts []uint32
	for _, h := range q.team.working() {
		parts = append(parts, h.part)
	}
	if len(parts) == 0 {
		return sum, nil
	}
	return sum, q.scanWaitFrom(ctx, 1, m.subjects(parts), each)
}
