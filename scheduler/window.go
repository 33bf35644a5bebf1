package scheduler

import "slices"

// never is a time that does not come.
const never = Time(1<<63 - 1)

// guard widens a window so that arrivals are within the limit, too, when the way to
// the receiver takes not always the same time.
func guard(length Time) Time { return min(max(length/200, 10*Millisecond), 5*Second) }

// widened is the length by which a start occupies a window on the leader's clock: at
// least length of true time, whatever the clocks of this term and the one before.
func (p Params) widened(length Time) Time {
	if p.broken == noDrift {
		return length
	}
	return length + Time(float64(length)*p.Rho) + p.drift(p.Horizon) + guard(length) + 1
}

// window is one limit of starts in any stretch of time of its length. It counts the
// cells of its ledger from first on.
type window struct {
	max    int64
	length Time  // as the rule says it
	wide   Time  // how long a start occupies it
	shut   Time  // full until then: starts of older terms are not known well enough
	count  int64 // starts in it: known, or possible under grants given out
	first  int32
	moved  int32 // where first goes while the ledger is thinned
	kept   int32 // of max: for class high alone
	grid   uint8
}

// open is how many starts it allows, with or without those that are kept for class high.
func (w *window) open(all bool) int64 {
	if all {
		return w.max
	}
	return w.max - int64(w.kept)
}

// ledger is the starts of one counter, and the windows that look at them: one past,
// seen through every window. Starts that a grant allows and nobody has reported are
// in it at the grant's end, which is the worst case.
type ledger struct {
	cells   []cell
	windows []window // the shortest first
	left    int      // cells that left a window since the ledger was thinned
}

// setWindows changes the windows; the past stays.
func (g *ledger) setWindows(ws []window, now Time) {
	slices.SortFunc(ws, func(a, b window) int { return int(min(max(a.wide-b.wide, -1), 1)) })
	for i := range ws {
		w := &ws[i]
		w.grid = max(finest, floorLog2(w.wide/256))
		w.first, w.count = int32(len(g.cells)), 0
		for w.first > 0 && g.cells[w.first-1].at+w.wide > now {
			w.first--
			w.count += g.cells[w.first].n
		}
	}
	g.windows, g.left = ws, len(g.cells)
}

// add records n starts at or before at.
func (g *ledger) add(at Time, n int64) {
	i := after(g.cells, at)
	grid := uint8(28)
	released := 0 // cells before it have left a window
	for k := range g.windows {
		released = max(released, int(g.windows[k].first))
	}
	if len(g.windows) > 0 {
		grid = g.windows[0].grid
	}
	switch {
	case i > released && g.cells[i-1].at>>grid == at>>grid:
		i--
		g.cells[i].at = at
		g.cells[i].n += n
	case i < len(g.cells) && g.cells[i].at>>grid == at>>grid:
		g.cells[i].n += n
	default:
		g.cells = insert(g.cells, i, cell{at, n})
		for k := range g.windows {
			if w := &g.windows[k]; int(w.first) > i {
				w.first++
			}
		}
	}
	for k := range g.windows {
		if w := &g.windows[k]; i >= int(w.first) {
			w.count += n
		}
	}
}

// remove takes back n starts that were added at at, seconds ago. They are in the first
// cell that is not earlier, or in a later one: to take them from the first is safe.
func (g *ledger) remove(at Time, n int64) {
	i := after(g.cells, at-1)
	if i == len(g.cells) {
		return
	}
	n = min(n, g.cells[i].n)
	g.cells[i].n -= n
	gone := g.cells[i].n == 0
	for k := range g.windows {
		w := &g.windows[k]
		if i >= int(w.first) {
			w.count -= n
		} else if gone {
			w.first--
		}
	}
	if gone {
		g.cells = append(g.cells[:i], g.cells[i+1:]...)
	}
}

// advance lets go of what the windows need no more. keep is how old the past may grow.
func (g *ledger) advance(now, keep Time) {
	for k := range g.windows {
		w := &g.windows[k]
		for int(w.first) < len(g.cells) && g.cells[w.first].at+w.wide <= now {
			w.count -= g.cells[w.first].n
			w.first++
			g.left++
		}
	}
	if g.left > 64+len(g.cells)/4 {
		g.thin(now, keep)
	}
}

// thin takes cells together that the windows they are still in, or windows to come,
// need not tell apart, and drops those older than keep.
func (g *ledger) thin(now, keep Time) {
	out := g.cells[:0]
	oldest := g.oldest()
	begins := func(i int) (any bool) { // whether a window begins with the cell i
		for k := range g.windows {
			if w := &g.windows[k]; int(w.first) == i {
				w.moved, any = int32(len(out)), true
			}
		}
		return any
	}
	for i, c := range g.cells {
		edge := begins(i)
		age := now - c.at
		if age > keep && i < oldest {
			continue
		}
		if k := len(out) - 1; k >= 0 && !edge {
			if gr := g.gridAt(age); out[k].at>>gr == c.at>>gr {
				out[k] = cell{c.at, out[k].n + c.n}
				continue
			}
		}
		out = append(out, c)
	}
	begins(len(g.cells))
	g.cells = out
	for k := range g.windows {
		g.windows[k].first = g.windows[k].moved
	}
	if cap(out) > 64 && cap(out) > 4*len(out) {
		g.cells = slices.Clone(out)
	}
	g.left = 0
}

// oldest is the first cell that any window counts.
func (g *ledger) oldest() int {
	i := len(g.cells)
	for k := range g.windows {
		i = min(i, int(g.windows[k].first))
	}
	return i
}

// gridAt is how exactly starts of an age must be known.
func (g *ledger) gridAt(age Time) uint8 {
	last := uint8(finest)
	for k := range g.windows {
		last = g.windows[k].grid
		if age < g.windows[k].wide {
			return last
		}
	}
	return max(last, agedGrid(age, 64))
}

// room is how many more starts may begin at t, which is not before the last advance;
// all: the part that is kept for class high included.
func (g *ledger) room(t Time, all bool) int64 {
	n := int64(1<<62 - 1)
	for k := range g.windows {
		w := &g.windows[k]
		if t < w.shut {
			return 0
		}
		a := w.open(all) - w.count
		for i := int(w.first); i < len(g.cells) && g.cells[i].at+w.wide <= t; i++ {
			a += g.cells[i].n
		}
		n = min(n, a)
	}
	return n
}

// earliest is the first instant, from now on, at which need more starts may begin.
func (g *ledger) earliest(now Time, need int64, all bool) Time {
	t := now
	for k := range g.windows {
		w := &g.windows[k]
		if need > w.open(all) {
			return never
		}
		t = max(t, w.shut)
		for i, a := int(w.first), w.open(all)-w.count; a < need; i++ {
			a += g.cells[i].n
			t = max(t, g.cells[i].at+w.wide)
		}
	}
	return t
}
