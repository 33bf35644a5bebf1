package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// SyncFile makes what has been written to f durable.
type SyncFile func(f *os.File) error

func syncFile(f *os.File) error { return f.Sync() }

// barrier is the fsync that stands before every 250 and between every replacement
// record and the removal it allows. All that finish while one sync runs share the
// next: a waiter never joins a sync that began before it asked.
//
// It relies on JetStream's PubAck meaning "written to the newest block file"
// (R1, flush in place), which the self-test proves at every start. It syncs the
// newest block of each stream that was written, and every block since the last
// sync when the stream has rolled over; a block that was compacted meanwhile is
// another file under the same name, so files are opened by name each time.
type barrier struct {
	sync  SyncFile
	off   bool
	stats *counters

	mu      sync.Mutex
	cohort  *cohort
	wake    chan struct{}
	failed  error // sticky: after a failed sync nobody knows what is on disk
	streams map[string]*blockFiles
}

type cohort struct {
	dirty map[string]struct{}
	n     int
	done  chan struct{}
	err   error
}

func newBarrier(dir string, sync SyncFile, off bool, stats *counters) *barrier {
	b := &barrier{sync: sync, off: off, stats: stats, wake: make(chan struct{}, 1), streams: map[string]*blockFiles{}}
	for _, s := range []string{streamReady, streamWait, streamBody, streamEvent, streamSuppress} {
		b.streams[s] = &blockFiles{dir: filepath.Join(dir, s, "msgs")}
	}
	return b
}

// Wait returns nil once everything acknowledged before the call, in the named
// streams, is on disk.
func (b *barrier) Wait(ctx context.Context, streams ...string) error {
	if b.off {
		return nil
	}
	b.mu.Lock()
	if b.failed != nil {
		defer b.mu.Unlock()
		return b.failed
	}
	c := b.cohort
	if c == nil {
		c = &cohort{dirty: map[string]struct{}{}, done: make(chan struct{})}
		b.cohort = c
	}
	for _, s := range streams {
		c.dirty[s] = struct{}{}
	}
	c.n++
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("%w: waiting for the disk: %w", ErrUnavailable, ctx.Err())
	}
}

// syncNow is Wait for the start-up, when the barrier does not run yet.
func (b *barrier) syncNow(streams ...string) error {
	if b.off {
		return nil
	}
	for _, s := range streams {
		if err := b.streams[s].sync(b.sync); err != nil {
			return fmt.Errorf("%w: sync failed: %w", ErrUnavailable, err)
		}
	}
	return nil
}

// Failed returns the error that stopped the barrier, if one did.
func (b *barrier) Failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

func (b *barrier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			b.end()
			return
		case <-b.wake:
		}
		b.mu.Lock()
		c := b.cohort
		b.cohort = nil // whoever asks from here on needs the next sync
		b.mu.Unlock()
		if c == nil {
			continue
		}
		began := time.Now()
		for s := range c.dirty {
			if err := b.streams[s].sync(b.sync); err != nil {
				c.err = errors.Join(c.err, err)
			}
		}
		if c.err != nil {
			// fsync reports a lost write once; a retry would succeed and prove
			// nothing. The whole cohort fails, and nobody gets past here again.
			c.err = fmt.Errorf("%w: sync failed, restart this node after mending the disk: %w", ErrUnavailable, c.err)
			b.mu.Lock()
			b.failed = c.err
			b.mu.Unlock()
		}
		b.stats.barriers.Add(1)
		b.stats.barrierWaiters.Add(int64(c.n))
		took := time.Since(began)
		b.stats.barrierNanos.Add(int64(took))
		b.stats.sizes.add(float64(c.n))
		b.stats.seconds.add(took.Seconds())
		close(c.done)
	}
}

// end refuses those who wait, and whoever comes later: nobody syncs any more.
func (b *barrier) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed == nil {
		b.failed = fmt.Errorf("%w: the queue is closed", ErrUnavailable)
	}
	if b.cohort != nil {
		b.cohort.err = b.failed
		close(b.cohort.done)
		b.cohort = nil
	}
}

// blockFiles knows the block files of one stream, <n>.blk with n rising. Numbers
// have gaps: a block whose records have all been removed is gone, while an older
// one lives on with a record that waits for days. So the folder is read whenever
// it may have changed; the next number alone says nothing.
type blockFiles struct {
	dir    string
	last   uint64    // every block before this one has been synced whole
	listed time.Time // when the folder was last read
}

// folderGrain is more than the steps in which a file system counts a folder's time.
const folderGrain = time.Second

// sync makes everything written to the stream so far durable.
func (f *blockFiles) sync(one SyncFile) error {
	st, err := os.Stat(f.dir)
	if err != nil {
		return fmt.Errorf("look for block files: %w", err)
	}
	if f.last != 0 && st.ModTime().Before(f.listed.Add(-folderGrain)) {
		// No block has come, gone or been compacted since the folder was read.
		err := syncPath(f.path(f.last), one)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	now := time.Now()
	blocks, err := f.from(f.last)
	if err != nil {
		return err
	}
	for _, n := range blocks {
		if err := syncPath(f.path(n), one); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // one that is gone has been emptied by removals
		}
	}
	f.listed = now
	if len(blocks) == 0 || blocks[len(blocks)-1] == f.last {
		return nil
	}
	f.last = blocks[len(blocks)-1]
	// A new block's name must be durable too. (ext4 gives it with the file; POSIX does not.)
	return syncPath(f.dir, one)
}

// from returns the numbers of the blocks from n on, lowest first.
func (f *blockFiles) from(n uint64) ([]uint64, error) {
	d, err := os.Open(f.dir)
	if err != nil {
		return nil, fmt.Errorf("look for block files: %w", err)
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, fmt.Errorf("look for block files: %w", err)
	}
	var out []uint64
	for _, name := range names {
		if s, ok := strings.CutSuffix(name, ".blk"); ok {
			if v, err := strconv.ParseUint(s, 10, 64); err == nil && v >= n {
				out = append(out, v)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

func (f *blockFiles) path(n uint64) string {
	return filepath.Join(f.dir, strconv.FormatUint(n, 10)+".blk")
}

func syncPath(path string, one SyncFile) error {
	h, err := os.Open(path)
	if err != nil {
		return err
	}
	err = one(h)
	return errors.Join(err, h.Close())
}
