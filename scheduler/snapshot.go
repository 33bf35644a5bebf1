package scheduler

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/tarishi/tarishi/shaping"
)

// A snapshot is a magic word and a format version, then sections: type, length,
// content and the content's CRC-32C. Every section is there exactly once.
const (
	snapshotMagic  = "tarishi scheduler\n"
	snapshotFormat = 1
)

// Sections, in their order.
const (
	sectionState = iota + 1
	sectionBook
	sectionSessions
	sectionCounters
	sectionEnd
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot writes the whole state. It is quick enough to be called between two
// entries, and the bytes are the FSM's no more.
func (f *FSM) Snapshot() []byte {
	b := append([]byte(snapshotMagic), snapshotFormat)
	for i, content := range []func([]byte) []byte{f.appendState, f.appendBook, f.appendSessions, f.appendCounters} {
		c := content(nil)
		b = append(b, byte(sectionState+i))
		b = binary.AppendUvarint(b, uint64(len(c)))
		b = append(b, c...)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(c, castagnoli))
	}
	return b
}

func (f *FSM) appendState(b []byte) []byte {
	b = appendText(b, f.cluster)
	for _, v := range []uint64{f.term, f.raftTerm, f.seq, uint64(f.lastSession), f.lastCounter} {
		b = binary.AppendUvarint(b, v)
	}
	for _, t := range []Time{f.clock, f.horizon, f.oldHorizon, f.lease} {
		b = appendTime(b, t, Microsecond)
	}
	return b
}

func (f *FSM) appendBook(b []byte) []byte {
	text, _ := json.Marshal(f.book) // text and numbers; it always encodes
	return append(b, text...)
}

func (f *FSM) appendSessions(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(f.sessions)))
	for _, id := range slices.Sorted(maps.Keys(f.sessions)) {
		s := f.sessions[id]
		b = binary.AppendUvarint(b, uint64(id))
		b = appendText(b, s.node)
		b = appendTime(b, s.lease, Microsecond)
		b = binary.AppendUvarint(b, uint64(len(s.slots)))
		for _, counter := range slices.Sorted(maps.Keys(s.slots)) {
			b = binary.AppendUvarint(b, counter)
			b = binary.AppendUvarint(b, uint64(s.slots[counter]))
		}
	}
	return b
}

func (f *FSM) appendCounters(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(f.byName)))
	last := uint64(0)
	for _, h := range f.order {
		if h.gone {
			continue
		}
		b = binary.AppendUvarint(b, h.id-last)
		last = h.id
		b = appendText(b, h.name)
		b = appendTime(b, h.keep, Millisecond)
		b = binary.AppendVarint(b, h.open)
		tailed := byte(0)
		if h.tailed {
			tailed = 1
		}
		b = append(b, tailed)
		b = binary.AppendUvarint(b, uint64(len(h.cells)))
		at := Time(0)
		for _, c := range h.cells {
			b = appendTime(b, c.at-at, Microsecond)
			b = binary.AppendUvarint(b, uint64(c.n))
			at = c.at
		}
	}
	return b
}

var errSnapshot = errors.New("the snapshot is damaged")

// Restore reads what Snapshot wrote. A damaged snapshot and one of a newer version
// (ErrNewer) are refused.
func Restore(p Params, b []byte) (*FSM, error) {
	rest, ok := bytes.CutPrefix(b, []byte(snapshotMagic))
	if !ok || len(rest) == 0 {
		return nil, fmt.Errorf("%w: it does not begin as one", errSnapshot)
	}
	if rest[0] > snapshotFormat {
		return nil, fmt.Errorf("snapshot of format %d: %w", rest[0], ErrNewer)
	}
	f := NewFSM(p)
	d := &decoder{b: rest[1:]}
	for want := byte(sectionState); want < sectionEnd; want++ {
		kind := d.octet()
		content := d.section()
		switch {
		case d.bad:
			return nil, fmt.Errorf("%w: section %d is cut short or its checksum is wrong", errSnapshot, want)
		case kind >= sectionEnd:
			return nil, fmt.Errorf("snapshot with a section of type %d: %w", kind, ErrNewer)
		case kind != want:
			return nil, fmt.Errorf("%w: section %d stands where %d should", errSnapshot, kind, want)
		}
		if err := f.read(kind, &decoder{b: content}); err != nil {
			return nil, err
		}
	}
	if len(d.b) > 0 {
		return nil, fmt.Errorf("%w: %d octets follow its end", errSnapshot, len(d.b))
	}
	return f, nil
}

// section reads length, content and checksum.
func (d *decoder) section() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) || uint64(len(d.b))-n < 4 {
		d.fail()
		return nil
	}
	c := d.b[:n]
	if binary.LittleEndian.Uint32(d.b[n:]) != crc32.Checksum(c, castagnoli) {
		d.fail()
		return nil
	}
	d.b = d.b[n+4:]
	return c
}

func (f *FSM) read(kind byte, d *decoder) error {
	switch kind {
	case sectionState:
		f.readState(d)
	case sectionBook:
		book := new(shaping.Book)
		if err := json.Unmarshal(d.rest(), book); err != nil {
			return fmt.Errorf("%w: the limits: %w", errSnapshot, err)
		}
		if err := f.setBook(book); err != nil {
			return fmt.Errorf("%w: the limits: %w", errSnapshot, err)
		}
	case sectionSessions:
		f.readSessions(d)
	case sectionCounters:
		f.readCounters(d)
	}
	if d.bad || len(d.b) > 0 {
		return fmt.Errorf("%w: section %d", errSnapshot, kind)
	}
	return nil
}

func (f *FSM) readState(d *decoder) {
	f.cluster = d.text()
	f.term, f.raftTerm, f.seq = d.uvarint(), d.uvarint(), d.uvarint()
	f.lastSession, f.lastCounter = SessionID(d.uvarint()), d.uvarint()
	for _, t := range []*Time{&f.clock, &f.horizon, &f.oldHorizon, &f.lease} {
		*t = d.time(Microsecond)
	}
}

func (f *FSM) readSessions(d *decoder) {
	for n := d.count(4); n > 0 && !d.bad; n-- {
		id := SessionID(d.uvarint())
		s := &seat{node: d.text(), lease: d.time(Microsecond), slots: map[uint64]int{}}
		for k := d.count(2); k > 0 && !d.bad; k-- {
			counter := d.uvarint()
			s.slots[counter] = d.number()
		}
		f.sessions[id] = s
	}
}

func (f *FSM) readCounters(d *decoder) {
	id, last := uint64(0), uint64(0)
	for n := d.count(6); n > 0 && !d.bad; n-- {
		id += d.uvarint()
		h := &past{id: id, name: d.text(), keep: d.time(Millisecond), open: d.varint(), tailed: d.octet() == 1}
		at := Time(0)
		k := d.count(2)
		h.cells = make([]cell, 0, k)
		for ; k > 0 && !d.bad; k-- {
			at += d.time(Microsecond)
			h.cells = append(h.cells, cell{at, int64(d.number())})
		}
		if id <= last && last > 0 || f.byName[h.name] != nil {
			d.fail()
			return
		}
		last = id
		f.byName[h.name] = h
		f.order = append(f.order, h)
	}
	for _, s := range f.sessions {
		for counter := range s.slots {
			h := f.past(counter)
			if h == nil {
				d.fail()
				return
			}
			h.held++
		}
	}
}
