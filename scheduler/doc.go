// Package scheduler answers "may this start now, anywhere in the cluster?". One
// leader hands out permits (the right to start N transactions between two
// instants), connection slots (leases) and partitions of WAIT, so that no window
// of any destination ever holds more starts than it allows, whatever crashes.
//
// The core is pure: FSM is the replicated state and changes by Apply alone, Leader
// decides from it in memory, Holdings is what a deliverer has in hand. Time is a
// value (see Time); there is no goroutine and no clock in them, so that the
// simulator of the tests drives the very code that is shipped. Server and Client
// carry it over connections.
//
// It never reads a queue, never opens a connection to a remote, and trusts no wall
// clock.
package scheduler
