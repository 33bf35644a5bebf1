package queue

import "context"

// recount reads a slot from its beginning when it counts more than its reader
// finds. What is there and in nobody's hand is handed over; when nothing is, either
// the count was wrong and is put right, or JetStream cannot read what it holds, and
// the operator is told: this mail must not be forgotten because nobody can send it.
func (d *drainer) recount(ctx context.Context, s *slot, r *slotReader, max int) (int, error) {
	l := d.q.lanes
	l.mu.Lock()
	changes := s.changes
	l.mu.Unlock()
	r.next = 1
	read, found, err := d.lookAgain(ctx, r, max)
	if err != nil || read > 0 {
		return read, err
	}
	kept, err := d.q.countUnder(ctx, s.subject())
	if err == nil && d.q.team != nil && found < kept {
		// The replica that was read may lag behind. The leader does not.
		if kept > leaderLook {
			d.missed = true
			return 0, nil
		}
		r.close()
		r.next, r.leader = 1, true
		if read, found, err = d.lookAgain(ctx, r, max); err != nil || read > 0 {
			return read, err
		}
		kept, err = d.q.countUnder(ctx, s.subject())
	}
	if err != nil {
		return 0, err
	}
	if n := l.recounted(s, changes, found, kept); n > 0 {
		d.q.log.Error("deliveries that wait cannot be read: the queue's files are damaged; restart this node to be told where and of the way out",
			"stream", streamWait, "subject", s.subject(), "deliveries", n)
	}
	return 0, nil
}

// leaderLook is up to how many records of a slot are read one by one from the leader.
const leaderLook = 1000

// lookAgain reads on from r.next and hands over what is in nobody's hand; when there
// is nothing, it has found all.
func (d *drainer) lookAgain(ctx context.Context, r *slotReader, max int) (read, found int, err error) {
	ms, err := r.fresh(ctx, max)
	for err == nil && len(ms) > 0 {
		if n := d.handAll(ctx, ms); n > 0 {
			return n, found, nil
		}
		found += len(ms)
		ms, err = r.read(ctx, max)
	}
	return 0, found, err
}

// countUnder asks JetStream how many records of WAIT lie under a subject.
func (q *Queue) countUnder(ctx context.Context, subject string) (int, error) {
	st, err := q.streamState(ctx, streamWait, subject)
	return int(st.Subjects[subject]), err
}

// short tells how many more the slot counts than are taken.
func (l *lanes) short(s *slot) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.reader != nil && s.reader.again < s.reader.next {
		return 0 // something was given back meanwhile: read next time
	}
	return s.count - s.taken
}

// recounted puts a slot's count right after a look that found so many, all of them
// claimed, while JetStream says that it keeps so many; unless something came or went
// meanwhile. It returns how many of them are there and cannot be read. These are not
// offered any more and stay in the total.
func (l *lanes) recounted(s *slot, changes, found, kept int) (unreadable int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over := min(s.count-s.taken, s.count-found)
	if s.changes != changes || over <= 0 {
		return 0
	}
	unreadable = min(over, max(kept-found, 0))
	s.count -= over
	l.total -= int64(over - unreadable)
	l.unreadable += int64(unreadable)
	l.tidy(s)
	return unreadable
}
