package cutfs

import (
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Counts says what the programs asked for.
type Counts struct {
	Writes, Fsyncs, Fdatasyncs, Syncfs, DirSyncs int64
	UnsyncedBytes                                int64 // at this moment
	LogEntries                                   int   // metadata operations not yet committed, at this moment
}

// disk is the model behind FUSE: one mutex, and a gate that Freeze shuts.
type disk struct {
	fuse.RawFileSystem // answers ENOSYS to everything not written here

	mu     sync.Mutex
	turn   *sync.Cond
	frozen bool
	dead   bool // unmounted: everything that still waits gets EIO
	queued int  // operations that wait in a freeze
	m      *model
	counts Counts
	trouble
	lists  map[uint64][]string // open folders
	handle uint64
}

func newDisk(im *Image, lies bool) *disk {
	d := &disk{RawFileSystem: fuse.NewDefaultRawFileSystem(), m: im.model(), lists: map[uint64][]string{}}
	d.m.lies = lies
	d.turn = sync.NewCond(&d.mu)
	return d
}

// enter takes the lock, and waits while the disk is frozen. After it returns true the caller must unlock.
func (d *disk) enter() bool {
	d.mu.Lock()
	for d.frozen && !d.dead {
		d.queued++
		d.turn.Wait()
		d.queued--
	}
	if d.dead {
		d.mu.Unlock()
		return false
	}
	return true
}

// do runs one operation of the model under the lock.
func (d *disk) do(f func(m *model) syscall.Errno) fuse.Status {
	if !d.enter() {
		return fuse.EIO
	}
	defer d.mu.Unlock()
	return fuse.Status(f(d.m))
}

const valid = 3600 // seconds: nobody but the kernel changes this tree, so it may remember what it was told

func (d *disk) attr(ino uint64, a *fuse.Attr) syscall.Errno {
	n := d.m.nodes[ino]
	if n == nil {
		return syscall.ESTALE
	}
	a.Ino, a.Mode, a.Nlink = ino, n.mode, uint32(n.nlink)
	a.Size = uint64(len(n.data) + len(n.target))
	a.Blocks = (a.Size + 511) / 512
	a.Blksize = pageSize
	a.SetTimes(&n.mtime, &n.mtime, &n.mtime)
	return 0
}

func (d *disk) entry(ino uint64, out *fuse.EntryOut) syscall.Errno {
	out.NodeId, out.Generation, out.EntryValid, out.AttrValid = ino, 1, valid, 1
	if errno := d.attr(ino, &out.Attr); errno != 0 {
		return errno
	}
	d.m.nodes[ino].lookups++
	return 0
}

func (d *disk) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return d.do(func(m *model) syscall.Errno {
		ino, errno := m.lookup(h.NodeId, name)
		if errno != 0 {
			return errno
		}
		return d.entry(ino, out)
	})
}

// Forget is never held up: it changes nothing on disk, and the kernel expects no answer.
func (d *disk) Forget(ino, times uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen && !d.dead {
		d.m.forget(ino, times)
	}
}

func (d *disk) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return d.do(func(*model) syscall.Errno {
		out.AttrValid = 1
		return d.attr(in.NodeId, &out.Attr)
	})
}

func (d *disk) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return d.do(func(m *model) syscall.Errno {
		if size, ok := in.GetSize(); ok {
			if errno := d.grow(in.NodeId, int64(size)); errno != 0 {
				return errno
			}
			if errno := m.truncate(in.NodeId, int64(size), time.Now()); errno != 0 {
				return errno
			}
		}
		if mode, ok := in.GetMode(); ok {
			if errno := m.chmod(in.NodeId, mode); errno != 0 {
				return errno
			}
		}
		if mtime, ok := in.GetMTime(); ok && m.nodes[in.NodeId] != nil {
			m.nodes[in.NodeId].mtime = mtime
		}
		out.AttrValid = 1
		return d.attr(in.NodeId, &out.Attr)
	})
}

func (d *disk) make(dir uint64, name string, mode uint32, target string, out *fuse.EntryOut) fuse.Status {
	return d.do(func(m *model) syscall.Errno {
		ino, errno := m.create(dir, name, mode, target, time.Now())
		if errno != 0 {
			return errno
		}
		return d.entry(ino, out)
	})
}

func (d *disk) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if in.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return fuse.EPERM
	}
	return d.make(in.NodeId, name, in.Mode, "", out)
}

func (d *disk) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return d.make(in.NodeId, name, syscall.S_IFDIR|in.Mode&0o7777, "", out)
}

func (d *disk) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return d.make(h.NodeId, name, syscall.S_IFLNK|0o777, target, out)
}

func (d *disk) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return d.make(in.NodeId, name, syscall.S_IFREG|in.Mode&0o7777, "", &out.EntryOut)
}

func (d *disk) Readlink(_ <-chan struct{}, h *fuse.InHeader) (target []byte, _ fuse.Status) {
	status := d.do(func(m *model) syscall.Errno {
		n := m.nodes[h.NodeId]
		if n == nil {
			return syscall.ESTALE
		}
		target = []byte(n.target)
		return 0
	})
	return target, status
}

