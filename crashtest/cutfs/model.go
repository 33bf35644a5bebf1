package cutfs

import (
	"sort"
	"syscall"
	"time"
)

// pageSize is the unit in which a disk receives a file's bytes.
const pageSize = 4096

// rootIno is the number of the root folder; FUSE prescribes it.
const rootIno = 1

// node is one inode as programs see it.
type node struct {
	mode    uint32 // S_IF… and permissions
	data    []byte
	kids    map[string]uint64 // folders only
	target  string            // symbolic links only
	nlink   int
	lookups uint64 // how often the kernel holds it; a removed file lives on while this is above zero
	mtime   time.Time
}

func (n *node) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

// solid is one inode as the disk holds it.
type solid struct {
	mode   uint32
	data   []byte
	kids   map[string]uint64
	target string
	nlink  int
}

// dentry says that name in folder dir now means ino; 0: nothing any more.
type dentry struct {
	dir  uint64
	name string
	ino  uint64
}

// op is one entry of the metadata log. It reaches the disk whole or not at all.
type op struct {
	create   uint64 // inode that begins here, 0: none
	mode     uint32 // of create, or the new mode of chmod
	chmod    uint64
	target   string
	dentries []dentry
	trunc    uint64 // inode whose size is set, 0: none
	size     int64
}

// change is something done to a file's bytes that is not on disk yet: a write, or a truncation (at != 0), whose place
// among the writes must be known though the log decides about it.
type change struct {
	off  int64
	data []byte
	at   uint64 // truncation: its number in the log
	size int64
	by   uint64 // not 0: written at the latest when this entry of the log is
}

// model is the file system without FUSE: values in, values out. It is not safe for concurrent use.
type model struct {
	nodes    map[uint64]*node
	disk     map[uint64]*solid
	next     uint64
	log      []op
	done     uint64 // how many entries have left the log for the disk; entry log[i] has the number done+i+1
	pending  map[uint64][]change
	touched  map[uint64]uint64 // newest log entry that names the inode
	commits  uint64            // how often the log has gone to disk
	stirred  map[uint64]uint64 // value of commits at the inode's newest write, which changed its mtime
	lies     bool              // the disk says "synced" and does nothing
	unsynced int64             // bytes in pending
}

func newModel() *model {
	m := &model{nodes: map[uint64]*node{}, disk: map[uint64]*solid{}, next: rootIno, pending: map[uint64][]change{}, touched: map[uint64]uint64{}, stirred: map[uint64]uint64{}}
	m.nodes[rootIno] = &node{mode: syscall.S_IFDIR | 0o755, kids: map[string]uint64{}, nlink: 2}
	m.disk[rootIno] = &solid{mode: syscall.S_IFDIR | 0o755, kids: map[string]uint64{}, nlink: 2}
	return m
}

// enter adds o to the log and remembers whom it concerns.
func (m *model) enter(o op) {
	m.log = append(m.log, o)
	n := m.done + uint64(len(m.log))
	for _, ino := range []uint64{o.create, o.chmod, o.trunc} {
		if ino != 0 {
			m.touched[ino] = n
		}
	}
	for _, d := range o.dentries {
		m.touched[d.dir] = n
		if d.ino != 0 {
			m.touched[d.ino] = n
		}
	}
}

func (m *model) dir(ino uint64) (*node, syscall.Errno) {
	n := m.nodes[ino]
	switch {
	case n == nil:
		return nil, syscall.ESTALE
	case !n.isDir():
		return nil, syscall.ENOTDIR
	}
	return n, 0
}

// lookup finds name in folder dir.
func (m *model) lookup(dir uint64, name string) (uint64, syscall.Errno) {
	d, errno := m.dir(dir)
	if errno != 0 {
		return 0, errno
	}
	if ino, ok := d.kids[name]; ok {
		return ino, 0
	}
	return 0, syscall.ENOENT
}

// create makes a file, a folder or a symbolic link (by the type bits of mode) under a name that is free.
func (m *model) create(dir uint64, name string, mode uint32, target string, now time.Time) (uint64, syscall.Errno) {
	d, errno := m.dir(dir)
	if errno != 0 {
		return 0, errno
	}
	if _, ok := d.kids[name]; ok {
		return 0, syscall.EEXIST
	}
	m.next++
	ino := m.next
	n := &node{mode: mode, target: target, nlink: 1, mtime: now}
	if n.isDir() {
		n.kids, n.nlink = map[string]uint64{}, 2
	}
	m.nodes[ino] = n
	d.kids[name], d.mtime = ino, now
	m.enter(op{create: ino, mode: mode, target: target, dentries: []dentry{{dir, name, ino}}})
	return ino, 0
}

// link gives a file another name.
func (m *model) link(ino, dir uint64, name string) syscall.Errno {
	d, errno := m.dir(dir)
	if errno != 0 {
		return errno
	}
	n := m.nodes[ino]
	if n == nil || n.nlink == 0 {
		return syscall.ENOENT
	}
	if n.isDir() {
		return syscall.EPERM
	}
	if _, ok := d.kids[name]; ok {
		return syscall.EEXIST
	}
	d.kids[name] = ino
	n.nlink++
	m.enter(op{dentries: []dentry{{dir, name, ino}}})
	return 0
}

// remove is unlink, or rmdir when folder is true.
func (m *model) remove(dir uint64, name string, folder bool) syscall.Errno {
	ino, errno := m.lookup(dir, name)
	if errno != 0 {
		return errno
	}
	n := m.nodes[ino]
	switch {
	case folder && !n.isDir():
		return syscall.ENOTDIR
	case !folder && n.isDir():
		return syscall.EISDIR
	case folder && len(n.kids) > 0:
		return syscall.ENOTEMPTY
	}
	delete(m.nodes[dir].kids, name)
	m.enter(op{dentries: []dentry{{dir, name, 0}}})
	m.unref(ino)
	return 0
}

