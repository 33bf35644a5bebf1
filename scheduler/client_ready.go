package scheduler

// Ready is how many permits of the lane could be taken now. With none, it says when
// to ask again.
func (h *LaneHandle) Ready() (int, Verdict) {
	c := h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	ln := h.state()
	x := c.o.Clock()
	if v, ok := c.ready(x); !ok {
		return 0, v
	}
	n, wait := c.h.Usable(ln.Lane, x)
	if n > 0 {
		return n, Verdict{}
	}
	return 0, c.none(ln, wait, x)
}

// FreeSlots is how many slots of the lane could be taken now.
func (h *LaneHandle) FreeSlots() int {
	c := h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	ln := h.state()
	if u := c.until.Load(); c.h == nil || u == 0 || c.o.Clock() >= u {
		return 0
	}
	return len(ln.free)
}

// Usable counts the permits of a lane that may be used now. When there is none,
// wait is when the local clock makes the next one in hand usable (0: none is in hand).
func (h *Holdings) Usable(l Lane, x int64) (n int, wait int64) {
	if !h.MayStart(x) {
		return 0, 0
	}
	for _, g := range h.lanes[l] {
		switch {
		case g.left == 0 || h.expired(g, x):
		case h.begun(g, x):
			n += g.left
		default:
			if at := h.begins(g, x); at > 0 && (wait == 0 || at < wait) {
				wait = at
			}
		}
	}
	return n, wait
}
