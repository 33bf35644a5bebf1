package queue

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A block that has been emptied is gone while an older one lives on with a record
// that waits: the blocks beyond the gap are where new mail is written.
func TestBarrierSeesBlocksBeyondAGap(t *testing.T) {
	dir := t.TempDir()
	touch := func(n int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n, ".blk")), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var synced []string
	f := &blockFiles{dir: dir}
	sync := func(want ...string) {
		t.Helper()
		synced = nil
		if err := f.sync(func(h *os.File) error {
			synced = append(synced, filepath.Base(h.Name()))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(synced, want) {
			t.Errorf("synced %v, want %v", synced, want)
		}
	}
	folder := filepath.Base(dir)
	sync() // empty
	touch(1)
	touch(4)
	touch(10)
	sync("1.blk", "4.blk", "10.blk", folder)
	sync("10.blk")
	touch(12) // 11 came and went between two barriers
	sync("10.blk", "12.blk", folder)
	// A folder that has rested is not read again, and one that changes is.
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(dir, old, old); err != nil {
		t.Fatal(err)
	}
	sync("12.blk")
	touch(14)
	sync("12.blk", "14.blk", folder)
	// All of it emptied.
	for _, n := range []int{1, 4, 10, 12, 14} {
		if err := os.Remove(filepath.Join(dir, fmt.Sprint(n, ".blk"))); err != nil {
			t.Fatal(err)
		}
	}
	sync()
	touch(17)
	sync("17.blk", folder)
}
