package scheduler

// Alone says that every session of before this term is over: the only node there is
// runs the scheduler and the deliverer in one process, and the one before it is dead,
// its connections closed by the kernel. Otherwise a restart would wait out its lease. It is said in a
// process's first term only: in a later one old sessions are its own.
func (l *Leader) Alone(now Time) {
	for _, s := range l.sessions {
		if s.old {
			s.lease = min(s.lease, now+l.p.SlotRest)
		}
	}
}
