// Package frame is what a node and a script worker say to each other: frames over a
// pair of pipes, each a length, a type and its fields.
//
// Only what has changed travels: a Call carries of its connection and transaction what
// the worker does not know yet, an Answer what the script has changed. Neither side
// trusts the other's lengths: whatever the octets, reading them gives a frame or an
// error, and takes no more memory than there are octets.
package frame

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Max bounds a frame.
const Max = 16 << 20

// Value kinds on the wire.
const (
	kindNull = iota
	kindFalse
	kindTrue
	kindNumber
	kindText
	kindJSON
)

// JSON is a value that is more than text, number or boolean: as JSON says it.
type JSON string

// Buffer takes the fields of a frame.
type Buffer struct{ B []byte }

func (b *Buffer) uint(v uint64) { b.B = binary.AppendUvarint(b.B, v) }

func (b *Buffer) text(s string) {
	b.uint(uint64(len(s)))
	b.B = append(b.B, s...)
}

func (b *Buffer) octets(p []byte) {
	b.uint(uint64(len(p)))
	b.B = append(b.B, p...)
}

func (b *Buffer) bool(v bool) {
	if v {
		b.B = append(b.B, 1)
	} else {
		b.B = append(b.B, 0)
	}
}

func (b *Buffer) texts(v []string) {
	b.uint(uint64(len(v)))
	for _, s := range v {
		b.text(s)
	}
}

// value writes nil, bool, float64, string or JSON; everything else goes as JSON, and
// what JSON cannot say as null.
func (b *Buffer) value(v any) {
	switch v := v.(type) {
	case nil:
		b.B = append(b.B, kindNull)
	case bool:
		if v {
			b.B = append(b.B, kindTrue)
		} else {
			b.B = append(b.B, kindFalse)
		}
	case float64:
		b.B = append(b.B, kindNumber)
		b.B = binary.LittleEndian.AppendUint64(b.B, math.Float64bits(v))
	case int:
		b.value(float64(v))
	case int64:
		b.value(float64(v))
	case string:
		b.B = append(b.B, kindText)
		b.text(v)
	case JSON:
		b.B = append(b.B, kindJSON)
		b.text(string(v))
	default:
		j, err := json.Marshal(v)
		if err != nil {
			b.B = append(b.B, kindNull)
			return
		}
		b.B = append(b.B, kindJSON)
		b.octets(j)
	}
}

var errShort = errors.New("a frame ends in the middle of a field")

// fields reads the fields of a frame, in the order in which they were written. After
// the first error all further ones are zero.
type fields struct {
	b   []byte
	err error
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
	f.b = nil
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.fail(errShort)
		return 0
	}
	f.b = f.b[n:]
	return v
}

// part takes n octets, which are the frame's own.
func (f *fields) part(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.fail(errShort)
		return nil
	}
	p := f.b[:n:n]
	f.b = f.b[n:]
	return p
}

func (f *fields) text() string { return string(f.part(f.uint())) }

func (f *fields) octets() []byte {
	if p := f.part(f.uint()); len(p) > 0 {
		return p
	}
	return nil
}

func (f *fields) byte() byte {
	if p := f.part(1); len(p) == 1 {
		return p[0]
	}
	return 0
}

func (f *fields) bool() bool {
	switch f.byte() {
	case 0:
		return false
	case 1:
		return true
	}
	f.fail(errors.New("a boolean is neither 0 nor 1"))
	return false
}

// count is the length of a list. Every entry takes an octet at least, so a count
// beyond what is left is refused before anything is allocated.
func (f *fields) count() int {
	n := f.uint()
	if n > uint64(len(f.b)) {
		f.fail(errShort)
		return 0
	}
	return int(n)
}

func (f *fields) texts() []string {
	n := f.count()
	if n == 0 {
		return nil
	}
	out := make([]string, 0, min(n, 64))
	for range n {
		if f.err != nil {
			return nil
		}
		out = append(out, f.text())
	}
	return out
}

func (f *fields) value() any {
	switch k := f.byte(); k {
	case kindNull:
	case kindFalse:
		return false
	case kindTrue:
		return true
	case kindNumber:
		if p := f.part(8); len(p) == 8 {
			return math.Float64frombits(binary.LittleEndian.Uint64(p))
		}
	case kindText:
		return f.text()
	case kindJSON:
		return JSON(f.text())
	default:
		f.fail(fmt.Errorf("there is no kind of value %d", k))
	}
	return nil
}

// end is the error, if there was one or something is left over.
func (f *fields) end() error {
	if f.err == nil && len(f.b) > 0 {
		return fmt.Errorf("a frame has %d octets behind its last field", len(f.b))
	}
	return f.err
}

// Decoded is v as Go code has it: JSON is unpacked.
func Decoded(v any) any {
	j, ok := v.(JSON)
	if !ok {
		return v
	}
	var out any
	if json.Unmarshal([]byte(j), &out) != nil {
		return nil
	}
	return out
}
