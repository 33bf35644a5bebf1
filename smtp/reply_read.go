package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/tarishi/tarishi/mail"
)

// What a remote may send as one reply. RFC 5321 §4.5.3.1.5 allows lines of 512
// octets; hosts are known to send 4 KiB. Beyond these a remote is hostile or
// broken, and the connection ends: a reply can never make us hold more.
const (
	maxRemoteLine  = 8 << 10
	maxRemoteLines = 512
	maxRemoteReply = 64 << 10

	remoteBuffer = 4 << 10 // what a connection holds; larger only while a large reply is read
)

// ErrReplyTooLong means that the remote sent a reply above every sane size.
var ErrReplyTooLong = errors.New("reply too long")

// ProtocolError means that the remote sent what is no SMTP reply, or a reply
// that cannot follow the command. What it meant is unknown: the connection ends.
type ProtocolError struct {
	What string // what was wrong
	Line string // the offending line, made printable and cut
}

func (e *ProtocolError) Error() string { return fmt.Sprintf("%s: %q", e.What, e.Line) }

// replyReader cuts a remote's octets into replies. Octets are kept in one buffer;
// a rawReply points into it and is valid until the next fill.
type replyReader struct {
	buf  []byte
	r, w int // unread octets are buf[r:w]

	scanned int // octets of the current reply already looked at: whole lines
	lines   int // whole lines of the current reply
}

// rawReply is one whole reply as it stood on the wire.
type rawReply struct {
	code int
	text []byte // all lines, line ends included
}

func (rr *replyReader) buffered() int { return rr.w - rr.r }

// next returns the next reply if all of it is buffered; ok is false when more
// octets are needed. It never reads.
func (rr *replyReader) next() (raw rawReply, ok bool, err error) {
	for {
		rest := rr.buf[rr.r+rr.scanned : rr.w]
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			if len(rest) > maxRemoteLine {
				return raw, false, ErrReplyTooLong
			}
			return raw, false, nil
		}
		line := rest[:i+1]
		if rr.lines++; len(line) > maxRemoteLine || rr.lines > maxRemoteLines || rr.scanned+len(line) > maxRemoteReply {
			return raw, false, ErrReplyTooLong
		}
		rr.scanned += len(line)
		code, more, err := parseReplyLine(line)
		if err != nil {
			return raw, false, err
		}
		if more {
			continue
		}
		// Lines may differ in code on broken hosts; the last one is the reply.
		raw = rawReply{code: code, text: rr.buf[rr.r : rr.r+rr.scanned]}
		rr.r += rr.scanned
		rr.scanned, rr.lines = 0, 0
		return raw, true, nil
	}
}

// fill reads once from src, making room first.
func (rr *replyReader) fill(src io.Reader) error {
	if rr.r == rr.w {
		rr.r, rr.w = 0, 0
		if len(rr.buf) != remoteBuffer { // first use, or give back what a large reply took
			rr.buf = make([]byte, remoteBuffer)
		}
	}
	if rr.w == len(rr.buf) {
		if rr.r > 0 {
			rr.w = copy(rr.buf, rr.buf[rr.r:rr.w])
			rr.r = 0
		} else {
			if len(rr.buf) >= maxRemoteReply+maxRemoteLine {
				return ErrReplyTooLong
			}
			rr.buf = append(rr.buf, make([]byte, len(rr.buf))...)
		}
	}
	for range 100 { // as bufio does with readers that return nothing
		n, err := src.Read(rr.buf[rr.w:])
		rr.w += n
		if n > 0 {
			return nil // an error comes again with the next read
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// parseReplyLine reads "250-text", "250 text" or "250", line end included
// (RFC 5321 §4.2). more is true for all but the last line of a reply.
// A line that ends in LF alone is taken: nothing can be smuggled into a reply.
func parseReplyLine(line []byte) (code int, more bool, err error) {
	line = trimLineEnd(line)
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, &ProtocolError{What: "not an SMTP reply", Line: printable(line[:min(len(line), 80)])}
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, nil
	}
	switch line[3] {
	case '-':
		return code, true, nil
	case ' ', '\t':
		return code, false, nil
	}
	return 0, false, &ProtocolError{What: "not an SMTP reply", Line: printable(line[:min(len(line), 80)])}
}

// each calls f for every line, without code, separator and line end.
func (r rawReply) each(f func(text []byte)) {
	for rest := r.text; len(rest) > 0; {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line = rest[:i+1]
		}
		rest = rest[len(line):]
		line = trimLineEnd(line)
		f(line[min(4, len(line)):])
	}
}

// reply makes the Reply that logs, notices and decisions are made from. The
// enhanced code (RFC 2034) is taken where its class is that of the code; the text
// is valid UTF-8 without control characters.
func (r rawReply) reply() mail.Reply {
	out := mail.Reply{Code: r.code}
	if bytes.IndexByte(r.text, '\n') == len(r.text)-1 { // one line, the common case: no builder
		line := trimLineEnd(r.text)
		var text []byte
		out.Enhanced, text = cutEnhanced(line[min(4, len(line)):], r.code)
		out.Text = printable(text)
		return out
	}
	var b strings.Builder
	r.each(func(text []byte) {
		enhanced, text := cutEnhanced(text, r.code)
		if enhanced != (mail.EnhancedCode{}) {
			out.Enhanced = enhanced
		}
		if len(text) == 0 {
			return
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(printable(text))
	})
	out.Text = b.String()
	return out
}

// cutEnhanced takes "5.1.1 " off the front of a line.
func cutEnhanced(text []byte, code int) (mail.EnhancedCode, []byte) {
	text = bytes.TrimSpace(text)
	if len(text) < 5 || text[1] != '.' || int(text[0]-'0') != code/100 {
		return mail.EnhancedCode{}, text
	}
	end := bytes.IndexByte(text, ' ')
	if end < 0 {
		end = len(text)
	}
	if end > len("5.999.999") {
		return mail.EnhancedCode{}, text
	}
	e, ok := mail.ParseEnhancedCode(string(text[:end]))
	if !ok {
		return mail.EnhancedCode{}, text
	}
	return e, bytes.TrimLeft(text[end:], " ")
}

// printable returns b as valid UTF-8 without control characters, so that a
// remote's words can go into a log line, a notice or a record as they are.
func printable(b []byte) string {
	clean := true
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return string(b)
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == utf8.RuneError || 0x7f <= r && r < 0xa0:
			return '?'
		}
		return r
	}, string(b))
}

func trimLineEnd(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
