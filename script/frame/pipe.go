package frame

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// Type says what a frame is.
type Type byte

// What a node says, and what a worker says.
const (
	TypeLoad Type = iota + 1
	TypeCall
	TypeCancel
	TypeForget
	TypePiece
	TypeLoaded
	TypeAnswer
	TypeAsk
	TypeLine
	TypeDying
	TypePing
	TypePong
)

// Frame is one of the frames of this package.
type Frame interface {
	kind() Type
	put(*Buffer)
}

// Writer sends frames. Frames sent while another goroutine writes go out together
// with one write, when it is done.
type Writer struct {
	w io.Writer

	mu      sync.Mutex
	pending Buffer
	spare   []byte
	writing bool
	err     error
}

// NewWriter makes a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// maxPending bounds what waits for a reader who does not read.
const maxPending = 64 << 20

// Add puts a frame behind those that wait. Flush sends them.
func (w *Writer) Add(f Frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.add(f)
}

func (w *Writer) add(f Frame) error {
	if w.err != nil {
		return w.err
	}
	at := len(w.pending.B)
	w.pending.B = append(w.pending.B, 0, 0, 0, 0, byte(f.kind()))
	f.put(&w.pending)
	n := len(w.pending.B) - at - 4
	if n > Max || len(w.pending.B) > maxPending {
		w.pending.B = w.pending.B[:at]
		return fmt.Errorf("a frame of %d octets behind %d that wait is too much", n, at)
	}
	binary.BigEndian.PutUint32(w.pending.B[at:], uint32(n))
	return nil
}

// Send is Add and Flush.
func (w *Writer) Send(f Frame) error {
	w.mu.Lock()
	if err := w.add(f); err != nil {
		w.mu.Unlock()
		return err
	}
	return w.flush()
}

// Flush sends what waits, unless somebody else is about to.
func (w *Writer) Flush() error {
	w.mu.Lock()
	return w.flush()
}

func (w *Writer) flush() error {
	if w.writing {
		w.mu.Unlock()
		return nil
	}
	w.writing = true
	for w.err == nil && len(w.pending.B) > 0 {
		// Whoever is about to send joins: one write for all of them costs what one for
		// each costs.
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
		out := w.pending.B
		w.pending.B = w.spare[:0]
		w.mu.Unlock()
		_, err := w.w.Write(out)
		w.mu.Lock()
		if cap(out) <= 256<<10 {
			w.spare = out
		} else {
			w.spare = nil
		}
		w.err = err
	}
	w.writing = false
	err := w.err
	w.mu.Unlock()
	return err
}

// Pending tells how many octets wait.
func (w *Writer) Pending() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending.B)
}

// Reader reads frames.
type Reader struct {
	r   *bufio.Reader
	buf []byte
}

// NewReader makes a Reader from r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 64<<10)} }

// Buffered tells how many octets are there at once.
func (r *Reader) Buffered() int { return r.r.Buffered() }

// Next reads one frame. io.EOF: the other side is gone, between frames. The frame
// keeps nothing of the Reader's buffer.
func (r *Reader) Next() (Frame, error) {
	var head [5]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > Max {
		return nil, fmt.Errorf("a frame cannot have %d octets", n)
	}
	body, err := r.body(int(n) - 1)
	if err != nil {
		return nil, err
	}
	return Decode(Type(head[4]), body)
}

// body reads n octets. What is big grows as it comes: a length alone takes no memory.
func (r *Reader) body(n int) ([]byte, error) {
	const step = 64 << 10
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		k := min(n-len(r.buf), step)
		at := len(r.buf)
		if cap(r.buf) < at+k {
			r.buf = append(r.buf, make([]byte, k)...)
		}
		r.buf = r.buf[:at+k]
		if _, err := io.ReadFull(r.r, r.buf[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	b := r.buf
	if cap(r.buf) > 256<<10 {
		r.buf = nil
	}
	return b, nil
}

// Decode reads the fields of a frame. Octets in it are copies.
func Decode(t Type, b []byte) (Frame, error) {
	f := &fields{b: b}
	var out Frame
	switch t {
	case TypeLoad:
		out = getLoad(f)
	case TypeCall:
		out = getCall(f)
	case TypeCancel:
		out = &Cancel{Seq: f.uint()}
	case TypeForget:
		out = &Forget{Connection: f.uint()}
	case TypePiece:
		out = getPiece(f)
	case TypeLoaded:
		out = getLoaded(f)
	case TypeAnswer:
		out = getAnswer(f)
	case TypeAsk:
		out = &Ask{Seq: f.uint(), What: What(f.byte()), Offset: f.uint(), Name: f.text()}
	case TypeLine:
		out = &Line{Level: f.byte(), Plugin: f.text(), ID: f.text(), Text: f.text()}
	case TypeDying:
		out = &Dying{Seq: f.uint(), Why: f.text()}
	case TypePing:
		out = &Ping{}
	case TypePong:
		out = &Pong{}
	default:
		return nil, fmt.Errorf("there is no frame of type %d", t)
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	return out, nil
}
