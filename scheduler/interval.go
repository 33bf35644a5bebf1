package scheduler

// Interval is a session's view of the clock of one leader: between Lower and Upper.
// It is made of answers: a request was sent when the local clock read q, the answer
// carries the leader's stamp, and it was received at r. The best of the recent
// answers count. The zero value knows nothing; Known tells.
type Interval struct {
	lower, upper     Time  // the stamps of the best answers
	lowerAt, upperAt int64 // r of the one, q of the other
	known            bool
}

// Known tells whether there was an answer.
func (v *Interval) Known() bool { return v.known }

// Observe works in an answer. It returns by how much the leader's clock lags behind
// what earlier answers prove: more than some 20 ms says that it has stood still.
func (v *Interval) Observe(p Params, q int64, stamp Time, r int64) (behind Time) { return 0 }

// Lower is what the leader's clock reads at least when the local one reads x.
func (v *Interval) Lower(p Params, x int64) Time { return 0 }

// Upper is what it reads at most. It is never below Lower: where a leader's clock has
// stood still unseen, the older answers win.
func (v *Interval) Upper(p Params, x int64) Time { return 0 }
