package scheduler

import (
	"fmt"

	"github.com/tarishi/tarishi/shaping"
)

// takeOver makes the state of a single node that has stopped the state of this
// cluster: the limits set at run time, and the history of every counter. Sessions and
// what they held are over with the node.
//
// The history is moved so that the node's last stamp lies now: it stopped after that
// stamp, so that everything seems younger than it is, never older.
//
// It ends the term: the present leader, if there is one, knows nothing of this and
// must begin another.
func (f *FSM) takeOver(c *Command) error {
	if len(f.byName) > 0 || len(f.book.Set) > 0 || len(f.book.Suspensions) > 0 || len(f.book.Reactions) > 0 {
		return &shaping.RefusedError{
			What: "this cluster has limits set at run time, or has sent mail to limited destinations",
			Mend: "only a cluster that has not can take over the limits and windows of one node; its mail alone can be moved into any (--mail-only)",
		}
	}
	old, err := Restore(f.p, c.Snapshot)
	if err != nil {
		return fmt.Errorf("the one-node state: %w", err)
	}
	book := *old.book
	if f.book.FileHash != "" { // this cluster's own file is newer than the node's
		book.File, book.Destinations, book.Shares = f.book.File, f.book.Destinations, f.book.Shares
		book.FileHash, book.FileHashes = f.book.FileHash, f.book.FileHashes
	}
	book.Version = max(f.book.Version, old.book.Version) + 1
	if err := f.setBook(&book); err != nil {
		return &shaping.RefusedError{
			What: fmt.Sprintf("the limits set at run time on the one node do not fit this cluster's configuration file: %v", err),
			Mend: "add to the file what they name, or move the mail alone (--mail-only)",
		}
	}
	shift := down(c.Clock, Microsecond) - old.clock
	for _, h := range old.order {
		if h.open > 0 {
			h.cells = addStart(h.cells, old.horizon, h.open)
		}
		h.open, h.held, h.tailed = 0, 0, false
		for i := range h.cells {
			h.cells[i].at += shift
		}
		if len(h.cells) == 0 {
			continue // a limit of connections
		}
		f.byName[h.name] = h
		f.order = append(f.order, h)
	}
	f.lastCounter = max(f.lastCounter, old.lastCounter)
	f.term++
	f.clock = max(f.clock, c.Clock)
	// A permit of the old node may be used up to its horizon.
	f.horizon = max(f.horizon, old.horizon+shift)
	return nil
}
