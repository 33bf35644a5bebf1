package queue

import "sync/atomic"

// Histogram is a snapshot of a distribution. Counts[i] counts what is at most
// Bounds[i] and above the bound before it; one more count holds the rest.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Sum    float64
}

type histogram struct {
	bounds []float64
	counts [16]atomic.Uint64
	sum    atomic.Uint64 // in millionths
}

func (h *histogram) add(v float64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(uint64(v * 1e6))
}

func (h *histogram) snapshot() Histogram {
	s := Histogram{Bounds: h.bounds, Counts: make([]uint64, len(h.bounds)+1), Sum: float64(h.sum.Load()) / 1e6}
	for i := range s.Counts {
		s.Counts[i] = h.counts[i].Load()
	}
	return s
}

var (
	sizeBounds    = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512}
	secondsBounds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1}
)
