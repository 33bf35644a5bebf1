package bench

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// recordFile is the account of what reached a sink and when, for `bench windows` to
// judge by. Fields are separated by tabs; the second one is the sink's own
// CLOCK_MONOTONIC_RAW in nanoseconds (on Linux), which nothing ever sets, and which
// all processes of one machine share:
//
//	start  nanos  1           listeners            a sink began to write: its connections count from 1 again
//	open   nanos  connection  client  listener     the connection was made
//	mail   nanos  connection  destination  sender  MAIL FROM came in
//	rcpt   nanos  connection  code  recipient      RCPT TO came in and was answered so
//	data   nanos  connection  copies  id  trace    the end of DATA (or BDAT LAST) came in, and was answered 250
//	close  nanos  connection                       the connection is over: QUIT or its end was read, or the sink ends it
//
// The destination is the domain of the first recipient, so a mail line is written when
// that one is known; it is empty where none came. id is the source's, trace the id that
// the server under test gave in its Received field; either may be empty. Lines are not
// quite in order of time: sort by the second field.
type recordFile struct {
	lines *lineFile
}

// recordVersion is the third field of a start line. A reader refuses what it does not know.
const recordVersion = "1"

// slowestTick is the coarsest clock of a Linux kernel, with HZ=100.
const slowestTick = 10 * time.Millisecond

func openRecord(path string) (*recordFile, error) {
	l, err := openLines(path, 64<<10)
	if err != nil {
		return nil, err
	}
	// What a killed sink left of its last line must not run into ours.
	if info, err := l.f.Stat(); err == nil && info.Size() > 0 {
		l.buf = append(l.buf, '\n')
	}
	return &recordFile{lines: l}, nil
}

func (r *recordFile) start(listeners []string) {
	r.add("start", rawNow(), func(dst []byte) []byte {
		dst = append(append(dst, recordVersion...), '\t')
		return append(dst, strings.Join(listeners, "\t")...)
	})
}

// add writes one line; rest appends what follows the time.
func (r *recordFile) add(event string, at int64, rest func([]byte) []byte) {
	r.lines.add(func(dst []byte) []byte {
		dst = append(append(dst, event...), '\t')
		dst = append(strconv.AppendInt(dst, at, 10), '\t')
		return rest(dst)
	})
}

func (r *recordFile) open(at int64, conn uint64, client, listener string) {
	r.add("open", at, func(dst []byte) []byte {
		dst = append(strconv.AppendUint(dst, conn, 10), '\t')
		return append(append(append(dst, client...), '\t'), listener...)
	})
}

func (r *recordFile) close(at int64, conn uint64) {
	r.add("close", at, func(dst []byte) []byte { return strconv.AppendUint(dst, conn, 10) })
}

// mail writes the line of a MAIL whose first recipient is rcpt; nil: it had none.
func (r *recordFile) mail(at int64, conn uint64, rcpt, sender []byte) {
	domain := rcpt[bytes.LastIndexByte(rcpt, '@')+1:]
	r.add("mail", at, func(dst []byte) []byte {
		dst = append(strconv.AppendUint(dst, conn, 10), '\t')
		dst = append(append(dst, bytes.ToLower(domain)...), '\t')
		return appendField(dst, sender)
	})
}

func (r *recordFile) rcpt(at int64, conn uint64, code string, rcpt []byte) {
	r.add("rcpt", at, func(dst []byte) []byte {
		dst = append(strconv.AppendUint(dst, conn, 10), '\t')
		return appendField(append(append(dst, code...), '\t'), rcpt)
	})
}

func (r *recordFile) data(at int64, conn uint64, copies int, id, trace []byte) {
	r.add("data", at, func(dst []byte) []byte {
		dst = append(strconv.AppendUint(dst, conn, 10), '\t')
		dst = append(strconv.AppendInt(dst, int64(copies), 10), '\t')
		dst = append(appendField(dst, id), '\t')
		return appendField(dst, trace)
	})
}

// appendField appends what a stranger sent; a tab in it, which a quoted local part may
// have, would be the end of the field.
func appendField(dst, field []byte) []byte {
	from := len(dst)
	dst = append(dst, field...)
	for i := from; i < len(dst); i++ {
		if dst[i] == '\t' || dst[i] == '\n' || dst[i] == '\r' {
			dst[i] = ' '
		}
	}
	return dst
}

// trace is the id that the last server on the way gave the message: the word behind
// "id" in the topmost Received field (RFC 5321 §4.4), nil where there is none. header
// begins with CRLF.
func trace(header []byte) []byte {
	const name = "\r\nreceived:"
	at := 0
	for {
		i := bytes.Index(header[at:], []byte("\r\n"))
		if i < 0 || len(header) < at+i+len(name) {
			return nil
		}
		at += i
		if bytes.EqualFold(header[at:at+len(name)], []byte(name)) {
			break
		}
		at += 2
	}
	field := header[at+len(name):]
	for i := 0; i+2 < len(field); i++ { // up to the line that does not go on
		if field[i] == '\r' && field[i+1] == '\n' && field[i+2] != ' ' && field[i+2] != '\t' {
			field = field[:i]
			break
		}
	}
	words := bytes.Fields(field)
	for i, w := range words[:max(0, len(words)-1)] {
		if bytes.EqualFold(w, []byte("id")) {
			return bytes.TrimRight(words[i+1], ";")
		}
	}
	return nil
}
