package deliverer

import (
	"time"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/shaping"
)

// Scheduler says what may start where limits hold for a whole cluster. None of its
// methods waits or calls back, and all may be called by any goroutine: they are
// called with the deliverer's lock held. What has changed it says by calling
// Deliverer.News and Deliverer.RulesChanged, with whatever lock held.
type Scheduler interface {
	// Live tells whether anything may start at all, limited or not: a process that is
	// cut off cannot know that a limit was set a moment ago.
	Live() bool
	// Version is that of the rules in force here. What Destination and Limits have
	// said holds as long as it stays the same.
	Version() uint64
	// Destination is whose limits bind mail for domain with these mail hosts; mx is
	// nil when a route of ours or the domain's own address says where it goes.
	Destination(domain mail.Domain, mx []string) shaping.Destination
	// Limits says what has to be asked for.
	Limits(to shaping.Destination, tenant string, class mail.Class) Limits
	// Weight is a tenant's part against the others' where not all mail can go: 1 or more.
	Weight(tenant string) int
	// Permits, Dials and Slots are asked for each transaction, each new connection
	// and each connection that stands, where Limits says so.
	Permits(to shaping.Destination, tenant string, class mail.Class) Permits
	Dials(to shaping.Destination) Permits
	Slots(to shaping.Destination) Slots
}

// Limits says what binds one tenant's mail of one class for one destination.
// Connections are shared by all: what is said of them is the same for everybody.
type Limits struct {
	Permits bool // a transaction needs a permit
	Tenants bool // permits count by tenant: while one's window is shut, another's may be open
	Dials   bool // a new connection needs a permit
	Slots   bool // a connection needs a slot as long as it stands

	Connections   int // in the whole cluster; only with Slots
	PerConnection int // transactions on a connection; 0: Config.Rules decide
	MaxRecipients int // more are never permitted in one transaction; 0: any number

	Suspended bool      // nothing may start
	Until     time.Time // then it may again; zero: not before the rules change
	Why       string
}

// Permits is where the rights to start come from, for one destination and one
// tenant's mail of one class.
type Permits interface {
	// Want says how many could start now if there were permits for all: those in hand
	// and not taken yet included, for so many recipients in all, head of them in the
	// first. It replaces what was said before; Take counts down by itself. 0 gives back
	// what is in hand.
	Want(n, recipients, head int)
	// Ready is how many could be taken now; with none, when to come again.
	Ready() (int, Hold)
	// Take takes one for so many recipients; nil: none now, come again after Hold.
	Take(recipients int) (Permit, Hold)
}

// Permit is the right to start one transaction, or to open one connection, soon.
type Permit interface {
	// Begin is called right before the first octet leaves. After an error the permit
	// is void and nothing may leave.
	Begin() error
	// Began is called right after: the use counts from now. late tells that it was
	// too late.
	Began() (late bool)
	// Return gives back a permit that was not begun.
	Return()
	// Limits names what it counts under, for the log: "messages 1000/1h".
	Limits() string
}

// Hold is why nothing may start, and until when. Its zero value: nothing is known
// yet; there will be news.
type Hold struct {
	NotBefore time.Time
	Why       string
}

// Slots is where the rights to keep a connection come from, for one destination.
type Slots interface {
	// Want says how many we want to hold, those we hold included. It replaces what
	// was said before; slots granted beyond it and not taken go back.
	Want(n int)
	// Ready is how many could be taken now.
	Ready() int
	// Take returns nil when there is none.
	Take() Slot
}

// Slot is the right to keep one connection open. It is leased.
type Slot interface {
	// MayStart tells whether the lease leaves time for another transaction.
	MayStart() bool
	// Ending tells that somebody else waits for it: to be closed after the
	// transaction under way.
	Ending() bool
	// Deadline is when the socket must be closed, whatever is under way. It moves
	// with the lease.
	Deadline() time.Time
	// Close is called once the socket is closed.
	Close()
}