func (d *disk) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return d.do(func(m *model) syscall.Errno {
		if errno := m.link(in.Oldnodeid, in.NodeId, name); errno != 0 {
			return errno
		}
		return d.entry(in.Oldnodeid, out)
	})
}

func (d *disk) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return d.do(func(m *model) syscall.Errno { return m.remove(h.NodeId, name, false) })
}

func (d *disk) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return d.do(func(m *model) syscall.Errno { return m.remove(h.NodeId, name, true) })
}

func (d *disk) Rename(_ <-chan struct{}, in *fuse.RenameIn, name, newName string) fuse.Status {
	const noReplace = 1 // RENAME_NOREPLACE
	if in.Flags&^noReplace != 0 {
		return fuse.EINVAL
	}
	return d.do(func(m *model) syscall.Errno {
		return m.rename(in.NodeId, name, in.Newdir, newName, in.Flags == noReplace)
	})
}

func (d *disk) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

func (d *disk) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	// The kernel's pages stay good from one open to the next: it alone writes here.
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return d.do(func(m *model) syscall.Errno {
		if m.nodes[in.NodeId] == nil {
			return syscall.ESTALE
		}
		if in.Flags&syscall.O_TRUNC != 0 {
			return m.truncate(in.NodeId, 0, time.Now())
		}
		return 0
	})
}

func (d *disk) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n := 0
	status := d.do(func(m *model) syscall.Errno {
		p, errno := m.read(in.NodeId, int64(in.Offset), min(len(buf), int(in.Size)))
		n = copy(buf, p)
		return errno
	})
	return fuse.ReadResultData(buf[:n]), status
}

func (d *disk) Write(_ <-chan struct{}, in *fuse.WriteIn, p []byte) (uint32, fuse.Status) {
	if in.Flags&syscall.O_DSYNC != 0 {
		d.trouble.sync()
	}
	status := d.do(func(m *model) syscall.Errno {
		d.counts.Writes++
		if errno := d.grow(in.NodeId, int64(in.Offset)+int64(len(p))); errno != 0 {
			return errno
		}
		if errno := m.write(in.NodeId, int64(in.Offset), p, time.Now()); errno != 0 {
			return errno
		}
		if in.Flags&syscall.O_DSYNC != 0 { // O_SYNC contains the bit of O_DSYNC
			d.counts.Fdatasyncs++
			return m.sync(in.NodeId, in.Flags&syscall.O_SYNC != syscall.O_SYNC)
		}
		return 0
	})
	return uint32(len(p)), status
}

func (d *disk) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	const dataOnly = 1 // FUSE_FSYNC_FDATASYNC
	d.trouble.sync()
	return d.do(func(m *model) syscall.Errno {
		if in.FsyncFlags&dataOnly != 0 {
			d.counts.Fdatasyncs++
		} else {
			d.counts.Fsyncs++
		}
		return m.sync(in.NodeId, in.FsyncFlags&dataOnly != 0)
	})
}

func (d *disk) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	d.trouble.sync()
	return d.do(func(m *model) syscall.Errno {
		d.counts.DirSyncs++
		return m.sync(in.NodeId, false)
	})
}

// syncfs answers FUSE_SYNCFS, which go-fuse does not know; the serving loop calls it.
func (d *disk) syncfs() fuse.Status {
	d.trouble.sync()
	return d.do(func(m *model) syscall.Errno {
		d.counts.Syncfs++
		m.syncAll()
		return 0
	})
}

// Flush comes with every close; a close promises nothing.
func (d *disk) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (d *disk) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	const keepSize = 1
	if in.Mode&^keepSize != 0 {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	return d.do(func(m *model) syscall.Errno {
		n := m.nodes[in.NodeId]
		if end := int64(in.Offset + in.Length); n != nil && in.Mode&keepSize == 0 && end > int64(len(n.data)) {
			if errno := d.grow(in.NodeId, end); errno != 0 {
				return errno
			}
			return m.truncate(in.NodeId, end, time.Now())
		}
		return 0
	})
}

func (d *disk) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return d.do(func(m *model) syscall.Errno {
		names, errno := m.names(in.NodeId)
		if errno != 0 {
			return errno
		}
		d.handle++
		d.lists[d.handle], out.Fh = names, d.handle
		return 0
	})
}

func (d *disk) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return d.do(func(m *model) syscall.Errno {
		names := d.lists[in.Fh]
		for i := int(in.Offset); i < len(names); i++ {
			ino, errno := m.lookup(in.NodeId, names[i])
			e := fuse.DirEntry{Name: names[i], Ino: ino, Off: uint64(i + 1)}
			if errno != 0 {
				continue // removed since the folder was opened
			}
			e.Mode = m.nodes[ino].mode
			if !out.AddDirEntry(e) {
				break
			}
		}
		return 0
	})
}

func (d *disk) ReleaseDir(in *fuse.ReleaseIn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.lists, in.Fh)
}
