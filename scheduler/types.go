package scheduler

import (
	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// Time is cluster time in nanoseconds: the clock of the leader of a term. It never
// goes back within a term, and at a change of leader it may fall behind but never
// jumps ahead. It says nothing about the wall clock. See clock.go.
type Time int64

// SessionID names one run of one deliverer. The replicated state gives it; 0 is none.
type SessionID uint64

// SlotID names one connection slot. Ids are never used again, in any term.
type SlotID uint64

// GrantID names one grant. Ids are never used again, in any term.
type GrantID uint64

// Kind says what a lane's permits are for.
type Kind uint8

// The kinds. A Connection lane has the slots, too.
const (
	Transaction Kind = iota // MAIL FROM and its RCPT TO: messages and recipients
	Connection              // a new connection: new_connections and connections
)

// Lane is what one demand is about. Everything that bounds it is found from it by
// the rules in force.
type Lane struct {
	Dest   shaping.Destination
	Source string
	Tenant string
	Class  mail.Class // of a Connection always the zero one: mail of all classes shares connections
	Kind   Kind
}

// Hello opens a session's connection to a leader, or opens it anew. What a session
// does not claim it does not hold: orders that were lost with an older connection
// are void, and the session takes nothing from an older connection any more.
type Hello struct {
	Session SessionID
	Term    uint64 // of the leader it speaks to; from now on it takes nothing of an older one
	Conn    uint64 // counts the session's connections, with whomever; higher is newer
	Version uint64 // of the rules it works by; 0: none yet
	Slots   []SlotClaim
	Parts   []Part
}

// SlotClaim is a slot that a session holds.
type SlotClaim struct {
	ID   SlotID
	Lane Lane
}

// Beat says what a session wants and what became of what it was given. Beats of a
// connection come in the order of their Seq; one that comes twice does no harm.
type Beat struct {
	Session  SessionID
	Conn     uint64 // of the Hello before; beats of an older connection are ignored
	Seq      uint64
	Version  uint64     // of the rules it works by for everything it starts; see Leader.InForce
	Wants    []Want     // absolute: replaces the last one of the same lane; N 0: nothing. All of them, after a Hello and with a new Version
	Uses     []Use      // totals by grant, so that saying them twice does no harm
	Slots    []SlotWant // the same
	Closed   []SlotID   // connections that are closed, for certain
	Parts    bool       // it drains WAIT and wants its share of partitions
	Gone     []Part     // revoked partitions that it has let go of, with their epochs
	Draining bool       // it is about to leave: nothing new, and partitions back
}

// Want asks for N transactions with so many recipients in all, of which the first
// one has Head. In a Connection lane N is connections and the rest is 0.
type Want struct {
	Lane       Lane
	N          int
	Recipients int
	Head       int
}

// Use is what became of a grant, in totals since it was given.
type Use struct {
	Grant              GrantID
	Started            int
	Recipients         int  // of those started
	At                 Time // when the last one started, at the latest: the upper bound of the clock, read after it
	Returned           int  // will never be started
	ReturnedRecipients int
	Late               int // of Started: began after the grant's end, see Holdings.Began
}

// SlotWant is how many slots a session wants to hold on a lane, those it holds
// included.
type SlotWant struct {
	Lane Lane
	N    int
}

// Order is one thing the leader says to a session. Exactly one field is set.
type Order struct {
	Grant   *Grant
	Slot    *Slot
	EndSlot SlotID // close it after the transaction under way: another waits
	Part    *Part
	EndPart *Part // let go of it, then say so in Gone
	Hold    *Hold
}

// Grant is the right to start N transactions, or connections, and to name
// Recipients recipients in all, from NotBefore to NotAfter.
type Grant struct {
	ID         GrantID
	Term       uint64
	Lane       Lane
	N          int
	Recipients int
	NotBefore  Time
	NotAfter   Time
}

// Slot is the right to hold one connection open, as long as the session's lease.
type Slot struct {
	ID   SlotID
	Lane Lane
}

// Part is a partition of WAIT, held as long as the session's lease. Whoever holds
// it later has a higher epoch.
type Part struct {
	N     uint32
	Epoch uint64
}

// Hold says that a lane gets nothing before NotBefore, and why, so that nobody need
// ask. NotBefore 0: it is not known when.
type Hold struct {
	Lane      Lane
	NotBefore Time
	Why       string
}

// Live is one window, or one limit of connections, as it stands.
type Live struct {
	Counter  string
	Unit     shaping.Field
	Max      int
	Kept     int  // of Max: for class high alone
	Length   Time // 0: a limit of connections
	Used     int  // started within the window; connections held
	InFlight int  // granted, not yet known to have started; connections closing
	Waiting  int  // wanted by sessions and not granted
	Next     Time // when room appears for others than class high; 0: there is room
	From     shaping.RuleRef

	// Of a limit in shadow, which holds nothing:
	Shadow  bool
	Since   Time // it has counted from then on
	Started int  // so many starts since
	Held    int  // of which it would have held so many; Used are those of the others that are in the window
}

// SessionInfo is one session of the replicated state.
type SessionInfo struct {
	ID   SessionID
	Node string // the name of the node that runs it
}
