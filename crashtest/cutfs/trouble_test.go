package cutfs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A slow disk takes its time for each kind of sync, and recovers.
func TestSlow(t *testing.T) {
	m, dir := mount(t, Options{})
	f, err := os.Create(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const lag = 300 * time.Millisecond
	took := func(what func() error) time.Duration {
		t.Helper()
		begin := time.Now()
		if err := what(); err != nil {
			t.Fatal(err)
		}
		return time.Since(begin)
	}
	m.Slow(lag)
	if d := took(f.Sync); d < lag {
		t.Errorf("a sync took %v", d)
	}
	if d := took(func() error { return unix.Fdatasync(int(f.Fd())) }); d < lag {
		t.Errorf("a datasync took %v", d)
	}
	m.Slow(0)
	for try := 1; took(f.Sync) >= lag; try++ { // a busy machine is slow for a moment
		if try == 5 {
			t.Fatal("the disk did not recover")
		}
	}
}

// A full disk refuses what would make files longer, keeps what it has, says how little is free, and takes more once there is
// room again.
func TestFill(t *testing.T) {
	m, dir := mount(t, Options{})
	name := filepath.Join(dir, "a")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	if _, err := f.Write(block); err != nil {
		t.Fatal(err)
	}
	m.Fill(100 << 10)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bavail != 36<<10/pageSize {
		t.Errorf("%d pages free, %v", st.Bavail, err)
	}
	if _, err := f.Write(block); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write beyond the room: %v", err)
	}
	if err := f.Truncate(1 << 20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a truncation beyond the room: %v", err)
	}
	if _, err := f.WriteAt(block, 0); err != nil {
		t.Errorf("a write over what is there: %v", err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != 64<<10 || m.Used() != 64<<10 {
		t.Errorf("%v, %v; %d octets used", st.Size(), err, m.Used())
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(block, 0); err != nil {
		t.Errorf("with room again: %v", err)
	}
	m.Fill(0)
	if _, err := f.WriteAt(block, 1<<20); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}
