package deliverer

import (
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
)

// held is a delivery in the hand.
type held struct {
	job        Job
	env        *mail.Delivery
	recipients int
	bytes      int64
	since      time.Time // claimed
	until      time.Time // not started by then: given back
	aged       bool      // it has waited in the queue before
	begun      bool      // it is under way
	cleared    bool      // none of its recipients is on the suppression list

	asked bool                // plugins have been asked about the next attempt, or none is there to be asked
	via   *via                // where they have sent it; nil: nowhere else
	tx    *plugin.Transaction // what they know of it; nil: they have not been asked anything yet
}

// party is whose mail it is, and of which class.
type party struct {
	tenant string
	class  mail.Class
}

func (h *held) party() party { return party{h.env.Message.Tenant, h.env.Message.Class} }

// line is one tenant's mail of one class in a lane, in order. Guarded by Deliverer.mu.
type line struct {
	lane *lane
	party
	weight int    // of its tenant
	purse  *purse // nil: without a scheduler, or the hosts are not known yet

	q    []held // q[at:] waits
	at   int
	aged int // of them, how many have waited in the queue before

	lively   time.Time // something came or went last
	inTurn   bool      // in its path's turns
	enlisted bool      // in its purse's list of lines that wait
	asking   bool      // in its purse's list of lines with more in the queue
	asked    time.Time // the queue asked for room for it last: it has some that is due
	backlog  bool      // more of it waits in the queue
	low      int       // with so few of that in the hand the queue is told that there is room; -1: it knows
	promised int       // the queue may be reading so many of it
}

func (q *line) len() int { return len(q.q) - q.at }

func (q *line) push(h held) {
	if q.at > 64 && q.at*2 > len(q.q) {
		n := copy(q.q, q.q[q.at:])
		clear(q.q[n:])
		q.q, q.at = q.q[:n], 0
	}
	q.q = append(q.q, h)
	q.count(h, 1)
}

// unpop puts a delivery back before all others.
func (q *line) unpop(h held) {
	if q.at > 0 {
		q.at--
		q.q[q.at] = h
	} else {
		q.q = append(q.q, held{})
		copy(q.q[1:], q.q)
		q.q[0] = h
	}
	q.count(h, 1)
}

func (q *line) pop() held {
	h := q.q[q.at]
	q.q[q.at] = held{}
	q.at++
	if q.at == len(q.q) {
		q.q, q.at = q.q[:0], 0
	}
	q.count(h, -1)
	return h
}

// takeIf takes out what take says, and leaves the others in their order.
func (q *line) takeIf(to []held, take func(*held) bool) []held {
	keep := q.q[q.at:q.at]
	for i := range q.q[q.at:] {
		if h := &q.q[q.at+i]; take(h) {
			to = append(to, *h)
			q.count(*h, -1)
		} else {
			keep = append(keep, *h)
		}
	}
	clear(q.q[q.at+len(keep):])
	q.q = q.q[:q.at+len(keep)]
	return to
}

// count keeps the sums of lane and purse, and the path's turns, in step with the line.
func (q *line) count(h held, n int) {
	l := q.lane
	l.n += n
	if h.aged {
		l.aged += n
		q.aged += n
	}
	if q.purse != nil {
		q.purse.count(q, n, n*h.recipients)
	}
	if n > 0 && l.path != nil {
		l.path.enlist(q)
	}
}

// rate counts starts in the running second and the one before.
type rate struct {
	second    int64
	cur, prev int
}

func (r *rate) at(now time.Time) {
	switch s := now.Unix(); s - r.second {
	case 0:
	case 1:
		r.second, r.prev, r.cur = s, r.cur, 0
	default:
		r.second, r.prev, r.cur = s, 0, 0
	}
}

func (r *rate) add(now time.Time) { r.at(now); r.cur++ }

// recent is about what the last second brought.
func (r *rate) recent(now time.Time) int { r.at(now); return max(r.cur, r.prev) }
