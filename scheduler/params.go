package scheduler

// Units of Time.
const (
	Microsecond = Time(1000)
	Millisecond = 1000 * Microsecond
	Second      = 1000 * Millisecond
	Minute      = 60 * Second
	Hour        = 60 * Minute
)

// Params are the protocol's constants. Every node of a cluster must have the same
// ones; DefaultParams gives them.
type Params struct {
	Rho         float64 // how far a clock's rate may be off, either way
	Horizon     Time    // no permit outlives the committed horizon, which is so far ahead
	Lookahead   Time    // how far in the future a permit may begin
	Life        Time    // of a permit, from its beginning
	Margin      Time    // the longest stall between a look at the clock and the write that follows
	ShortWindow Time    // up to this length a new leader starts windows full, see Leader
	Lease       Time    // of a session, from the leader's last answer to it
	Quit        Time    // before the end of its lease a session starts no more transactions
	Keep        Time    // how long the history of a counter is kept, at least
	SlotRest    Time    // between a confirmed close and the slot's next use
	SlotTurn    Time    // how long a slot is held before its holder is asked to let another have it
	Partitions  int     // of WAIT

	broken mutation // a safety rule that is switched off; set by tests alone
}

// DefaultParams are the ones in use.
func DefaultParams() Params {
	return Params{
		Rho:         0.0005,
		Horizon:     1500 * Millisecond,
		Lookahead:   60 * Millisecond,
		Life:        500 * Millisecond,
		Margin:      200 * Millisecond,
		ShortWindow: 5 * Second,
		Lease:       30 * Second,
		Quit:        15 * Second,
		Keep:        Hour,
		SlotRest:    Second,
		SlotTurn:    5 * Second,
		Partitions:  64,
	}
}

// fast is how much of another clock's time may pass in a stretch of one's own, at
// most; slow is how much at least.
func (p Params) fast(d int64) Time { return Time(float64(d) * (1 + p.Rho) / (1 - p.Rho)) }
func (p Params) slow(d int64) Time { return Time(float64(d) * (1 - p.Rho) / (1 + p.Rho)) }

// drift is how far two clocks of the cluster can come apart in d, rounded up.
func (p Params) drift(d Time) Time { return p.fast(int64(d)) - d + 1 }
