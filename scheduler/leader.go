package scheduler

// Leader decides. One goroutine drives it, with the time of its clock in hand. It
// reads the FSM and changes it never; what must be known to the next leader goes
// through Tick.
type Leader struct {
	p Params
	f *FSM
}

// NewLeader begins a term, once this node's own TermStart has been applied to f and
// returned term. now is the leader's clock (see LeaderClock).
func NewLeader(p Params, f *FSM, term uint64, now Time) *Leader { return &Leader{p: p, f: f} }

// Term is the leader's. Every order is of it.
func (l *Leader) Term() uint64 { return 0 }

// Hello opens a session's connection. False: the session is not known (any more) and
// must join anew, or the Hello is for another term.
func (l *Leader) Hello(now Time, h Hello) bool { return false }

// Beat works in what a session says. A session that is not known, or has not said
// Hello, is ignored.
func (l *Leader) Beat(now Time, b Beat) {}

// Cut says that a session's connection is broken: what it wanted is dropped, what it
// holds stands until it comes back or its lease is over.
func (l *Leader) Cut(now Time, s SessionID, conn uint64) {}

// Bye ends a session that holds nothing any more.
func (l *Leader) Bye(now Time, s SessionID) {}

// Turn hands out what there is. It is called every 10 ms, and may be sooner when
// something came in. Orders go to the session's newest connection, in their order.
func (l *Leader) Turn(now Time, emit func(SessionID, Order)) {}

// Tick returns the next entry for the log, or nil when there is nothing to write. It
// is called after every Turn. When the entry can not be committed (any error), this
// Leader is of no use any more: begin a new term, or step down.
func (l *Leader) Tick(now Time) *Command { return nil }

// Committed says that a Tick's entry has been applied here without error.
func (l *Leader) Committed(now Time, c *Command) {}

// Changed says that the Book, or the set of sessions, has changed by an applied entry
// that is no Tick.
func (l *Leader) Changed(now Time) {}

// Lease renews nothing: it is until when the session may work. Every answer to a
// session carries it. 0: the session is not known and must join anew.
func (l *Leader) Lease(s SessionID) Time { return 0 }

// InForce tells whether every start from now on obeys the rules of that version: all
// sessions work by them or have lapsed, permits of older rules are dead, and no
// limit of connections is exceeded. waiting are the sessions it waits for.
func (l *Leader) InForce(version uint64, now Time) (done bool, waiting []SessionID) {
	return false, nil
}

// Live lists the windows and connection limits that are in use.
func (l *Leader) Live(now Time) []Live { return nil }

// Drain stops all handing out, before the leadership is given away. It is called
// again and again, with Turn and Tick going on, until it returns true: then nothing
// is outstanding and the log is exact, so that the next leader need not wait.
func (l *Leader) Drain(now Time) bool { return true }
