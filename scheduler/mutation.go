package scheduler

// mutation names a safety rule that is switched off, to show that the simulator
// notices. The zero value is the product.
type mutation uint8

const (
	noTail           mutation = iota + 1 // a new term forgets what the old one had reserved
	noShortWait                          // and does not wait for the old permits in short windows
	grantUncommitted                     // grants from reservations that are not committed
	recvLease                            // a session counts the leader's clock from receipt, not from its request
	noExpiry                             // a session ignores the end of grants
	noNotBefore                          // and their beginning
	dupReturn                            // reports are added up, as often as they come
	wallClock                            // a new leader's clock may run ahead
	releaseAtGrant                       // starts count from the grant, not from their use
	noDrift                              // windows are not widened
	openForever                          // grants outlive the horizon
	clockMax                             // a follower's bound mixes terms
	noMax                                // a session's upper bound ignores the lower one
	noFence                              // sessions take grants of older terms
	noFenceNoMax
	slotsAtOnce   // a new leader takes the slots of sessions it has not heard for free
	slotRecvLease // a session counts its lease from receipt
	forceEarly    // a change is answered before cut-off sessions have lapsed
	lostHistory   // a change of the rules forgets the past
	partsAtOnce   // a revoked partition goes to another before it is let go of
	noProof       // a session believes a clock that it has no proof of
	deadAlive     // the session of a process that lives is taken for a dead one's
	noReserve     // mail of any class uses what is kept for class high
)
