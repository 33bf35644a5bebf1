package smtp

import "sync/atomic"

// Stats are what a Server has counted since its first connection.
type Stats struct {
	Open    int64     // connections now
	Refused uint64    // connections turned away because a limit was reached
	Replies [6]uint64 // by first digit
}

type serverStats struct {
	refused atomic.Uint64
	replies [6]atomic.Uint64
}

func (s *serverStats) reply(code int) {
	if class := code / 100; class >= 2 && class <= 5 {
		s.replies[class].Add(1)
	}
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.door.mu.Lock()
	v := Stats{Open: int64(s.door.all)}
	s.door.mu.Unlock()
	v.Refused = s.stats.refused.Load()
	for i := range v.Replies {
		v.Replies[i] = s.stats.replies[i].Load()
	}
	return v
}
