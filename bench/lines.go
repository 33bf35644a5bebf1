package bench

import (
	"os"
	"strconv"
	"sync"
	"time"
)

// lineFile appends whole lines to a file from many goroutines. The first error is
// kept and told at close: evidence that could not be written makes the run worthless,
// it must not make it slow.
type lineFile struct {
	mu   sync.Mutex
	f    *os.File
	buf  []byte
	hold int // write when so many bytes are waiting; 0: every line at once
	err  error
}

func openLines(path string, hold int) (*lineFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &lineFile{f: f, hold: hold}, nil
}

// add appends one line made by fill, which gets the buffer and returns it longer.
func (l *lineFile) add(fill func([]byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(fill(l.buf), '\n')
	if len(l.buf) > l.hold {
		l.write()
	}
}

func (l *lineFile) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write()
}

// write empties the buffer; the caller holds mu.
func (l *lineFile) write() {
	if len(l.buf) == 0 {
		return
	}
	if _, err := l.f.Write(l.buf); err != nil && l.err == nil {
		l.err = err
	}
	l.buf = l.buf[:0]
}

func (l *lineFile) close() error {
	l.flush()
	if err := l.f.Close(); err != nil && l.err == nil {
		l.err = err
	}
	return l.err
}

// appendEvidence writes "id<TAB>unix_nanos<TAB>rcpt", which both ends' lines begin with.
func appendEvidence(dst, id []byte, at time.Time, rcpt []byte) []byte {
	dst = append(dst, id...)
	dst = append(dst, '\t')
	dst = strconv.AppendInt(dst, at.UnixNano(), 10)
	dst = append(dst, '\t')
	return append(dst, rcpt...)
}
