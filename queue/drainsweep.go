package queue

import (
	"context"
	"slices"
	"time"
)

// sweepOn reads the next stretch of the stream in its own order and hands over
// what is due and has room. Once round, it begins again. When the caller takes no more
// of anything, it goes on from there the next time: to read on without handing over
// would bring the whole stream into the server's memory.
func (d *drainer) sweepOn(ctx context.Context, want []wanted) (read int, full bool, err error) {
	subjects := d.q.readable()
	if len(subjects) == 0 {
		return 0, false, nil
	}
	if d.sweep != nil && !slices.Equal(d.sweep.subjects, subjects) {
		d.closeSweep()
	}
	if d.sweep == nil {
		d.sweep = d.newSweep(subjects)
	}
	for turns := 0; turns < 2 && read == 0 && !full; {
		ms, err := d.sweep.read(ctx, 512)
		if err != nil {
			d.closeSweep()
			return read, false, err
		}
		if len(ms) == 0 {
			turns++
			d.sweep.close()
			d.sweep = d.newSweep(subjects)
			continue
		}
		now := time.Now().UnixMilli()
		for _, m := range ms {
			n, err := parseSlot(m.subject)
			if err != nil || n.held || n.at > now {
				continue
			}
			if d.room(n.line)-d.asked[n.line] <= 0 {
				if full = d.full(want); full {
					// In a cluster a new consumer costs more than headers that are read for nothing.
					if d.q.team == nil {
						d.sweep.rewindTo(m.seq)
					}
					break
				}
				if d.room(n.line)-d.asked[n.line] <= 0 { // there may be some in this moment
					continue
				}
			}
			if d.q.team == nil {
				if d.hand(m) {
					read++
				}
				continue
			}
			if d.gather(n.line, m) {
				read += d.handGathered(ctx)
			}
		}
		read += d.handGathered(ctx)
	}
	return read, full, nil
}

// full tells whether some lines that had room have none any more.
func (d *drainer) full(want []wanted) bool {
	for _, w := range want[max(len(want)-3, 0):] {
		if d.room(w.line.name) > 0 {
			return false
		}
	}
	return true
}

func (d *drainer) newSweep(subjects []string) *slotReader {
	r := d.q.newReader(1, subjects...)
	r.headers = d.q.team != nil // see handShared
	return r
}

// readable are the subjects of WAIT that this node reads.
func (q *Queue) readable() []string {
	if q.team == nil {
		return []string{allWaiting}
	}
	return q.team.workingSubjects()
}

func (d *drainer) closeSweep() {
	if d.sweep != nil {
		d.sweep.close()
		d.sweep = nil
	}
}
