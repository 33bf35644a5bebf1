package queue

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Of what the queue keeps free for itself (minDiskFree) an operator's action may not use
// the last: what holds mail or makes it due stores it anew before the old record goes,
// and blocks are given back late; what removes it only writes to the journal, and makes
// room. On a disk without room both would stand still with mail in their hands.
const (
	storeDiskFree  = 64 << 20
	removeDiskFree = 16 << 20
)

// diskFree is how many octets are left where the streams' files are on this machine.
func (q *Queue) diskFree() (int64, error) {
	if q.o.diskFree != nil {
		return q.o.diskFree()
	}
	var st unix.Statfs_t
	if err := unix.Statfs(q.o.StreamsDir, &st); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// roomFor tells whether the disk has room for an action.
func (q *Queue) roomFor(v Verb) error {
	if q.o.StreamsDir == "" {
		return nil // not on this machine
	}
	free, err := q.diskFree()
	if err != nil {
		return nil // what cannot be measured forbids nothing
	}
	need := int64(storeDiskFree)
	if v == Remove {
		need = removeDiskFree
	}
	if free >= need {
		return nil
	}
	return fmt.Errorf("%w: the disk has %d MiB left, %s needs %d; make room there", ErrFull, free>>20, v, need>>20)
}
