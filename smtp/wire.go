package smtp

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

const (
	tinyBuf  = 1 << 10  // part of every connection: what an idle one costs
	lineBuf  = 4 << 10  // borrowed for a long command or many pipelined ones
	bodyBuf  = 32 << 10 // borrowed while a message is read
	maxQueue = 4 << 10  // octets of replies held back for a pipelining client
	// How long replies may wait for more of a pipelined group that filled the buffer exactly.
	pipelineGrace = 20 * time.Millisecond
	maxLongLine   = 64 << 10 // octets of an over-long command read in search of its CRLF
)

var (
	linePool = sync.Pool{New: func() any { return new([lineBuf]byte) }}
	bodyPool = sync.Pool{New: func() any { return new([bodyBuf]byte) }}
)

var (
	errLineTooLong = errors.New("command line too long")               // the line is gone; the next can be read
	errLinePartial = errors.New("command line too long, end not read") // skipLine goes on
	errLineEndless = errors.New("endless command line")                // close
	errLineBareLF  = errors.New("command line ends in LF without CR")  // close: what follows may be injected
	errLineOctets  = errors.New("command line holds NUL or a bare CR") // the line is gone; the next can be read
	errNotSMTP     = errors.New("the client does not speak SMTP")      // close
)

// wire is a connection with its read buffer and its queue of replies. It
// borrows buffers only while there is something in them. One goroutine uses it.
type wire struct {
	nc   net.Conn
	buf  []byte // tiny, or one of the two below
	r, w int    // buf[r:w] has been read and not used
	full bool   // the last read filled its space: there is probably more
	line *[lineBuf]byte
	body *[bodyBuf]byte

	out          []byte // replies not yet written
	writeTimeout time.Duration
	werr         error // of the first failed write; nothing is written after it
	// arm sets the read deadline, or says why there must be no more reading.
	arm func(deadline time.Time) error

	tiny [tinyBuf]byte
}

func (w *wire) buffered() []byte { return w.buf[w.r:w.w] }

// shrink gives borrowed buffers back; the read buffer must be empty.
func (w *wire) shrink() {
	w.r, w.w = 0, 0
	if w.line != nil {
		linePool.Put(w.line)
		w.line = nil
	}
	if w.body != nil {
		bodyPool.Put(w.body)
		w.body = nil
	}
	w.buf = w.tiny[:]
}

// grow moves to the next larger buffer and keeps what has been read.
func (w *wire) grow() {
	old := w.buffered()
	switch {
	case w.body != nil:
		return
	case w.line == nil && len(w.buf) <= tinyBuf:
		w.line = linePool.Get().(*[lineBuf]byte)
		w.w = copy(w.line[:], old)
		w.buf = w.line[:]
	default:
		w.useBody()
		return
	}
	w.r = 0
}

// useBody moves to the largest buffer and keeps what has been read.
func (w *wire) useBody() {
	if w.body != nil {
		return
	}
	b := bodyPool.Get().(*[bodyBuf]byte)
	w.w = copy(b[:], w.buffered())
	w.r = 0
	if w.line != nil {
		linePool.Put(w.line)
		w.line = nil
	}
	w.body, w.buf = b, b[:]
}

// fill reads once, behind what is there already. The caller has set the deadline.
func (w *wire) fill() error {
	if w.r > 0 {
		w.w = copy(w.buf, w.buffered())
		w.r = 0
	}
	if w.w == len(w.buf) || w.full && w.w > 0 {
		w.grow()
	}
	n, err := w.nc.Read(w.buf[w.w:])
	w.full = n == len(w.buf)-w.w
	w.w += n
	if n > 0 {
		return nil // an error will come again
	}
	return err
}

// flush writes the queued replies.
func (w *wire) flush() error {
	if len(w.out) == 0 || w.werr != nil {
		w.out = w.out[:0]
		return w.werr
	}
	_ = w.nc.SetWriteDeadline(time.Now().Add(w.writeTimeout))
	_, w.werr = w.nc.Write(w.out)
	if cap(w.out) > tinyBuf {
		w.out = nil
	} else {
		w.out = w.out[:0]
	}
	return w.werr
}

// fillFlushed writes the queued replies and reads once. When the last read came
// back full, more of the same pipelined group is on its way (RFC 2920 §3.2:
// replies may wait for it), and writing first would cost a segment per buffer;
// so it waits a moment for that, and not longer. The deadline has been set.
func (w *wire) fillFlushed(deadline time.Time) error {
	if w.full && len(w.out) > 0 {
		_ = w.nc.SetReadDeadline(time.Now().Add(pipelineGrace))
		err := w.fill()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := w.arm(deadline); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.fill()
}

// takeLine returns the next command line without its CRLF if it has been read
// whole, else nil and no error. The line is valid until the next read. Lines end
// in CRLF alone (RFC 5321 §2.3.8).
func (w *wire) takeLine(limit int) ([]byte, error) {
	b := w.buffered()
	lf := bytes.IndexByte(b, '\n')
	if lf < 0 {
		if len(b) >= limit {
			return nil, errLinePartial
		}
		return nil, nil
	}
	w.r += lf + 1
	if lf == 0 || b[lf-1] != '\r' {
		return nil, errLineBareLF
	}
	if lf+1 > limit {
		return nil, errLineTooLong
	}
	line := b[:lf-1]
	if bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0 {
		return nil, errLineOctets
	}
	return line, nil
}

// skipLine discards the rest of a line that is too long, up to its CRLF, in constant memory.
func (w *wire) skipLine(deadline time.Time) error {
	var last byte
	for n := 0; ; {
		b := w.buffered()
		if lf := bytes.IndexByte(b, '\n'); lf >= 0 {
			if lf > 0 {
				last = b[lf-1]
			}
			w.r += lf + 1
			if last != '\r' {
				return errLineBareLF
			}
			return nil
		}
		if n += len(b); n > maxLongLine {
			return errLineEndless
		}
		if len(b) > 0 {
			last = b[len(b)-1]
		}
		w.r = w.w
		if err := w.fillFlushed(deadline); err != nil {
			return err
		}
	}
}