// rename moves a name; what had the new name before is gone, in the same instant.
func (m *model) rename(dir uint64, name string, newDir uint64, newName string, noReplace bool) syscall.Errno {
	ino, errno := m.lookup(dir, name)
	if errno != 0 {
		return errno
	}
	to, errno := m.dir(newDir)
	if errno != 0 {
		return errno
	}
	n, old := m.nodes[ino], to.kids[newName]
	switch {
	case old == ino: // the same file under both names: POSIX says do nothing
		return 0
	case old == 0:
	case noReplace:
		return syscall.EEXIST
	case n.isDir() && !m.nodes[old].isDir():
		return syscall.ENOTDIR
	case !n.isDir() && m.nodes[old].isDir():
		return syscall.EISDIR
	case len(m.nodes[old].kids) > 0:
		return syscall.ENOTEMPTY
	}
	delete(m.nodes[dir].kids, name)
	to.kids[newName] = ino
	// The new name first: the inode must never be without one.
	m.enter(op{dentries: []dentry{{newDir, newName, ino}, {dir, name, 0}}})
	if old != 0 {
		// ext4's auto_da_alloc: the bytes of the new file go out before the commit that shows it under the old name.
		at := m.done + uint64(len(m.log))
		for i, c := range m.pending[ino] {
			if c.at == 0 && c.by == 0 {
				m.pending[ino][i].by = at
			}
		}
		m.unref(old)
	}
	return 0
}

// unref takes one name from an inode and frees it with the last.
func (m *model) unref(ino uint64) {
	n := m.nodes[ino]
	n.nlink--
	if n.isDir() {
		n.nlink = 0
	}
	m.free(ino)
}

// forget tells that the kernel holds ino fewer times than before.
func (m *model) forget(ino, times uint64) {
	if n := m.nodes[ino]; n != nil {
		n.lookups -= min(times, n.lookups)
		m.free(ino)
	}
}

func (m *model) free(ino uint64) {
	if n := m.nodes[ino]; n == nil || n.nlink > 0 || n.lookups > 0 || ino == rootIno {
		return
	}
	delete(m.nodes, ino)
	if s := m.disk[ino]; s != nil && s.nlink == 0 || s == nil && m.touched[ino] <= m.done {
		m.drop(ino)
	}
}

// drop forgets an inode that has no name left, neither in memory nor on disk.
func (m *model) drop(ino uint64) {
	delete(m.disk, ino)
	for _, c := range m.pending[ino] {
		m.unsynced -= int64(len(c.data))
	}
	delete(m.pending, ino)
	delete(m.touched, ino)
	delete(m.stirred, ino)
}

// write stores p at off and returns an error for what is no file.
func (m *model) write(ino uint64, off int64, p []byte, now time.Time) syscall.Errno {
	n := m.nodes[ino]
	if n == nil {
		return syscall.ESTALE
	}
	if n.isDir() {
		return syscall.EISDIR
	}
	n.data = overlay(n.data, off, p)
	n.mtime = now
	m.stirred[ino] = m.commits
	m.pending[ino] = append(m.pending[ino], change{off: off, data: append([]byte(nil), p...)})
	m.unsynced += int64(len(p))
	return 0
}

// read returns up to size bytes from off; the slice is valid until the next call.
func (m *model) read(ino uint64, off int64, size int) ([]byte, syscall.Errno) {
	n := m.nodes[ino]
	if n == nil {
		return nil, syscall.ESTALE
	}
	if n.isDir() {
		return nil, syscall.EISDIR
	}
	if off >= int64(len(n.data)) {
		return nil, 0
	}
	return n.data[off:min(off+int64(size), int64(len(n.data)))], 0
}

// truncate sets a file's size.
func (m *model) truncate(ino uint64, size int64, now time.Time) syscall.Errno {
	n := m.nodes[ino]
	if n == nil {
		return syscall.ESTALE
	}
	if n.isDir() {
		return syscall.EISDIR
	}
	n.mtime = now
	if size == int64(len(n.data)) {
		return 0
	}
	n.data = resize(n.data, size)
	m.enter(op{trunc: ino, size: size})
	m.pending[ino] = append(m.pending[ino], change{at: m.done + uint64(len(m.log)), size: size})
	return 0
}

// chmod sets the permissions.
func (m *model) chmod(ino uint64, perm uint32) syscall.Errno {
	n := m.nodes[ino]
	if n == nil {
		return syscall.ESTALE
	}
	n.mode = n.mode&syscall.S_IFMT | perm&0o7777
	m.enter(op{chmod: ino, mode: n.mode})
	return 0
}

// names lists a folder in order.
func (m *model) names(dir uint64) ([]string, syscall.Errno) {
	d, errno := m.dir(dir)
	if errno != 0 {
		return nil, errno
	}
	names := make([]string, 0, len(d.kids))
	for name := range d.kids {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, 0
}

// overlay writes p over data at off, growing it with zeros as needed.
func overlay(data []byte, off int64, p []byte) []byte {
	if end := off + int64(len(p)); end > int64(len(data)) {
		data = resize(data, end)
	}
	copy(data[off:], p)
	return data
}

// resize cuts data or fills it up with zeros.
func resize(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size] // append below overwrites what is cut off here with zeros, should the file grow again
	}
	return append(data, make([]byte, size-int64(len(data)))...)
}
