package cutfs

import (
	"math/rand/v2"
	"syscall"
)

// sync is fsync(2), or fdatasync(2) when dataOnly is true.
func (m *model) sync(ino uint64, dataOnly bool) syscall.Errno {
	n := m.nodes[ino]
	if n == nil {
		return syscall.ESTALE
	}
	if m.lies {
		return 0
	}
	named := m.touched[ino] > m.done
	at, written := m.stirred[ino]
	stirred := written && at == m.commits // its new mtime belongs to the running transaction
	s := m.disk[ino]
	grows := s != nil && len(n.data) > len(s.data)
	if named || grows || stirred && !dataOnly {
		m.commit()
	}
	m.settle(ino)
	return 0
}

// syncAll is syncfs(2).
func (m *model) syncAll() {
	if m.lies {
		return
	}
	m.commit()
	for ino := range m.pending {
		m.settle(ino)
	}
}

// settle writes all pending bytes of ino. Its truncations have been committed before.
func (m *model) settle(ino uint64) {
	s := m.disk[ino]
	if s == nil {
		return
	}
	for _, c := range m.pending[ino] {
		s.data = overlay(s.data, c.off, c.data)
		m.unsynced -= int64(len(c.data))
	}
	delete(m.pending, ino)
}

// commit moves the log to the disk.
func (m *model) commit() {
	m.commits++
	for _, o := range m.log {
		m.done++
		gone := apply(m.disk, o)
		for _, ino := range gone {
			if m.nodes[ino] == nil {
				m.drop(ino)
			}
		}
		if o.trunc != 0 {
			m.commitTruncate(o)
		}
		for _, d := range o.dentries {
			m.commitCarried(d.ino)
		}
	}
	m.log = nil
}

// commitTruncate takes the committed truncation out of the file's pending changes and clips the writes before it.
func (m *model) commitTruncate(o op) {
	var kept []change
	before := true
	for _, c := range m.pending[o.trunc] {
		switch {
		case c.at == m.done:
			before = false
			continue
		case before && c.at == 0:
			old := len(c.data)
			c.data = c.data[:max(0, min(int64(old), o.size-c.off))]
			m.unsynced -= int64(old - len(c.data))
			if len(c.data) == 0 {
				continue
			}
		}
		kept = append(kept, c)
	}
	m.setPending(o.trunc, kept)
}

// commitCarried writes what had to be written with the entry just committed.
func (m *model) commitCarried(ino uint64) {
	s := m.disk[ino]
	if s == nil {
		return
	}
	var kept []change
	for _, c := range m.pending[ino] {
		if c.by != 0 && c.by <= m.done {
			s.data = overlay(s.data, c.off, c.data)
			m.unsynced -= int64(len(c.data))
			continue
		}
		kept = append(kept, c)
	}
	m.setPending(ino, kept)
}

func (m *model) setPending(ino uint64, cs []change) {
	if len(cs) == 0 {
		delete(m.pending, ino)
		return
	}
	m.pending[ino] = cs
}

// apply does one entry of the log to a disk and returns the inodes that lost their last name.
func apply(disk map[uint64]*solid, o op) (gone []uint64) {
	if o.create != 0 {
		s := &solid{mode: o.mode, target: o.target}
		if o.mode&syscall.S_IFMT == syscall.S_IFDIR {
			s.kids = map[string]uint64{}
		}
		disk[o.create] = s
	}
	if s := disk[o.chmod]; s != nil {
		s.mode = o.mode
	}
	if s := disk[o.trunc]; s != nil {
		s.data = resize(s.data, o.size)
	}
	for _, d := range o.dentries {
		dir := disk[d.dir]
		if dir == nil { // cannot be: a folder's creation is older than its content, and its removal younger
			continue
		}
		old := dir.kids[d.name]
		if d.ino != 0 {
			dir.kids[d.name] = d.ino
			if s := disk[d.ino]; s != nil {
				s.nlink++
			}
		} else {
			delete(dir.kids, d.name)
		}
		if s := disk[old]; s != nil {
			if s.nlink--; s.nlink == 0 {
				gone = append(gone, old)
			}
		}
	}
	return gone
}

// Variant chooses among the states a disk may be in after a power cut.
type Variant struct {
	kind string
	seed uint64
}

// Pessimistic keeps what was synced and not a byte more.
func Pessimistic() Variant { return Variant{kind: "pessimistic"} }

// Random keeps, on top of what was synced, a part of the rest: a prefix of the metadata log, and page by page a prefix of
// the writes. The same seed on the same state gives the same image.
func Random(seed uint64) Variant { return Variant{kind: "random", seed: seed} }

// Everything keeps it all: what kill -9 leaves, or a power cut long after the last write.
func Everything() Variant { return Variant{kind: "everything"} }

// String names the variant for a test's log.
func (v Variant) String() string { return v.kind }

// cut works out the disk after a power cut. The model itself is not changed.
func (m *model) cut(v Variant) *Image {
	rng := rand.New(rand.NewPCG(v.seed, 0x7461726973686921))
	k := 0
	switch v.kind {
	case "everything":
		k = len(m.log)
	case "random":
		switch rng.IntN(4) { // the ends are where the faults are: give them half of the tries
		case 0:
		case 1:
			k = len(m.log)
		default:
			k = rng.IntN(len(m.log) + 1)
		}
	}
	disk := make(map[uint64]*solid, len(m.disk))
	for ino, s := range m.disk {
		c := *s
		c.data = append([]byte(nil), s.data...)
		if s.kids != nil {
			c.kids = make(map[string]uint64, len(s.kids))
			for name, kid := range s.kids {
				c.kids[name] = kid
			}
		}
		disk[ino] = &c
	}
	for _, o := range m.log[:k] {
		o.trunc = 0 // truncations are done below, in their place among the writes
		apply(disk, o)
	}
	for ino := uint64(1); ino <= m.next; ino++ { // in order, so that a seed means the same image every time
		cs := m.pending[ino]
		s := disk[ino]
		if len(cs) == 0 || s == nil {
			continue
		}
		keep := keepNone
		switch {
		case v.kind == "everything":
			keep = keepAll
		case v.kind == "random":
			keep = rng.IntN(3)
		}
		s.data = survive(s.data, cs, m.done+uint64(k), keep, rng)
	}
	return imageOf(disk)
}

const (
	keepNone  = iota
	keepAll   // every write
	keepPages // each page for itself
)

// survive returns a file's bytes after the cut. committed is the number of the last log entry that survived.
func survive(data []byte, cs []change, committed uint64, keep int, rng *rand.Rand) []byte {
	stopped := map[int64]bool{} // pages whose last surviving write is behind us
	for _, c := range cs {
		switch {
		case c.at > committed:
			return data // what came after a truncation that was lost is lost
		case c.at != 0:
			data = resize(data, c.size)
		case c.by != 0 && c.by <= committed || keep == keepAll:
			data = overlay(data, c.off, c.data)
		case keep == keepPages:
			for off, p := c.off, c.data; len(p) > 0; {
				page := off / pageSize
				part := p[:min(int64(len(p)), (page+1)*pageSize-off)]
				if !stopped[page] {
					if stopped[page] = rng.IntN(3) == 0; !stopped[page] {
						data = overlay(data, off, part)
					}
				}
				off, p = off+int64(len(part)), p[len(part):]
			}
		}
	}
	return data
}
