package bench

import (
	"math/bits"
	"time"
)

const (
	subBits    = 6                                   // 64 buckets for each doubling: a value is known within 1.6 %
	subBuckets = 1 << subBits                        //
	maxExp     = 42                                  // 2^42 ns is 73 minutes; what lies above counts as that
	numBuckets = (maxExp - subBits + 1) * subBuckets // 18 KB a histogram
)

// histogram counts durations in buckets that grow with the value, as HdrHistogram
// does. The zero value is ready. Not safe for concurrent use: each connection has
// its own and they are merged at the end.
type histogram struct {
	counts [numBuckets]uint64
	total  uint64
	sum    time.Duration
	max    time.Duration
}

// bucketOf maps nanoseconds to a bucket: the first 64 hold one value each, then
// every doubling is cut into 64 equal parts.
func bucketOf(ns uint64) int {
	if ns >= 1<<maxExp {
		return numBuckets - 1
	}
	if ns < subBuckets {
		return int(ns)
	}
	shift := bits.Len64(ns) - 1 - subBits
	return (shift+1)*subBuckets + int(ns>>shift) - subBuckets
}

// bucketTop is the largest value a bucket holds, so that a percentile is never understated.
func bucketTop(i int) uint64 {
	if i < subBuckets {
		return uint64(i)
	}
	shift := i/subBuckets - 1
	return (uint64(i%subBuckets+subBuckets)+1)<<shift - 1
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	h.total++
	h.sum += d
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// quantile returns a value that at least the fraction q of all values do not exceed,
// at most one bucket (1.6 %) too high.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(q*float64(h.total) + 0.999999)
	rank = min(max(rank, 1), h.total)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return min(time.Duration(bucketTop(i)), h.max)
		}
	}
	return h.max
}

func (h *histogram) mean() time.Duration {
	if h.total == 0 {
		return 0
	}
	return h.sum / time.Duration(h.total)
}
