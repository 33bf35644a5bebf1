package worker

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/script/frame"
)

//go:embed stream.js
var streamSource string

// streamMethods runs stream.js, which makes the class of streams.
func (w *worker) streamMethods() {
	events, err := w.rt.Require("events")
	if err != nil {
		panic(err)
	}
	v, err := w.vm.RunScript("message_stream.js", streamSource)
	if err != nil {
		panic(err)
	}
	emitter := events.ToObject(w.vm).Get("EventEmitter")
	if emitter == nil || goja.IsUndefined(emitter) {
		emitter = events
	}
	make, _ := goja.AssertFunction(v)
	class, err := make(goja.Undefined(), emitter, w.vm.GlobalObject().Get("setImmediate"))
	if err != nil {
		panic(err)
	}
	w.protos.streamClass = class
}

// stream is transaction.message_stream.
func (w *worker) stream(t *transaction) *goja.Object {
	o, err := w.vm.New(w.protos.streamClass, w.vm.ToValue(func(c goja.FunctionCall) goja.Value {
		if !t.in {
			w.throw("message_stream: the message is not in yet")
		}
		r := wireOptions(c.Argument(0)).reader(t)
		return w.reading(r)
	}))
	if err != nil {
		panic(w.vm.NewGoError(err))
	}
	return o
}

// attachment is the stream of an attachment's octets.
func (w *worker) attachment(connection goja.Value, open func() io.Reader) (*goja.Object, error) {
	o, err := w.vm.New(w.protos.streamClass, w.vm.ToValue(func(goja.FunctionCall) goja.Value {
		return w.reading(open())
	}))
	if err == nil {
		o.Set("connection", connection)
	}
	return o, err
}

// reading gives the octets of r piece after piece, and null at the end.
func (w *worker) reading(r io.Reader) goja.Value {
	return w.vm.ToValue(func(goja.FunctionCall) goja.Value {
		buf := make([]byte, 64<<10)
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			return w.rt.Buffer(buf[:n])
		}
		if err != nil && err != io.EOF {
			panic(w.vm.NewGoError(err))
		}
		return goja.Null()
	})
}

// wire is how message_stream writes a message.
type wire struct {
	lineEnd      string
	stuffed, dot bool
	framed       bool // pieces as clamd's INSTREAM has them
}

// wireOptions are those of pipe, as Haraka describes them.
func wireOptions(v goja.Value) *wire {
	x := &wire{lineEnd: "\r\n", stuffed: true}
	o, ok := v.(*goja.Object)
	if !ok {
		return x
	}
	is := func(key string, otherwise bool) bool {
		v := o.Get(key)
		if v == nil || goja.IsUndefined(v) {
			return otherwise
		}
		return v.ToBoolean()
	}
	if v := o.Get("line_endings"); v != nil && !goja.IsUndefined(v) {
		x.lineEnd = v.String()
	}
	x.stuffed, x.dot, x.framed = is("dot_stuffed", true), is("ending_dot", false), is("clamd_style", false)
	return x
}

// bodyReader reads a body from the node, or from what is here of it.
type bodyReader struct {
	t    *transaction
	at   uint64
	here []byte
	last bool
}

func (b *bodyReader) Read(p []byte) (int, error) {
	for len(b.here) == 0 {
		if b.last {
			return 0, io.EOF
		}
		if b.at == 0 && b.t.hasBody {
			b.here, b.last = b.t.bodyOctets, true
			continue
		}
		piece, err := b.t.ask(frame.AskBody, b.at)
		if err != nil {
			return 0, err
		}
		b.here, b.last = piece.Octets, piece.Last
		b.at += uint64(len(piece.Octets))
	}
	n := copy(p, b.here)
	b.here = b.here[n:]
	return n, nil
}

// reader is the message on the wire.
func (x *wire) reader(t *transaction) io.Reader {
	message := io.MultiReader(bytes.NewReader(append(t.head().octets(), '\r', '\n')), &bodyReader{t: t})
	return &wireReader{x: x, in: newBuffered(message)}
}

func newBuffered(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 64<<10) }

// wireReader writes line after line as x says.
type wireReader struct {
	x       *wire
	in      *bufio.Reader
	out     bytes.Buffer
	midLine bool
	cr      bool // a piece of a long line ended in CR: LF may follow
	done    bool
}

func (r *wireReader) Read(p []byte) (int, error) {
	for r.out.Len() == 0 {
		if r.done {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	return r.out.Read(p)
}

// fill takes some lines, or pieces of very long ones.
func (r *wireReader) fill() error {
	var b bytes.Buffer
	for b.Len() < 32<<10 && !r.done {
		line, err := r.in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return err
		}
		if r.cr {
			r.cr = false
			if len(line) == 0 || line[0] != '\n' {
				b.WriteByte('\r')
			}
		}
		if err == bufio.ErrBufferFull && bytes.HasSuffix(line, []byte{'\r'}) {
			line, r.cr = line[:len(line)-1], true
		}
		if len(line) > 0 {
			if r.x.stuffed && !r.midLine && line[0] == '.' {
				b.WriteByte('.')
			}
			text, whole := bytes.CutSuffix(line, []byte("\r\n"))
			if !whole {
				text, whole = bytes.CutSuffix(line, []byte("\n"))
			}
			b.Write(text)
			if whole {
				b.WriteString(r.x.lineEnd)
			}
			r.midLine = !whole
		}
		if err == io.EOF {
			r.done = true
			if r.x.dot {
				if r.midLine {
					b.WriteString(r.x.lineEnd)
				}
				b.WriteString("." + r.x.lineEnd)
			}
		}
	}
	if !r.x.framed {
		_, err := r.out.Write(b.Bytes())
		return err
	}
	return r.frame(b.Bytes())
}

// frame writes octets with their length before them, and a zero at the end.
func (r *wireReader) frame(b []byte) error {
	if len(b) > 0 {
		if err := binary.Write(&r.out, binary.BigEndian, uint32(len(b))); err != nil {
			return fmt.Errorf("frame a piece: %w", err)
		}
		r.out.Write(b)
	}
	if r.done {
		r.out.Write(make([]byte, 4))
	}
	return nil
}
