package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// bbolt never gives space back: it reuses pages that snapshots have freed. After a
// large log the file stays large, so it is copied at start when most of it is free.
const (
	compactAbove = 4 << 20 // octets; a smaller file is not worth it
	compactFree  = 0.5     // copied when more than this part is free
)

func compactStore(path string) error {
	tmp := path + ".compact" // of a start that was interrupted
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() < compactAbove {
		return nil
	}
	if err != nil {
		return err
	}
	src, err := openBolt(path)
	if err != nil {
		return err
	}
	free, err := freePart(src)
	if err == nil && free > compactFree {
		err = copyStore(tmp, src)
	}
	if err = errors.Join(err, src.Close()); err != nil {
		return fmt.Errorf("compact %s: %w", path, err)
	}
	if free <= compactFree {
		return nil
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// freePart tells how much of the file holds nothing.
func freePart(db *bolt.DB) (float64, error) {
	// The number of free pages is known after a transaction that may write.
	if err := db.Update(func(*bolt.Tx) error { return nil }); err != nil {
		return 0, err
	}
	st, err := os.Stat(db.Path())
	if err != nil {
		return 0, err
	}
	s := db.Stats()
	return float64(s.FreePageN+s.PendingPageN) * float64(db.Info().PageSize) / float64(st.Size()), nil
}

func copyStore(to string, src *bolt.DB) error {
	dst, err := openBolt(to)
	if err != nil {
		return err
	}
	err = bolt.Compact(dst, src, 1<<20)
	return errors.Join(err, dst.Sync(), dst.Close())
}
