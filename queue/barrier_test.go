package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
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

// The same with JetStream: one delivery stays in the first block while those after
// it are done and their blocks go. What comes next must be synced, before and after
// a restart.
func TestBarrierWithOldMailInTheFirstBlock(t *testing.T) {
	var mu sync.Mutex
	var gap bool
	synced := map[string]int64{}
	n := open(t, Options{Sync: func(f *os.File) error {
		if st, err := f.Stat(); err == nil && !st.IsDir() {
			mu.Lock()
			defer mu.Unlock()
			synced[f.Name()] = st.Size()
		}
		return nil
	}})
	newest := func() {
		t.Helper()
		f := n.barrier.streams[streamReady]
		blocks, err := f.from(0)
		if err != nil || len(blocks) < 2 {
			t.Fatalf("%v blocks: the test is vacuous: %v", blocks, err)
		}
		path := f.path(blocks[len(blocks)-1])
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if synced[path] != st.Size() {
			t.Errorf("%d octets of %s were synced, it has %d", synced[path], path, st.Size())
		}
		gap = gap || blocks[1] != blocks[0]+1
	}
	n.accept("old", "x\r\n", "u@d.test")
	old := n.fetch(1)
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 800) // 57 KiB: about 140 to a block
	for i := range 400 {
		n.accept(fmt.Sprint("m", i), body, "u@d.test")
	}
	for _, j := range n.fetch(400) {
		j.Done(Attempt{})
	}
	flush(t, n)
	n.accept("next", "x\r\n", "u@d.test")
	newest()
	for _, j := range old {
		j.Release()
	}
	n.stop()
	n.start()
	n.accept("last", "x\r\n", "u@d.test")
	newest()
	if !gap {
		t.Error("no block went: the test is vacuous")
	}
}

// Whoever waits for the disk when the queue closes is told so, and does not wait for ever.
func TestBarrierEnds(t *testing.T) {
	b := newBarrier(t.TempDir(), noSync, false, &counters{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	waits := make(chan error)
	go func() { waits <- b.Wait(t.Context(), streamReady) }()
	for len(b.wake) == 0 { // until it waits
		runtime.Gosched()
	}
	<-b.wake
	b.run(ctx)
	if err := <-waits; !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if err := b.Wait(t.Context(), streamReady); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}
