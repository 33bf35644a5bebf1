package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tarishi/tarishi/plugin"
)

// spool keeps a message while plugins look at it: its header, and its body in memory
// until that is large, then in a file. The file has no name any more as soon as it is
// open, so that whatever ends the message, or the process, leaves nothing behind.
//
// A function that was given up may still read while the message goes on its way, or
// after: it then reads what it has, or an error.
type spool struct {
	folder string // of the file; empty: the system's own
	inMem  int    // octets of the body that stay in memory

	head   []byte // the header block as it came in, without the empty line
	over   bool   // the header block is
	header *plugin.Header

	mem  []byte
	file *os.File
	size int64 // octets of the body
}

// spoolMemory is what one message may take of memory, beside its header.
const spoolMemory = 1 << 20

var headerEnd = []byte("\r\n\r\n")

// Write takes what the header filter passes: lines that end in CRLF, the trace field
// first, so that the empty line behind the header always follows a line.
func (s *spool) Write(p []byte) (int, error) {
	if s.over {
		return len(p), s.body(p)
	}
	n := s.end(p)
	if n < 0 {
		s.head = append(s.head, p...)
		return len(p), nil
	}
	s.head, s.over = append(s.head, p[:n]...), true
	s.head = s.head[:len(s.head)-len("\r\n")]
	return len(p), s.body(p[n:])
}

// end tells how many octets of p belong to the header block, its empty line included;
// -1: all of them do, and more is to come.
func (s *spool) end(p []byte) int {
	for k := len(headerEnd) - 1; k > 0; k-- { // it may have begun before
		if bytes.HasSuffix(s.head, headerEnd[:k]) && bytes.HasPrefix(p, headerEnd[k:]) {
			return len(headerEnd) - k
		}
	}
	if i := bytes.Index(p, headerEnd); i >= 0 {
		return i + len(headerEnd)
	}
	return -1
}

func (s *spool) body(p []byte) error {
	s.size += int64(len(p))
	if s.file == nil {
		if len(s.mem)+len(p) <= s.inMem {
			s.mem = append(s.mem, p...)
			return nil
		}
		if err := s.open(); err != nil {
			return fmt.Errorf("spool: %w", err)
		}
	}
	if _, err := s.file.Write(p); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// open moves the body into a file.
func (s *spool) open() error {
	f, err := os.CreateTemp(s.folder, "message-")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		return errors.Join(err, f.Close())
	}
	s.file = f
	_, err = f.Write(s.mem)
	s.mem = nil
	return err
}

// done is called when the message is in.
func (s *spool) done() { s.header = plugin.ParseHeader(s.head) }

// Header, Size and Body are plugin.Message.
func (s *spool) Header() *plugin.Header { return s.header }

func (s *spool) Size() int64 {
	n := int64(len(s.head)) + s.size
	if s.over {
		n += 2
	}
	return n
}

func (s *spool) Body() (io.Reader, error) {
	if s.file == nil {
		return bytes.NewReader(s.mem), nil
	}
	return io.NewSectionReader(s.file, 0, s.size), nil
}

// copyTo writes the message as it is now.
func (s *spool) copyTo(w io.Writer) error {
	head := s.header.Bytes()
	if s.over {
		head = append(head, '\r', '\n')
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	if s.file == nil {
		_, err := w.Write(s.mem)
		return err
	}
	_, err := io.Copy(struct{ io.Writer }{w}, io.NewSectionReader(s.file, 0, s.size))
	return err
}

// close lets go of the file.
func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close() // nothing of it is wanted any more
	}
}
