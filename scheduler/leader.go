package scheduler

import (
	"hash/maphash"

	"github.com/tarishi/tarishi/shaping"
)

// Leader decides. One goroutine drives it, with the time of its clock in hand. It
// reads the FSM and changes it never; what must be known to the next leader goes
// through Tick.
//
// Why no window is ever exceeded: every start that is granted counts as made at the
// grant's end until a session says when it was, and in the log it is reserved before
// it is granted. So a later leader finds each start of older terms in the history, or
// counts the whole reservation as used at the horizon, which no grant outlives.
type Leader struct {
	p        Params
	f        *FSM
	term     uint64
	start    Time
	table    *shaping.Table
	version  uint64
	heaviest int32 // weight of any tenant
	drained  bool  // nothing is handed out any more

	horizon     Time // committed: no grant outlives it
	horizonSent Time // in an entry under way
	back        bool // a session needs more
	leaseSent   Time // the latest end of leases in the log, or in an entry under way

	seed      maphash.Seed
	lanes     map[uint64]*lane // by the hash of the Lane, which is large
	laneList  []*lane
	sweptLane int
	counters  map[string]*counter
	list      []*counter
	swept     int
	sweptPast int

	trials  map[string]*trial // counters of limits in shadow
	triedAt Time              // when those to be forgotten were last looked for

	origins map[shaping.RuleRef]*origin

	forgetting map[uint64]bool // counters of the log: an entry that forgets them is under way

	nextCounter uint64
	nextGrant   GrantID
	nextSlot    SlotID
	nextEpoch   uint64
	grants      grantRing

	ready     [3][]*lane // may be served now, in turn, by class
	sleep     sleepers   // full windows with waiting lanes, by when room appears
	touched   []*counter
	noHorizon []*lane // waiting for a later horizon
	rehold    []*want
	demand    Time // when something was last granted, or wanted a horizon

	dirty    []*counter // to be written
	hungry   bool       // somebody waits for the log
	pool     []*counter // with something reserved
	flights  []flight   // entries under way, oldest first
	seq      uint64
	written  Time // when the last entry was built
	led      Time // when the last one that was committed was
	checked  Time // when idle reservations were last looked for
	leavers  []SessionID
	sessions map[SessionID]*session
	roll     []*session // the same, in the order of joining
	versions []effect

	slots slotDesk
	parts partDesk

	emit func(SessionID, Order) // during Turn

	granted, starts, late, batches int64
}

// effect says when grants given under older rules than version are dead.
type effect struct {
	version uint64
	dead    Time
}

// NewLeader begins a term, once this node's own TermStart has been applied to f and
// returned term. now is the leader's clock (see LeaderClock).
func NewLeader(p Params, f *FSM, term uint64, now Time) *Leader {
	l := &Leader{
		p: p, f: f, term: term, start: now, table: f.table, version: f.book.Version, heaviest: int32(f.table.Shares().Heaviest()),
		seed: maphash.MakeSeed(), lanes: map[uint64]*lane{}, counters: map[string]*counter{}, trials: map[string]*trial{}, sessions: map[SessionID]*session{},
		origins: map[shaping.RuleRef]*origin{}, forgetting: map[uint64]bool{}, nextCounter: f.lastCounter, leaseSent: f.lease,
		// In this term's name, so that no id is ever given twice.
		nextGrant: GrantID(term << 40), nextSlot: SlotID(term << 40), nextEpoch: term << 32,
	}
	// Grants of older terms end on the clocks of those terms, which may come to lag
	// behind this one meanwhile.
	l.versions = []effect{{l.version, f.oldHorizon + p.drift(p.Horizon+Second)}}
	l.grants.base = l.nextGrant + 1
	l.slots.init()
	l.parts.init(p)
	for _, s := range f.Sessions() {
		l.join(s.ID, true)
	}
	return l
}

// Led is when, by its clock, it certainly led: when it stamped the newest entry that the
// log has taken. Every answer to a session carries it.
func (l *Leader) Led() Time { return l.led }

// Term is the leader's. Every order is of it.
func (l *Leader) Term() uint64 { return l.term }

// Turn hands out what there is. It is called every 10 ms, and may be sooner when
// something came in. Orders go to the session's newest connection, in their order.
func (l *Leader) Turn(now Time, emit func(SessionID, Order)) {
	l.emit = emit
	defer func() { l.emit = nil }()
	l.lapse(now)
	if l.drained {
		return
	}
	l.rekey(now)
	for len(l.sleep) > 0 && l.sleep[0].wake <= now+l.p.Lookahead {
		l.wake(l.sleep.pop(), now)
	}
	l.serveReady(now)
	for _, w := range l.rehold {
		w.stale = false
		if w.ln != nil && w.ln.state == laneWaiting {
			l.hold(w, w.ln.on, w.ln.on.wake, now)
		}
	}
	l.rehold = l.rehold[:0]
	l.turnSlots(now)
	l.turnParts(now)
}

// Changed says that the Book, or the set of sessions, has changed by an applied entry
// that is no Tick.
func (l *Leader) Changed(now Time) {
	for _, s := range l.f.Sessions() {
		if l.sessions[s.ID] == nil {
			l.join(s.ID, false).born = now
		}
	}
	if l.f.book.Version == l.version {
		return
	}
	l.table, l.version, l.heaviest = l.f.table, l.f.book.Version, int32(l.f.table.Shares().Heaviest())
	l.origins = map[shaping.RuleRef]*origin{}
	// Grants out under the old rules die with their ends, those of older terms with
	// theirs; what sessions want they say anew, once they work by the new ones.
	dead := max(l.versions[len(l.versions)-1].dead, min(l.horizon, now+l.p.Lookahead+l.p.Life))
	l.versions = append(l.versions, effect{l.version, dead})
	if n := len(l.versions); n > 64 && l.versions[n-2].dead <= now {
		l.versions = append(l.versions[:0], l.versions[n-1])
	}
	l.forgetWants()
	l.rebindSlots(now)
}

// Drain stops all handing out, before the leadership is given away. It is called
// again and again, with Turn and Tick going on, until it returns true: then nothing
// is outstanding and the log is exact, so that the next leader need not wait.
func (l *Leader) Drain(now Time) bool {
	if !l.drained {
		l.drained = true
		l.forgetWants()
		l.checked = 0
	}
	return len(l.flights) == 0 && len(l.pool) == 0 && len(l.dirty) == 0 && len(l.leavers) == 0
}
