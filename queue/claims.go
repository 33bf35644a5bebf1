package queue

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// record is one stored record in this process's hand, with the jobs made of it.
// It is removed from its stream when the last of its jobs has ended.
type record struct {
	stream  string
	seq     uint64
	subject string        // WAIT: where it lies
	msg     jetstream.Msg // READY: acknowledges
	epoch   *epoch        // journal position of its first entry; nil: none yet

	mu      sync.Mutex
	offered jetstream.Msg // READY, in an operator's hand: the work queue offered it meanwhile
	jobs    int           // made of it
	open    int           // of these, not ended
	back    []*Job        // and those that were given back
	fresh   time.Time
}

// handle is what acknowledges a READY record, or gives it back.
func (r *record) handle() jetstream.Msg {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.offered != nil {
		return r.offered
	}
	return r.msg
}

// waitSeq is the record's sequence when it lies in WAIT, else 0.
func (r *record) waitSeq() uint64 {
	if r.stream == streamWait {
		return r.seq
	}
	return 0
}

// end notes that one of the record's jobs has ended, or was given back untouched,
// and tells whether it was the last.
func (r *record) end(j *Job, release bool) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
	if release {
		r.back = append(r.back, j)
	}
	return r.open == 0
}

// shared tells whether the record holds more deliveries than one.
func (r *record) shared() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs > 1
}

// rest returns the jobs given back after the last has ended. whole tells that all
// were, so that the record can go back as it is. Otherwise it must not: those that
// have ended would come back with it. The others are open again, to be stored each
// by itself.
func (r *record) rest() (back []*Job, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	back, whole = r.back, len(r.back) == r.jobs
	r.back = nil
	if !whole {
		r.open = len(back)
	}
	return back, whole
}

// confirmed is the time of the last moment the claim is known to have been ours.
func (r *record) confirmed() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fresh
}

func (r *record) confirm(t time.Time) {
	r.mu.Lock()
	r.fresh = t
	r.mu.Unlock()
}

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
	m[r.seq] = r
	return true, false
}

func (c *claims) has(stream string, seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.of(stream)[seq]
	return ok
}

// offer leaves m, which READY has just offered, with the claim that somebody has
// on its record. false: nobody has any more.
func (c *claims) offer(seq uint64, m jetstream.Msg) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.ready[seq]
	if ok {
		r.mu.Lock()
		r.offered = m
		r.mu.Unlock()
	}
	return ok
}

// forget ends a claim on a record that stays.
func (c *claims) forget(r *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of(r.stream), r.seq)
}

// finish ends a claim on a record whose removal is being sent (READY) or done (WAIT).
func (c *claims) finish(r *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of(r.stream), r.seq)
	at := place{r.stream, r.seq}
	delete(c.gone, c.goneRing[c.goneAt])
	c.goneRing[c.goneAt] = at
	c.goneAt = (c.goneAt + 1) % goneSize
	c.gone[at] = struct{}{}
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
