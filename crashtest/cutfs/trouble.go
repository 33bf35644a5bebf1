package cutfs

import (
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// size64GiB is what a disk without a limit claims to be.
const size64GiB = 64 << 30

// trouble is what is wrong with a disk short of a power cut.
type trouble struct {
	lag  atomic.Int64 // nanoseconds that each sync takes longer
	room atomic.Int64 // octets that files may have in all; 0: no limit
}

// Slow makes every sync take so much longer, from now on; 0 ends it. Four that wait at
// a time keep the whole disk waiting, as on a real one.
func (m *Mounted) Slow(d time.Duration) { m.disk.trouble.lag.Store(int64(d)) }

// Fill bounds what all files hold together, from now on; 0 ends it. What goes beyond is
// refused with ENOSPC and changes nothing. Growing by truncation takes room too, which
// a disk with sparse files would give for nothing.
func (m *Mounted) Fill(octets int64) { m.disk.trouble.room.Store(octets) }

// Used is what all files hold together.
func (m *Mounted) Used() int64 {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	return m.disk.m.used()
}

func (t *trouble) sync() {
	if d := t.lag.Load(); d > 0 {
		time.Sleep(time.Duration(d)) // a slow disk
	}
}

// grow tells whether file ino may become so long.
func (d *disk) grow(ino uint64, size int64) syscall.Errno {
	room := d.trouble.room.Load()
	n := d.m.nodes[ino]
	if room == 0 || n == nil || size <= int64(len(n.data)) {
		return 0
	}
	if d.m.used()+size-int64(len(n.data)) > room {
		return syscall.ENOSPC
	}
	return 0
}

func (m *model) used() (sum int64) {
	for _, n := range m.nodes {
		sum += int64(len(n.data))
	}
	return sum
}

func (d *disk) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	// Without a limit, a disk of 64 GiB that is always nearly empty: programs that
	// watch the free space must not stop here.
	size, free := int64(size64GiB), int64(60<<30)
	if room := d.trouble.room.Load(); room > 0 {
		d.mu.Lock()
		size, free = room, max(0, room-d.m.used())
		d.mu.Unlock()
	}
	out.Bsize, out.Frsize, out.NameLen = pageSize, pageSize, 255
	out.Blocks, out.Bfree, out.Bavail = uint64(size)/pageSize, uint64(free)/pageSize, uint64(free)/pageSize
	out.Files, out.Ffree = 1<<20, 1<<20
	return fuse.OK
}
