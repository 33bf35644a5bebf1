package deliverer

import (
	"sync/atomic"

	"github.com/tarishi/tarishi/replies"
)

// Snapshot is what a Deliverer has done since it was made, and what it holds now.
type Snapshot struct {
	Attempts  uint64 // deliveries attempted
	Delivered uint64 // recipients a remote took responsibility for
	Deferred  uint64 // recipients to be tried again
	Failed    uint64 // recipients given up, expired ones included
	Expired   uint64 // of those, the ones whose time was up

	Classes []ClassCount // deferred and failed recipients by bounce class, those that were seen

	Parked         uint64 // deliveries given back without an attempt
	PermitsRefused uint64 // of those, the ones whose window was shut
	Holds          uint64 // times that a window was found shut for long
	Released       uint64 // deliveries given back untouched: shutdown, a claim lost

	ConnectionsOpen    int64
	ConnectionsOpened  uint64
	ConnectionFailures uint64 // addresses that did not let us in
	Reused             uint64 // transactions on a connection that had carried one before
	Stale              uint64 // reused connections found dead
	Plaintext          uint64 // connections made without TLS after its handshake failed
	GatesShut          uint64 // destinations found dead, probes included
	GatesOpened        uint64

	PermitsTaken    uint64 // from the scheduler, for transactions and new connections
	PermitsUsed     uint64 // of those, begun
	PermitsReturned uint64 // given back unused
	PermitsExpired  uint64 // void when they were to be used
	LateStarts      uint64 // begun, but later than allowed: a limit may have been exceeded
	SlotsHeld       int    // connections that the scheduler has lent us now
	LeasesCut       uint64 // connections cut at work because their lease ran out
	Live            bool   // something may start: there is no scheduler, or its session lives

	Notices       uint64 // DSNs stored: failures and relays
	DelayNotices  uint64
	NoticesFailed uint64 // could not be stored
	Rerouted      uint64 // deliveries that a reply sent by another route
	PutOff        uint64 // deliveries that a plugin has put off
	Dropped       uint64 // recipients that a plugin wants not tried again, and nobody told
	Untold        uint64 // deliveries made of which plugins were not told: they could not follow
	Unasked       uint64 // attempts after which plugins were not asked: too many waited for them
	Suppressed    uint64 // recipients failed without an attempt, because they are on the suppression list
	Swallowed     uint64 // failures nobody is told of: null sender, NOTIFY=NEVER

	Hand      int   // deliveries held
	HandBytes int64 // octets of their messages
	Lanes     int   // destinations in memory
}

type metrics struct {
	classes                                           [len(replies.Classes)][2]atomic.Uint64 // deferred, failed
	attempts, delivered, deferred, failed, expired    atomic.Uint64
	parked, released                                  atomic.Uint64
	permitsRefused, holds                             atomic.Uint64
	permitsTaken, permitsUsed, permitsReturned        atomic.Uint64
	permitsExpired, lateStarts, leasesCut             atomic.Uint64
	open                                              atomic.Int64
	opened, connectFailures, reused, stale, plaintext atomic.Uint64
	shut, reopened                                    atomic.Uint64
	notices, delayNotices, noticesFailed, swallowed   atomic.Uint64
	suppressed, rerouted                              atomic.Uint64
	putOff, dropped, untold, unasked                  atomic.Uint64
}

// Stats returns the counters. Any goroutine may call it.
func (d *Deliverer) Stats() Snapshot {
	m := &d.met
	s := Snapshot{
		Attempts: m.attempts.Load(), Delivered: m.delivered.Load(), Deferred: m.deferred.Load(),
		Failed: m.failed.Load(), Expired: m.expired.Load(), Classes: m.byClass(),
		Parked: m.parked.Load(), PermitsRefused: m.permitsRefused.Load(), Holds: m.holds.Load(),
		PermitsTaken: m.permitsTaken.Load(), PermitsUsed: m.permitsUsed.Load(), PermitsReturned: m.permitsReturned.Load(),
		PermitsExpired: m.permitsExpired.Load(), LateStarts: m.lateStarts.Load(), LeasesCut: m.leasesCut.Load(),
		Live:            d.c.Scheduler == nil || d.c.Scheduler.Live(),
		Released:        m.released.Load(),
		ConnectionsOpen: m.open.Load(), ConnectionsOpened: m.opened.Load(),
		ConnectionFailures: m.connectFailures.Load(), Reused: m.reused.Load(), Stale: m.stale.Load(),
		Plaintext: m.plaintext.Load(), GatesShut: m.shut.Load(), GatesOpened: m.reopened.Load(),
		Notices: m.notices.Load(), DelayNotices: m.delayNotices.Load(),
		NoticesFailed: m.noticesFailed.Load(), Swallowed: m.swallowed.Load(), Suppressed: m.suppressed.Load(), Rerouted: m.rerouted.Load(),
		PutOff: m.putOff.Load(), Dropped: m.dropped.Load(), Untold: m.untold.Load(), Unasked: m.unasked.Load(),
	}
	d.mu.Lock()
	s.Hand, s.HandBytes, s.Lanes, s.SlotsHeld = d.hand, d.bytes, len(d.lanes), len(d.slotted)
	d.mu.Unlock()
	return s
}
