package smtp

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
)

// A body leaves in blocks: what is collected goes out when it passes blockSize.
// A message below that leaves in one write, dot included.
const (
	blockSize = 32 << 10
	pieceSize = 16 << 10 // what is taken from a body at once
	blockCap  = blockSize + pieceSize*4/3 + 16
)

var blocks = sync.Pool{New: func() any { return new([blockCap]byte) }}

func getBlock() *[blockCap]byte  { return blocks.Get().(*[blockCap]byte) }
func putBlock(b *[blockCap]byte) { blocks.Put(b) }

// errBareLine: a streamed body turned out to hold a bare CR or LF.
var errBareLine = errors.New("body contains a bare CR or LF")

// writeData sends the body with its final dot. The block that ends it leaves
// only after BeforeDot.
func (c *Client) writeData(t *Transaction, body *bodyFacts, res *Result) error {
	block := getBlock()
	defer putBlock(block)
	out := block[:0]
	var s stuffer
	if t.Bytes != nil || t.Data == nil {
		for rest := t.Bytes; len(rest) > 0; {
			piece := rest[:min(len(rest), pieceSize)]
			rest = rest[len(piece):]
			if body.dots {
				out, _ = s.append(out, piece) // checked before
			} else {
				out = append(out, piece...)
			}
			if len(out) >= blockSize && len(rest) > 0 {
				if err := c.write(StageData, c.t.Block, out); err != nil {
					return err
				}
				out = block[:0]
			}
		}
		if !body.endsInCRLF {
			out = append(out, "\r\n"...)
		}
	} else {
		var err error
		if out, err = c.writeStream(t, &s, out); err != nil {
			return err
		}
		out = s.finish(out)
	}
	out = append(out, ".\r\n"...)
	if err := c.beforeDot(t); err != nil {
		return err
	}
	res.DotSent = true // from here on the host may have the message
	return c.write(StageDot, c.t.Block, out)
}

// writeStream sends all blocks of a streamed body but the last, which it returns.
func (c *Client) writeStream(t *Transaction, s *stuffer, out []byte) ([]byte, error) {
	r, err := t.open()
	if err != nil {
		return nil, &SourceError{Err: err}
	}
	defer closeReader(r)
	in := getBlock()
	defer putBlock(in)
	block := out
	for {
		n, err := r.Read(in[:pieceSize])
		if n > 0 {
			if len(out) >= blockSize {
				if err := c.write(StageData, c.t.Block, out); err != nil {
					return nil, err
				}
				out = block[:0]
			}
			var ok bool
			if out, ok = s.append(out, in[:n]); !ok {
				return nil, errBareLine
			}
		}
		if err == io.EOF {
			if s.cr {
				return nil, errBareLine
			}
			return out, nil
		}
		if err != nil {
			return nil, &SourceError{Err: err}
		}
	}
}

// writeBDAT sends the body as one last chunk (RFC 3030 §2). Only bodies whose
// length is known go this way; a stream goes with DATA, which needs no length.
// It is sent after the replies to RCPT and not together with them: a host that
// refuses every recipient and then does not swallow the chunk, as it must, would
// run a stranger's message as our commands.
func (c *Client) writeBDAT(t *Transaction, body *bodyFacts, res *Result) error {
	n := len(t.Bytes)
	if !body.endsInCRLF {
		n += 2
	}
	block := getBlock()
	defer putBlock(block)
	out := append(block[:0], "BDAT "...)
	out = strconv.AppendInt(out, int64(n), 10)
	out = append(out, " LAST\r\n"...)
	c.debugCommands(out)
	for rest := t.Bytes; len(rest) > 0; {
		piece := rest[:min(len(rest), pieceSize)]
		rest = rest[len(piece):]
		out = append(out, piece...)
		if len(out) >= blockSize && len(rest) > 0 {
			if err := c.write(StageData, c.t.Block, out); err != nil {
				return err
			}
			out = block[:0]
		}
	}
	if !body.endsInCRLF {
		out = append(out, "\r\n"...)
	}
	if err := c.beforeDot(t); err != nil {
		return err
	}
	res.DotSent = true
	return c.write(StageDot, c.t.Block, out)
}

func (c *Client) beforeDot(t *Transaction) error {
	if t.BeforeDot == nil {
		return nil
	}
	if err := t.BeforeDot(c.ctx); err != nil {
		return &NotCompletedError{Err: err}
	}
	return nil
}

// SourceError says that the message could not be read on our side. The message was not completed.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return "read message: " + e.Err.Error() }
func (e *SourceError) Unwrap() error { return e.Err }

// NotStartedError carries the error of BeforeMail: MAIL FROM was not sent, and the
// connection is as good as before.
type NotStartedError struct{ Err error }

func (e *NotStartedError) Error() string { return "transaction not started: " + e.Err.Error() }
func (e *NotStartedError) Unwrap() error { return e.Err }

// NotCompletedError carries the error of BeforeDot. The message was not completed.
type NotCompletedError struct{ Err error }

func (e *NotCompletedError) Error() string { return "message not completed: " + e.Err.Error() }
func (e *NotCompletedError) Unwrap() error { return e.Err }

// stuffer does RFC 5321 §4.5.2 over a body that comes in pieces: a line that
// begins with a dot gets another.
type stuffer struct {
	mid bool // inside a line
	cr  bool // the last octet was a CR
}

// append adds p, stuffed, to dst. ok is false when p holds a bare CR or LF; then
// dst must not be sent.
func (s *stuffer) append(dst, p []byte) (out []byte, ok bool) {
	from := 0 // p[from:] is not in dst yet
	for i := 0; i < len(p); {
		if s.cr && p[i] != '\n' {
			return dst, false
		}
		if !s.mid && p[i] == '.' {
			dst = append(dst, p[from:i]...)
			dst = append(dst, '.')
			from = i
		}
		end := bytes.IndexByte(p[i:], '\n')
		if end < 0 {
			line := p[i:]
			cr := bytes.IndexByte(line, '\r')
			if cr >= 0 && cr != len(line)-1 {
				return dst, false
			}
			s.mid, s.cr = true, cr >= 0
			break
		}
		line := p[i : i+end] // without its LF
		switch cr := bytes.IndexByte(line, '\r'); {
		case len(line) == 0 && s.cr: // the CR came with the piece before
		case cr < 0 || cr != len(line)-1:
			return dst, false
		}
		s.mid, s.cr = false, false
		i += end + 1
	}
	return append(dst, p[from:]...), true
}

// finish ends the last line if the body did not.
func (s *stuffer) finish(dst []byte) []byte {
	if s.mid {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

type lineFacts struct{ dots, endsInCRLF bool }

// scanLines looks at a whole body; ok is false when it holds a bare CR or LF.
func scanLines(b []byte) (f lineFacts, ok bool) {
	for i := 0; i < len(b); {
		if b[i] == '.' {
			f.dots = true
		}
		end := bytes.IndexByte(b[i:], '\n')
		if end < 0 {
			break
		}
		if end == 0 || b[i+end-1] != '\r' {
			return f, false
		}
		i += end + 1
	}
	f.endsInCRLF = len(b) == 0 || b[len(b)-1] == '\n'
	// Each LF has its CR; a CR more than LFs is a bare one.
	return f, bytes.Count(b, []byte{'\r'}) == bytes.Count(b, []byte{'\n'})
}

// open calls t.Data for the message from its first octet.
func (t *Transaction) open() (io.Reader, error) { return t.Data() }

func closeReader(r io.Reader) {
	if c, ok := r.(io.Closer); ok {
		_ = c.Close()
	}
}
