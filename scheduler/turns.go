package scheduler

import (
	"container/heap"

	"github.com/tarishi/tarishi/mail"
)

// bulkTurn is how many starts of class normal pass one of class bulk that waits: bulk
// goes when nothing else waits, and slowly in any case.
const bulkTurn = 19

// turns is the queue of a full counter. Class high goes first, then normal, then bulk.
// Within a class tenants take turns by weight, and a tenant's lanes one after the other.
type turns struct {
	classes [3]*tenantTurns // by mail.Class; nil: none of it has waited
	lanes   int
	passed  int64 // starts that passed bulk mail since it last had a turn
}

// waiting counts the lanes of a class.
func (q *turns) waiting(c mail.Class) int {
	if t := q.classes[c]; t != nil {
		return t.lanes
	}
	return 0
}

// next is the class whose turn it is.
func (q *turns) next() mail.Class {
	switch {
	case q.waiting(mail.High) > 0:
		return mail.High
	case q.waiting(mail.Normal) == 0, q.waiting(mail.Bulk) > 0 && q.passed >= bulkTurn:
		return mail.Bulk
	}
	return mail.Normal
}

// before tells whether somebody waits whom mail of that class may not pass.
func (q *turns) before(c mail.Class) bool {
	switch c {
	case mail.High:
		return q.waiting(mail.High) > 0
	case mail.Normal:
		return q.waiting(mail.High)+q.waiting(mail.Normal) > 0 || q.waiting(mail.Bulk) > 0 && q.passed >= bulkTurn
	}
	return q.lanes > 0
}

// first is the lane whose turn it is.
func (q *turns) first() *lane { return q.classes[q.next()].first() }

func (q *turns) pop() *lane {
	q.lanes--
	return q.classes[q.next()].pop()
}

func (q *turns) push(ln *lane) {
	t := q.classes[ln.Class]
	if t == nil {
		t = new(tenantTurns)
		q.classes[ln.Class] = t
	}
	q.lanes++
	t.push(ln)
}

// served counts n starts for a lane's turns.
func (q *turns) served(ln *lane, n int64) {
	if t := q.classes[ln.Class]; t != nil {
		t.served(ln, n)
	}
	switch {
	case ln.Class == mail.Bulk && q.waiting(mail.High)+q.waiting(mail.Normal) > 0:
		q.passed -= n * bulkTurn // below nothing, where it took more than it was due
	case ln.Class == mail.Bulk, q.waiting(mail.Bulk) == 0:
		q.passed = 0
	case ln.Class == mail.Normal:
		q.passed += n
	}
}

// returned takes back n starts that a lane was given and made no use of.
func (q *turns) returned(ln *lane, n int64) {
	if t := q.classes[ln.Class]; t != nil {
		t.served(ln, -n)
	}
}

// most is how many starts a lane of that class may have in one turn, as far as others wait.
func (q *turns) most(c mail.Class) int64 {
	if c == mail.Bulk && q.waiting(mail.High)+q.waiting(mail.Normal) > 0 {
		return max(1, q.passed/bulkTurn)
	}
	return 1 << 30
}

// tenantTurns is the queue of one class. Each tenant has a clock that runs by what it
// was given over its weight, and the one whose clock is behind goes first: so that each
// has its part of whatever room there is, in whatever pieces it comes.
type tenantTurns struct {
	waiting tenantHeap
	only    tenantTurn             // the first tenant that came
	known   map[string]*tenantTurn // the others, also those that have just gone, with their clocks
	clock   float64                // of the tenant that was last served, before it was
	count   uint64
	lanes   int
}

// tenantTurn is one tenant's lanes in it.
type tenantTurn struct {
	tenant string
	clock  float64
	since  uint64 // of two with the same clock the one that came first
	lanes  laneQueue
	at     int // in the heap; -1: nothing waits
	used   bool
}

func (q *tenantTurns) first() *lane { return q.waiting[0].lanes.first() }

func (q *tenantTurns) push(ln *lane) {
	q.lanes++
	t := q.tenant(ln.Tenant)
	t.lanes.push(ln)
	if t.at < 0 {
		q.count++
		t.clock, t.since = max(t.clock, q.clock), q.count
		heap.Push(&q.waiting, t)
	}
}

func (q *tenantTurns) pop() *lane {
	q.lanes--
	t := q.waiting[0]
	ln := t.lanes.pop()
	if t.lanes.len() == 0 {
		heap.Pop(&q.waiting)
	}
	return ln
}

// tenant finds a tenant's turns.
func (q *tenantTurns) tenant(name string) *tenantTurn {
	switch {
	case !q.only.used:
		q.only = tenantTurn{tenant: name, at: -1, used: true}
		return &q.only
	case q.only.tenant == name:
		return &q.only
	case q.known == nil:
		q.known = map[string]*tenantTurn{}
	}
	t := q.known[name]
	if t == nil {
		q.forget()
		t = &tenantTurn{tenant: name, at: -1}
		q.known[name] = t
	}
	return t
}

// forget drops tenants whose clocks say nothing any more, when there are many.
func (q *tenantTurns) forget() {
	if len(q.known) < 16 || len(q.known) < 2*len(q.waiting) {
		return
	}
	for name, t := range q.known {
		if t.at < 0 && t.clock <= q.clock {
			delete(q.known, name)
		}
	}
}

func (q *tenantTurns) served(ln *lane, n int64) {
	if q.only.tenant != ln.Tenant && q.known[ln.Tenant] == nil {
		return // it has not waited
	}
	t := q.tenant(ln.Tenant)
	if n > 0 {
		q.clock = max(q.clock, t.clock)
	}
	t.clock += float64(n) / float64(ln.weight)
	if t.at >= 0 {
		heap.Fix(&q.waiting, t.at)
	}
}

// tenantHeap has the tenant whose clock is behind in front.
type tenantHeap []*tenantTurn

func (h tenantHeap) Len() int { return len(h) }
func (h tenantHeap) Less(i, j int) bool {
	if h[i].clock != h[j].clock {
		return h[i].clock < h[j].clock
	}
	return h[i].since < h[j].since
}
func (h tenantHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *tenantHeap) Push(x any) {
	t := x.(*tenantTurn)
	t.at = len(*h)
	*h = append(*h, t)
}
func (h *tenantHeap) Pop() any {
	o := *h
	t := o[len(o)-1]
	o[len(o)-1] = nil
	*h = o[:len(o)-1]
	t.at = -1
	return t
}

// laneQueue is first in, first out.
type laneQueue struct {
	lanes []*lane
	from  int
}

func (q *laneQueue) len() int     { return len(q.lanes) - q.from }
func (q *laneQueue) first() *lane { return q.lanes[q.from] }

func (q *laneQueue) push(ln *lane) {
	if q.from == len(q.lanes) {
		q.lanes, q.from = q.lanes[:0], 0
	}
	if q.from > 32 && q.from > len(q.lanes)/2 {
		n := copy(q.lanes, q.lanes[q.from:])
		clear(q.lanes[n:])
		q.lanes, q.from = q.lanes[:n], 0
	}
	q.lanes = append(q.lanes, ln)
}

func (q *laneQueue) pop() *lane {
	ln := q.lanes[q.from]
	q.lanes[q.from] = nil
	q.from++
	return ln
}
