package scheduler

// SessionHoldings is what a session has of the leader, for people.
type SessionHoldings struct {
	Version    uint64 // of the limits it works by
	Partitions int    // of WAIT
	Slots      int    // connections under a limit
	Draining   bool
}

// Holds tells what a session has; false: it is not known.
func (l *Leader) Holds(id SessionID) (SessionHoldings, bool) {
	s := l.sessions[id]
	if s == nil {
		return SessionHoldings{}, false
	}
	return SessionHoldings{Version: s.version, Partitions: s.parts, Slots: len(s.slots), Draining: s.draining}, true
}
