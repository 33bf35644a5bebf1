package scheduler

// Interval is a session's view of the clock of one leader: between Lower and Upper.
// It is made of answers: a request was sent when the local clock read q, the answer
// carries the leader's stamp, and it was received at r. The best of the answers
// count. The zero value knows nothing; Known tells.
//
// A clock that has stood still, as that of a machine that was stopped whole, is told by
// answers of before. Where the first answer came after that, there is none, and the
// leader may have been replaced meanwhile: so nothing is believed before the log has
// taken an entry of its that it stamped after the first answer. Then it led until then.
type Interval struct {
	lower, upper     Time  // the stamps of the best answers
	lowerAt, upperAt int64 // r of the one, q of the other
	first            Time  // the stamp of the first answer
	known            bool
	proven           bool
}

// Known tells whether there was an answer.
func (v *Interval) Known() bool { return v.known }

// Observe works in an answer. It returns by how much the leader's clock lags behind
// what earlier answers prove, beyond the time the answer took: more than some 20 ms
// says that it has stood still, and the leader must abdicate.
func (v *Interval) Observe(p Params, q int64, stamp Time, r int64) (behind Time) {
	if p.broken == recvLease {
		q = r
	}
	if !v.known {
		*v = Interval{lower: stamp, upper: stamp, lowerAt: r, upperAt: q, first: stamp, known: true}
		return 0
	}
	if stamp > v.Lower(p, r) {
		v.lower, v.lowerAt = stamp, r
	}
	// The leader stamped at q or later, when its clock had read Lower(q) already.
	if behind = max(0, v.Lower(p, q)-stamp); behind > 0 && !p.trusting() {
		return behind
	}
	if stamp+p.fast(r-q) < v.upper+p.fast(r-v.upperAt) {
		v.upper, v.upperAt = stamp, q
	}
	return behind
}

// Prove works in that the log has taken an entry which the leader stamped with committed.
func (v *Interval) Prove(p Params, committed Time) {
	if v.known && committed >= v.first || p.broken == noProof {
		v.proven = true
	}
}

// Lower is what the leader's clock reads at least when the local one reads x.
func (v *Interval) Lower(p Params, x int64) Time {
	return v.lower + p.slow(x-v.lowerAt)
}

// Upper is what it reads at most. It is never below Lower: where a leader's clock has
// stood still unseen, the older answers win.
func (v *Interval) Upper(p Params, x int64) Time {
	u := v.upper + p.fast(x-v.upperAt) + 1
	if p.trusting() {
		return u
	}
	return max(u, v.Lower(p, x))
}

// trusting tells whether clocks that have stood still are taken at their word.
func (p Params) trusting() bool { return p.broken == noMax || p.broken == noFenceNoMax }

// when is the instant of the local clock at which Upper may reach t.
func (v *Interval) when(p Params, t Time) int64 {
	u := v.upperAt + int64(float64(t-v.upper-1)*(1-p.Rho)/(1+p.Rho))
	l := v.lowerAt + int64(float64(t-v.lower)*(1+p.Rho)/(1-p.Rho))
	return min(u, l)
}

// after is an instant of the local clock at which Lower has reached t.
func (v *Interval) after(p Params, t Time) int64 {
	return v.lowerAt + int64(float64(t-v.lower)*(1+p.Rho)/(1-p.Rho)) + 1000
}
