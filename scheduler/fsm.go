package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tarishi/tarishi/shaping"
)

// FSM is what every scheduler node holds. It changes by Apply alone, and the same
// commands in the same order make the same FSM on every node. It is not safe for
// concurrent use, and a Leader reads it: whoever owns both holds one mutex.
type FSM struct {
	p       Params
	cluster string

	term     uint64 // counts the TermStarts: a leader's name in everything
	raftTerm uint64 // of the last TermStart
	seq      uint64 // of the last Tick in this term
	clock    Time   // the last stamp

	// No permit outlives horizon, in any term so far. The old one is what it was at
	// the last TermStart: it bounds what older terms gave.
	horizon, oldHorizon Time
	lease               Time // of sessions that are there

	book  *shaping.Book
	table *shaping.Table

	lastSession SessionID
	sessions    map[SessionID]*seat

	lastCounter uint64
	byName      map[string]*past // the counters
	order       []*past          // by id; may hold some that are forgotten
	forgotten   int              // so many
}

// seat is a session in the replicated state.
type seat struct {
	node  string
	lease Time           // it does not work past it, whoever leads
	slots map[uint64]int // by counter: how many connections it holds at most
}

// past is the history of one counter, or, for a limit of connections, its name alone.
type past struct {
	id     uint64
	name   string
	keep   Time
	open   int64 // reserved in this term: may have started, or may yet
	tailed bool  // something was reserved when the term began
	gone   bool  // forgotten
	held   int   // sessions that may hold slots of it
	cells  []cell
}

// NewFSM makes the empty state.
func NewFSM(p Params) *FSM {
	f := &FSM{p: p, sessions: map[SessionID]*seat{}, byName: map[string]*past{}}
	f.setBook(&shaping.Book{})
	return f
}

// setBook makes b the book in force; an error leaves the old one.
func (f *FSM) setBook(b *shaping.Book) error {
	t, err := b.Table()
	if err == nil {
		f.book, f.table = b, t
	}
	return err
}

// Book is the limits in force. It is not changed any more.
func (f *FSM) Book() *shaping.Book { return f.book }

// Table is the Book's, ready for questions.
func (f *FSM) Table() *shaping.Table { return f.table }

// Stamp is the term and the latest clock stamp of its leader, for Follower.Observe.
func (f *FSM) Stamp() (term uint64, clock Time) { return f.term, f.clock }

// Cluster is the name of the cluster; empty before ClusterInit.
func (f *FSM) Cluster() string { return f.cluster }

// Sessions lists the sessions that have joined and not left, by id.
func (f *FSM) Sessions() []SessionInfo {
	out := make([]SessionInfo, 0, len(f.sessions))
	for _, id := range slices.Sorted(maps.Keys(f.sessions)) {
		out = append(out, SessionInfo{id, f.sessions[id].node})
	}
	return out
}

// Apply works in one committed entry of the log. TermStart returns the new term
// (uint64), Join the SessionID, Change the Book's new version (uint64); the others
// nil. An error says why the command changes nothing; every node gets the same one.
func (f *FSM) Apply(raftTerm uint64, c *Command) (any, error) {
	switch c.Type {
	case TermStart:
		return f.startTerm(raftTerm, c)
	case Tick:
		return nil, f.tick(c)
	case Join:
		f.lastSession++
		f.sessions[f.lastSession] = &seat{node: c.Node, lease: f.lease, slots: map[uint64]int{}}
		return f.lastSession, nil
	case Change:
		b, err := f.book.Apply(*c.Change)
		if err != nil {
			return nil, err
		}
		if err := f.setBook(b); err != nil {
			return nil, err
		}
		return b.Version, nil
	case ClusterInit:
		switch {
		case c.Cluster == "":
			return nil, errors.New("a cluster needs a name")
		case f.cluster != "" && f.cluster != c.Cluster:
			return nil, fmt.Errorf("this is the cluster %q already and will not become %q", f.cluster, c.Cluster)
		}
		f.cluster = c.Cluster
		return nil, nil
	case Import:
		return nil, f.takeOver(c)
	}
	return nil, fmt.Errorf("command of type %d: %w", c.Type, ErrNewer)
}

