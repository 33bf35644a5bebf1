package scheduler

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tarishi/tarishi/shaping"
)

// format is the version of the encoding of commands.
const format = 1

// The head of a Rec says what follows.
const (
	recName = 1 << iota
	recKeep
	recAdd
	recForget
	recCloses = 4 // shift: the number of closes, in four bits
	recMany   = 15
)

// Append appends the command's encoding to b: two octets of version and type, then
// varints, so that an entry costs what it says and no more.
func (c *Command) Append(b []byte) []byte {
	b = append(b, format, byte(c.Type))
	switch c.Type {
	case TermStart:
		b = binary.AppendUvarint(b, c.RaftTerm)
		b = appendTime(b, c.Clock, Microsecond)
	case Tick:
		b = c.appendTick(b)
	case Join:
		b = appendText(b, c.Node)
	case Change:
		// A Change is text and numbers; it always encodes.
		text, _ := json.Marshal(c.Change)
		b = append(b, text...)
	case ClusterInit:
		b = appendText(b, c.Cluster)
	case Import:
		b = appendTime(b, c.Clock, Microsecond)
		b = append(b, c.Snapshot...)
	}
	return b
}

func (c *Command) appendTick(b []byte) []byte {
	b = binary.AppendUvarint(b, c.Term)
	b = binary.AppendUvarint(b, c.Seq)
	b = appendTime(b, c.Clock, Microsecond)
	b = appendTime(b, c.Horizon-down(c.Clock, Microsecond), Microsecond)
	b = appendTime(b, c.Lease-down(c.Clock, Microsecond), Microsecond)
	b = binary.AppendUvarint(b, uint64(len(c.Recs)))
	last := uint64(0)
	for i := range c.Recs {
		r := &c.Recs[i]
		b = binary.AppendVarint(b, int64(r.ID-last))
		last = r.ID
		b = r.append(b, down(c.Clock, Millisecond))
	}
	b = binary.AppendUvarint(b, uint64(len(c.Slots)))
	for _, s := range c.Slots {
		b = binary.AppendUvarint(b, s.ID)
		b = appendText(b, s.Name)
		b = binary.AppendUvarint(b, uint64(s.Session))
		b = binary.AppendUvarint(b, uint64(s.Most))
	}
	for _, list := range [][]SessionID{c.Absent, c.Leaves} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = binary.AppendUvarint(b, uint64(s))
		}
	}
	return b
}

func (r *Rec) append(b []byte, clock Time) []byte {
	head := byte(min(len(r.Close), recMany)) << recCloses
	for _, x := range []struct {
		bit byte
		on  bool
	}{{recName, r.Name != ""}, {recKeep, r.Keep != 0}, {recAdd, r.Add != 0}, {recForget, r.Forget}} {
		if x.on {
			head |= x.bit
		}
	}
	b = append(b, head)
	if r.Name != "" {
		b = appendText(b, r.Name)
	}
	if r.Keep != 0 {
		b = appendTime(b, up(r.Keep, Millisecond), Millisecond)
	}
	if r.Add != 0 {
		b = binary.AppendVarint(b, r.Add)
	}
	if len(r.Close) >= recMany {
		b = binary.AppendUvarint(b, uint64(len(r.Close)-recMany))
	}
	for _, s := range r.Close {
		b = appendTime(b, clock-up(s.At, Millisecond), Millisecond)
		b = binary.AppendUvarint(b, uint64(s.N))
	}
	return b
}

func appendTime(b []byte, t, unit Time) []byte {
	return binary.AppendVarint(b, int64(down(t, unit)/unit))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errDamaged = errors.New("the log entry is damaged")

// ParseCommand reads what Append wrote. A damaged command is refused; so is one of a
// newer version (ErrNewer).
func ParseCommand(b []byte) (*Command, error) {
	if len(b) < 2 || b[0] == 0 {
		return nil, errDamaged
	}
	if b[0] > format {
		return nil, fmt.Errorf("log entry of format %d: %w", b[0], ErrNewer)
	}
	c, d := &Command{Type: CommandType(b[1])}, &decoder{b: b[2:]}
	switch c.Type {
	case TermStart:
		c.RaftTerm = d.uvarint()
		c.Clock = d.time(Microsecond)
	case Tick:
		d.tick(c)
	case Join:
		c.Node = d.text()
	case Change:
		c.Change = new(shaping.Change)
		if err := json.Unmarshal(d.rest(), c.Change); err != nil {
			return nil, fmt.Errorf("log entry with a change of limits: %w", err)
		}
		if !c.Change.Op.Known() {
			// To refuse it would make this node's limits differ from the others'.
			return nil, fmt.Errorf("log entry with a change called %q: %w", c.Change.Op, ErrNewer)
		}
	case ClusterInit:
		c.Cluster = d.text()
	case Import:
		c.Clock = d.time(Microsecond)
		c.Snapshot = d.rest()
	default:
		return nil, fmt.Errorf("log entry of type %d: %w", b[1], ErrNewer)
	}
	if d.bad || len(d.b) > 0 {
		return nil, errDamaged
	}
	return c, nil
}

func (d *decoder) tick(c *Command) {
	c.Term = d.uvarint()
	c.Seq = d.uvarint()
	c.Clock = d.time(Microsecond)
	c.Horizon = c.Clock + d.time(Microsecond)
	c.Lease = c.Clock + d.time(Microsecond)
	id := uint64(0)
	for n := d.count(2); n > 0; n-- {
		id += uint64(d.varint())
		c.Recs = append(c.Recs, d.rec(id, down(c.Clock, Millisecond)))
	}
	for n := d.count(4); n > 0; n-- {
		s := SlotRec{ID: d.uvarint(), Name: d.text(), Session: SessionID(d.uvarint()), Most: d.number()}
		c.Slots = append(c.Slots, s)
	}
	for _, list := range []*[]SessionID{&c.Absent, &c.Leaves} {
		for n := d.count(1); n > 0; n-- {
			*list = append(*list, SessionID(d.uvarint()))
		}
	}
}

func (d *decoder) rec(id uint64, clock Time) Rec {
	r := Rec{ID: id}
	head := d.octet()
	if head&recName != 0 {
		r.Name = d.text()
	}
	if head&recKeep != 0 {
		r.Keep = d.time(Millisecond)
	}
	if head&recAdd != 0 {
		r.Add = d.varint()
	}
	r.Forget = head&recForget != 0
	n := int(head >> recCloses)
	if n == recMany {
		n += d.count(2)
	}
	for ; n > 0 && !d.bad; n-- {
		at := clock - d.time(Millisecond)
		r.Close = append(r.Close, Start{at, int64(d.number())})
	}
	return r
}

// decoder reads varints. It never panics: what is missing reads as zero, and bad is set.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() {
	d.b, d.bad = nil, true
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) octet() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// number is one that is not negative and no larger than any we write.
func (d *decoder) number() int {
	v := d.uvarint()
	if v > 1<<40 {
		d.fail()
		return 0
	}
	return int(v)
}

// count is the number of things that follow, each of size octets at least.
func (d *decoder) count(size int) int {
	v := d.uvarint()
	if v > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(v)
}

// time is one that is within some hundred years of the other times.
func (d *decoder) time(unit Time) Time {
	v := d.varint()
	if m := int64((1 << 61) / unit); v > m || v < -m {
		d.fail()
		return 0
	}
	return Time(v) * unit
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) rest() []byte {
	b := d.b
	d.b = nil
	return b
}
