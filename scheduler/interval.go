package scheduler

// Interval is a session's view of the clock of one leader: between Lower and Upper.
// It is made of answers: a request was sent when the local clock read q, the answer
// carries the leader's stamp, and it was received at r. The best of the answers
// count. The zero value knows nothing; Known tells.
type Interval struct {
	lower, upper     Time  // the stamps of the best answers
	lowerAt, upperAt int64 // r of the one, q of the other
	known            bool
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
		*v = Interval{stamp, stamp, r, q, true}
		return 0
	}
	if low := v.Lower(p, r); stamp > low {
		v.lower, v.lowerAt = stamp, r
	} else {
		// The leader stamped at q or later, when its clock read Lower(q) at least.
		behind = max(0, v.Lower(p, q)-stamp)
	}
	if stamp+Time(float64(r-q)*(1+2*p.Rho)) < v.upper+Time(float64(r-v.upperAt)*(1+2*p.Rho)) {
		v.upper, v.upperAt = stamp, q
	}
	return behind
}

// Lower is what the leader's clock reads at least when the local one reads x.
func (v *Interval) Lower(p Params, x int64) Time {
	return v.lower + Time(float64(x-v.lowerAt)*(1-2*p.Rho))
}

// Upper is what it reads at most. It is never below Lower: where a leader's clock has
// stood still unseen, the older answers win.
func (v *Interval) Upper(p Params, x int64) Time {
	u := v.upper + Time(float64(x-v.upperAt)*(1+2*p.Rho)) + 1
	if p.broken == noMax || p.broken == noFenceNoMax {
		return u
	}
	return max(u, v.Lower(p, x))
}

// when is the instant of the local clock at which Upper may reach t.
func (v *Interval) when(p Params, t Time) int64 {
	u := v.upperAt + int64(float64(t-v.upper-1)/(1+2*p.Rho))
	l := v.lowerAt + int64(float64(t-v.lower)/(1-2*p.Rho))
	return min(u, l)
}

// after is an instant of the local clock at which Lower has reached t.
func (v *Interval) after(p Params, t Time) int64 {
	return v.lowerAt + int64(float64(t-v.lower)/(1-2*p.Rho)) + 1000
}
