package queue

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarishi/tarishi/proto"
)

// record is one stored record in this process's hand, with the jobs made of it.
// It is removed from its stream when the last of its jobs has ended.
type record struct {
	stream    string
	seq       uint64
	subject   string        // WAIT: where it lies
	msg       jetstream.Msg // READY: acknowledges
	epoch     *epoch        // journal position of its first entry; nil: none yet
	hold      *hold         // WAIT in a cluster: by which we have it
	undecided atomic.Bool   // READY in a cluster: it is being looked into
	storing   atomic.Int32  // in a cluster: how many of its deliveries are being stored anew

	mu        sync.Mutex
	delivered offer         // READY in a cluster: by which we have it
	offered   jetstream.Msg // READY, in an operator's hand: the work queue offered it meanwhile
	jobs      int           // made of it
	open      int           // of these, not ended
	back      []*Job        // and those that were given back
	fresh     time.Time
	gone      bool           // READY in a cluster: the claim was not confirmed in time and may be another's
	undone    int            // of the jobs, ended without a trace: others have the record
	kept      []*proto.Event // in a cluster: what the journal must say of it for as long as it stays
	message   string         // its message's id
	from      marks          // READY, offered before: from where its past was read
	leaves    time.Time      // and until when, after it was lost to others
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

// abandon notes that one of the jobs has ended without a trace, since the record is
// not ours any more, and tells whether it was the last.
func (r *record) abandon() (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.undone++
	r.open--
	return r.open == 0
}

// shared tells whether the record holds more deliveries than one.
func (r *record) shared() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs > 1
}

// rest returns the jobs given back after the last has ended. whole tells that all
// were, so that the record can go back as it is, if it may at all. Otherwise it must
// not: those that have ended would come back with it. The others are open again, to
// be stored each by itself.
func (r *record) rest(never bool) (back []*Job, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	back, whole = r.back, len(r.back) == r.jobs && !never
	r.back = nil
	if !whole {
		r.open = len(back)
	}
	return back, whole
}

// abandoned tells whether one of the jobs at least has ended without a trace.
func (r *record) abandoned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.undone > 0
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

// claim is the right by which what follows from the record is stored.
func (r *record) claim() claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.hold != nil:
		return claim{fence: r.hold.fence}
	case r.delivered.n != 0:
		return claim{ready: r.seq, offer: r.delivered}
	}
	return claim{}
}
