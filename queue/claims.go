package queue

import "sync"

// claims knows which records are in this process's hand, so that no record is
// worked on twice, by a deliverer or by an operator's command.
type claims struct {
	mu    sync.Mutex
	ready map[uint64]*record
	wait  map[uint64]*record
	// Records whose removal has been sent: somebody may hold a copy that was read
	// before, and READY may offer one again when a connection broke with the
	// acknowledgement in it.
	gone     map[place]struct{}
	goneRing []place
	goneAt   int
	ended    uint64 // how many have been sent
}

// place is where a record lies.
type place struct {
	stream string
	seq    uint64
}

const goneSize = 1 << 15

func newClaims() *claims {
	return &claims{ready: map[uint64]*record{}, wait: map[uint64]*record{},
		gone: map[place]struct{}{}, goneRing: make([]place, goneSize)}
}

func (c *claims) of(stream string) map[uint64]*record {
	if stream == streamReady {
		return c.ready
	}
	return c.wait
}

// take claims the record unless it is claimed; gone tells that it has been removed already.
func (c *claims) take(r *record) (taken, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.gone[place{r.stream, r.seq}]; ok {
		return false, true
	}
	m := c.of(r.stream)
	if _, ok := m[r.seq]; ok {
		return false, false
	}
	if r.hold != nil && !r.hold.enterLocked() {
		return false, false
	}
	m[r.seq] = r
	return true, false
}

func (c *claims) has(stream string, seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.of(stream)[seq]
	return ok
}

// offer leaves what READY has just offered with the claim that somebody has on the
// same record. false: nobody has any more.
func (c *claims) offer(again *record) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.ready[again.seq]
	if ok {
		r.mu.Lock()
		r.offered = again.msg
		switch {
		case again.delivered.n == r.delivered.n+1: // our claim ran out, and nobody had it in between
			r.delivered, r.fresh, r.gone = again.delivered, again.fresh, false
		case again.delivered.n > r.delivered.n:
			r.gone = true
		}
		r.mu.Unlock()
	}
	return ok
}

// taken notes that READY has offered a record to another node after it had been offered
// to us: what has not been sent by now must not be.
func (c *claims) taken(seq uint64, o offer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.ready[seq]; ok {
		r.mu.Lock()
		if o.after(r.delivered) {
			r.gone = true
		}
		r.mu.Unlock()
	}
}

// forget ends a claim on a record that stays.
func (c *claims) forget(r *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(r)
}

func (c *claims) dropLocked(r *record) {
	if m := c.of(r.stream); m[r.seq] == r {
		delete(m, r.seq)
		if r.hold != nil {
			r.hold.leaveLocked()
		}
	}
}

// shelve keeps a claim on what cannot be read, so that it is not tried again and again.
// Its partition may go to another node all the same.
func (c *claims) shelve(r *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.hold != nil {
		r.hold.leaveLocked()
		r.hold = nil
	}
}

// finish ends a claim on a record whose removal is being sent (READY) or done (WAIT).
func (c *claims) finish(r *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(r)
	at := place{r.stream, r.seq}
	delete(c.gone, c.goneRing[c.goneAt])
	c.goneRing[c.goneAt] = at
	c.goneAt = (c.goneAt + 1) % goneSize
	c.gone[at] = struct{}{}
	c.ended++
}

// ends is how many claims have ended by a removal. Of the last goneSize of them it is
// known what they were on.
func (c *claims) ends() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// is tells whether a claim stands.
func (c *claims) is(r *record) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of(r.stream)[r.seq] == r
}

// wasRemoved tells that READY's record seq has been acknowledged lately.
func (c *claims) wasRemoved(seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.gone[place{streamReady, seq}]
	return ok
}

func (c *claims) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ready) + len(c.wait)
}

// all returns every record in hand.
func (c *claims) all() []*record {
	rs := c.allReady()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.wait {
		rs = append(rs, r)
	}
	return rs
}

// allReady returns the READY records in hand, to extend their claims.
func (c *claims) allReady() []*record {
	c.mu.Lock()
	defer c.mu.Unlock()
	rs := make([]*record, 0, len(c.ready))
	for _, r := range c.ready {
		rs = append(rs, r)
	}
	return rs
}