// startTerm begins the term of a new leader. Whatever older terms had reserved may
// have been used up to the horizon, and counts as used then.
func (f *FSM) startTerm(raftTerm uint64, c *Command) (any, error) {
	// Its clock was read before the log went on to another term, whose leader's clock
	// may be behind it.
	if c.RaftTerm != raftTerm || raftTerm < f.raftTerm {
		return nil, ErrStale
	}
	f.term++
	f.raftTerm, f.seq, f.clock = raftTerm, 0, c.Clock
	f.oldHorizon = f.horizon
	for _, h := range f.order {
		h.tailed = h.open > 0
		if h.tailed && f.p.broken != noTail {
			h.cells = addStart(h.cells, f.horizon, h.open)
		}
		h.open = 0
	}
	return f.term, nil
}

// tick works in what the leader of this term has to say. One of another term must
// change nothing: it would move reservations that are not its own.
func (f *FSM) tick(c *Command) error {
	if c.Term != f.term {
		return ErrStale
	}
	if c.Seq != f.seq+1 {
		return ErrGap
	}
	f.seq = c.Seq
	f.clock = max(f.clock, c.Clock)
	f.horizon = max(f.horizon, c.Horizon)
	if c.Lease > f.lease {
		f.lease = c.Lease
		for id, s := range f.sessions {
			if !slices.Contains(c.Absent, id) {
				s.lease = c.Lease
			}
		}
	}
	known := true
	for i := range c.Recs {
		known = f.record(&c.Recs[i]) && known
	}
	for i := range c.Slots {
		known = f.slot(&c.Slots[i]) && known
	}
	for _, id := range c.Leaves {
		if s := f.sessions[id]; s != nil {
			for counter := range s.slots {
				f.past(counter).held--
			}
			delete(f.sessions, id)
		}
	}
	if !known {
		return errUnknown
	}
	return nil
}

// errUnknown stops a leader that does not know what the log says.
var errUnknown = errors.New("an entry speaks of a counter that is not there")

func (f *FSM) record(r *Rec) bool {
	h := f.counter(r.ID, r.Name)
	if h == nil {
		return false
	}
	if r.Keep > 0 {
		h.keep = r.Keep
	}
	h.open += r.Add
	before := len(h.cells)
	for _, s := range r.Close {
		h.cells = addStart(h.cells, s.At, s.N)
		h.open -= s.N
	}
	// Every 32 cells; a rule that looks at the state alone, so that a restored node
	// thins when the others do.
	if before/32 != len(h.cells)/32 {
		h.cells = thin(h.cells, f.clock, h.keep)
	}
	if r.Forget && h.idle(f.clock) {
		h.gone = true
		delete(f.byName, h.name)
		if f.forgotten++; f.forgotten > 64 && f.forgotten > len(f.order)/2 {
			f.order = slices.DeleteFunc(f.order, func(h *past) bool { return h.gone })
			f.forgotten = 0
		}
	}
	return true
}

// idle tells whether the counter may be forgotten.
func (h *past) idle(now Time) bool {
	n := len(h.cells)
	return h.open == 0 && h.held == 0 && (n == 0 || h.cells[n-1].at+h.keep < now)
}

// past finds a counter; nil: there is none of that id.
func (f *FSM) past(id uint64) *past {
	i, ok := slices.BinarySearchFunc(f.order, id, func(h *past, id uint64) int { return cmp.Compare(h.id, id) })
	if !ok || f.order[i].gone {
		return nil
	}
	return f.order[i]
}

// counter finds a counter, or begins one that is named.
func (f *FSM) counter(id uint64, name string) *past {
	h := f.past(id)
	if h == nil && name != "" && id > f.lastCounter && f.byName[name] == nil {
		h = &past{id: id, name: name, keep: f.p.Keep}
		f.lastCounter = id
		f.byName[name] = h
		f.order = append(f.order, h)
	}
	return h
}

func (f *FSM) slot(r *SlotRec) bool {
	h, s := f.counter(r.ID, r.Name), f.sessions[r.Session]
	if h == nil {
		return false
	}
	if s == nil {
		return true // it has left
	}
	if s.slots[h.id] > 0 {
		h.held--
	}
	delete(s.slots, h.id)
	if r.Most > 0 {
		s.slots[h.id] = r.Most
		h.held++
	}
	return true
}
