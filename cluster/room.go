package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// startFree is how much room a store needs to open: for new blocks, the records of a
// start and what is settled in its first moments.
const startFree = 16 << 20

// ErrDiskFull means that a disk has no room for the store to be opened. On a full disk the
// server would start, take nothing, and time out.
var ErrDiskFull = errors.New("the disk is full")

// roomToStart tells whether a store in dir, which need not be there yet, can be opened.
func roomToStart(dir string) error {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for up := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && up != dir; up = filepath.Dir(dir) {
		dir = up
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		return fmt.Errorf("how much room is left in %s: %w", dir, err)
	}
	return enough(dir, int64(st.Bavail)*int64(st.Bsize))
}

func enough(dir string, free int64) error {
	if free >= startFree {
		return nil
	}
	return fmt.Errorf("%w: %s has %.1f MiB left, and a start needs %d; nothing is lost: make room there (of other files than the queue's own) and start again",
		ErrDiskFull, dir, float64(free)/(1<<20), startFree>>20)
}
