package windows

import (
	"iter"
	"sort"
)

// breaks hands out every i with t[i+n] - t[i] < w: the pairs of starts, n apart, that
// came too close. t is in order; windows are half-open, so exactly w apart is far enough.
func breaks(t []int64, n int, w int64) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 0; i+n < len(t); i++ {
			if t[i+n]-t[i] < w && !yield(i) {
				return
			}
		}
	}
}

// most is the largest number of starts in any [x, x+w), and the first start of the
// first such window.
func most(t []int64, w int64) (n, first int) {
	for i, j := 0, 0; j < len(t); j++ {
		for t[j]-t[i] >= w {
			i++
		}
		if j-i+1 > n {
			n, first = j-i+1, i
		}
	}
	return n, first
}

// use counts what was used and what was allowed from begin on, in as many whole windows
// as end before or at end. No way of keeping the limit uses more than all of it.
func use(t []int64, n int, w, begin, end int64) (used, allowed int64) {
	whole := (end - begin) / w
	if whole <= 0 {
		return 0, 0
	}
	return int64(count(t, begin, begin+whole*w)), whole * int64(n)
}

// count is the number of starts in [begin, end).
func count(t []int64, begin, end int64) int {
	return sort.Search(len(t), func(i int) bool { return t[i] >= end }) - sort.Search(len(t), func(i int) bool { return t[i] >= begin })
}

// pause is the longest time in [begin, end) in which nothing started, and where it began.
func pause(t []int64, begin, end int64) (longest, from int64) {
	last := begin
	from = begin
	for _, at := range t {
		if at < begin {
			continue
		}
		if at >= end {
			break
		}
		if at-last > longest {
			longest, from = at-last, last
		}
		last = at
	}
	if end-last > longest {
		longest, from = end-last, last
	}
	return longest, from
}

// life is the time [open, end) of one connection.
type life struct{ open, end int64 }

// sweep goes along the time and hands out, for each life, how many there are at its
// begin, itself included. One that ends at an instant makes room for one that begins
// at it. lives are in order of their begins.
func sweep(lives []life, each func(i, open int)) {
	ends := make([]int64, len(lives))
	for i, l := range lives {
		ends[i] = max(l.end, l.open+1) // one that ends as it begins was there all the same
	}
	sort.Slice(ends, func(i, j int) bool { return ends[i] < ends[j] })
	gone := 0
	for i, l := range lives {
		for ends[gone] <= l.open {
			gone++
		}
		each(i, i+1-gone)
	}
}

// busy is the time that lives take up in [begin, end), added up.
func busy(lives []life, begin, end int64) (sum int64) {
	for _, l := range lives {
		if from, to := max(l.open, begin), min(l.end, end); to > from {
			sum += to - from
		}
	}
	return sum
}
