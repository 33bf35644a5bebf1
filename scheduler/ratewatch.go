package scheduler

import "math"

// maxRate is how far a clock's rate may be off, in parts per million: Params.Rho,
// of which every bound of cluster time is made.
const maxRate = 500

// rateWatch compares, over each second or more, the clock we count by with one that
// nobody steers. Time synchronisation may slew the former by up to 8 %
// (maxslewrate in chrony.conf(5)). The zero value is ready.
type rateWatch struct {
	steered, raw int64
	at           int64
	set          bool
}

// look is called again and again with the local clock; rates is Rates, or nil.
// bad: over the last second the clock ran faster or slower than any bound assumes.
func (w *rateWatch) look(rates func() (steered, raw int64), x int64) (ppm float64, bad bool) {
	if rates == nil || w.set && x-w.at < 1_000_000_000 {
		return 0, false
	}
	s, r := rates()
	if w.set && r > w.raw {
		ppm = (float64(s-w.steered)/float64(r-w.raw) - 1) * 1e6
		bad = math.Abs(ppm) > maxRate
	}
	w.steered, w.raw, w.at, w.set = s, r, x, true
	return ppm, bad
}
