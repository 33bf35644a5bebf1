package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// RecordLine is one line of a sink's record; see record.go for the events and which
// fields each one has. The octets are valid until the next line is read.
type RecordLine struct {
	Event string
	At    int64  // nanoseconds of the sink's CLOCK_MONOTONIC_RAW
	Conn  uint64 // all but start

	Client, Listener    []byte // open: host:port
	Destination, Sender []byte // mail
	Code                int    // rcpt: of the reply
	Recipient           []byte // rcpt
	Copies              int    // data: accepted recipients
	ID, Trace           []byte // data
}

// recordLineMax bounds a line: an address has 320 octets at most, an id what a header holds.
const recordLineMax = 256 << 10

// ReadRecord calls each for every line of a record, in the order of the file, and
// returns how many lines were cut off: a sink that was killed leaves its last one
// unfinished, and what looks whole of it may not be. Such a line is left out. An error
// of each ends the reading; a line that makes no sense is an error with its number.
func ReadRecord(r io.Reader, each func(RecordLine) error) (torn int, err error) {
	in := bufio.NewReaderSize(r, recordLineMax)
	var last []byte // the line before, held back until what follows shows that it is whole
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if err == io.EOF {
			if len(line) > 0 {
				torn++
			}
			return torn, emit(last, n-1, each)
		}
		if err != nil {
			return torn, fmt.Errorf("line %d: %w", n, err)
		}
		line = line[:len(line)-1]
		if len(last) > 0 && bytes.HasPrefix(line, []byte("start\t")) {
			// A sink that goes on with a file begins with an empty line; where that
			// became the end of another, the other had none.
			torn++
			last = last[:0]
		}
		if err := emit(last, n-1, each); err != nil {
			return torn, err
		}
		last = append(last[:0], line...)
	}
}

func emit(line []byte, n int, each func(RecordLine) error) error {
	if len(line) == 0 {
		return nil
	}
	l, err := parseRecordLine(line)
	if err != nil {
		return fmt.Errorf("line %d: %w", n, err)
	}
	return each(l)
}

func parseRecordLine(line []byte) (l RecordLine, err error) {
	f := fields{rest: line}
	l.Event = eventName(f.next())
	l.At = f.number()
	if l.Event == "start" {
		if v := f.next(); f.err == nil && string(v) != recordVersion {
			return l, fmt.Errorf("a record of version %.20q; this program reads version %s", v, recordVersion)
		}
		return l, f.err
	}
	l.Conn = uint64(f.number())
	switch l.Event {
	case "open":
		l.Client, l.Listener = f.next(), f.next()
	case "mail":
		l.Destination, l.Sender = f.next(), f.next()
	case "rcpt":
		l.Code, l.Recipient = int(f.number()), f.next()
	case "data":
		l.Copies, l.ID, l.Trace = int(f.number()), f.next(), f.next()
	case "close":
	default:
		return l, fmt.Errorf("%.60q is no line of a record: it begins with none of start, open, mail, rcpt, data, close", line)
	}
	if f.err == nil && f.more {
		f.err = fmt.Errorf("%.60q has fields too many", line)
	}
	return l, f.err
}

// eventName keeps the known names without copying.
func eventName(b []byte) string {
	for _, name := range [...]string{"start", "open", "mail", "rcpt", "data", "close"} {
		if string(b) == name {
			return name
		}
	}
	return ""
}

// fields takes a line apart; after an error it hands out nothing.
type fields struct {
	rest  []byte
	taken bool // the first field has been
	more  bool // there is another one
	err   error
}

func (f *fields) next() []byte {
	if f.err != nil || f.taken && !f.more {
		f.fail("a line with fields missing")
		return nil
	}
	var field []byte
	field, f.rest, f.more = bytes.Cut(f.rest, []byte("\t"))
	f.taken = true
	return field
}

func (f *fields) number() int64 {
	b := f.next()
	n, err := strconv.ParseInt(string(b), 10, 64)
	if f.err == nil && (err != nil || n < 0) {
		f.fail(fmt.Sprintf("%.40q is not a number", b))
	}
	return n
}

func (f *fields) fail(why string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s", why)
	}
}
