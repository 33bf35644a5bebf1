package scheduler

import "math/bits"

// cell is n starts, the last of which was at or before at. To take several starts
// together under the time of the last is always safe: a window forgets them later,
// never sooner.
type cell struct {
	at Time
	n  int64
}

// after finds the first cell that is later than t. Most questions are about the
// newest cells, so the search begins there.
func after(cells []cell, t Time) int {
	i := len(cells)
	for k := 0; k < 8; k++ {
		if i == 0 || cells[i-1].at <= t {
			return i
		}
		i--
	}
	lo, hi := 0, i
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if cells[m].at <= t {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// insert puts c before index i.
func insert(cells []cell, i int, c cell) []cell {
	cells = append(cells, cell{})
	copy(cells[i+1:], cells[i:])
	cells[i] = c
	return cells
}

// floorLog2 is the exponent of the highest power of two that is not above t.
func floorLog2(t Time) uint8 { return uint8(bits.Len64(uint64(max(t, 1))) - 1) }

// finest is the finest grid of any history, about a millisecond, as a power of two.
const finest = 20

// agedGrid is the grid (as a power of two) of starts of that age that are kept only
// for the sake of windows to come: share of their age, at most.
func agedGrid(age Time, share Time) uint8 { return max(finest, floorLog2(age/share)) }

// addStart adds n starts to the history of the replicated state.
func addStart(cells []cell, at Time, n int64) []cell {
	i := after(cells, at)
	if i > 0 && cells[i-1].at == at {
		cells[i-1].n += n
		return cells
	}
	return insert(cells, i, cell{at, n})
}

// thin drops cells older than keep and takes those together that are close to each
// other for their age. It depends on its arguments alone: every node thins alike.
func thin(cells []cell, now, keep Time) []cell {
	out := cells[:0]
	for _, c := range cells {
		age := now - c.at
		if age > keep {
			continue
		}
		if k := len(out) - 1; k >= 0 && age > 0 {
			if g := agedGrid(age, 128); out[k].at>>g == c.at>>g {
				out[k] = cell{c.at, out[k].n + c.n}
				continue
			}
		}
		out = append(out, c)
	}
	return out
}
