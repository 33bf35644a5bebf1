package ingress

import (
	"bytes"
	"io"

	"github.com/tarishi/tarishi/mail"
)

// headerFilter stands between a message coming in and its Writer. It looks at
// the header block only, in passing, and holds nothing but the beginning of a
// line that is not yet all there:
//
//   - Return-Path fields are dropped: only the final delivery writes one
//     (RFC 5321 §4.4).
//   - Control fields (see control.go) are dropped, whoever sent them, and kept to be
//     read where the client is trusted: who pays for a message, and when it is to go,
//     is nobody else's business.
//   - Of a user's own mail (see submission.go) Bcc is dropped (RFC 5322 §3.6.3), and what it
//     lacks is added at the end of the header.
//   - Authentication-Results in our name are dropped where the client is a stranger.
//   - Received fields are counted; too many are a loop (RFC 5321 §6.3).
//   - A header block over the size limit is refused.
//   - The first line that is neither a field, nor the continuation of one, nor
//     empty is where the body begins: an empty line is put before it. Nothing
//     that a stranger wrote as body can so become part of our header block, and
//     a message without any header still arrives as it was.
//
// Everything else passes octet for octet.
type headerFilter struct {
	w           io.Writer
	maxReceived int
	maxSize     int64
	controls    []string // names of the control fields in lower case
	trusted     bool     // what they say is kept

	received int
	size     int64 // octets of the header block so far
	body     bool  // the header block is over
	field    bool  // a field has been seen: a line that begins with a blank continues it
	inLine   bool  // in the middle of a line whose kind is known
	drop     bool  // the current field is dropped
	catch    bool  // and kept in kept[at]
	at       int
	ours     string // the name whose Authentication-Results are dropped, in lower case; empty: nobody's
	mend     mending
	judging  bool // the current field is kept in judged until all of it is there
	judged   []byte
	kept     [][]byte // the control fields as they came, each kind's together; strays last
	keptSize int
	held     int // octets in hold
	hold     [longestName]byte
}

// longestName bounds a field name with the blanks behind it. RFC 5322 §2.1.1
// bounds it at 998 by the line length; nobody's are a tenth of this.
const longestName = 256

// refusal is a filter's error that is the sender's fault.
type refusal struct {
	reply   mail.Reply
	counted bool // among what it is about
}

func (e *refusal) Error() string { return e.reply.String() }

var (
	looping     = &refusal{reply: mail.R(554, "5.4.6", "Too many Received fields, this message is looping")}
	longHeader  = &refusal{reply: mail.R(552, "5.3.4", "The header of the message is too large")}
	headerBreak = []byte("\r\n")
)

// reset prepares the filter for the next message.
func (f *headerFilter) reset(w io.Writer, maxReceived int, maxSize int64) {
	*f = headerFilter{w: w, maxReceived: maxReceived, maxSize: maxSize, kept: f.kept, judged: f.judged[:0]}
}

// lookFor makes the filter drop the fields of these names (in lower case), and keep
// what they say if the client is trusted.
func (f *headerFilter) lookFor(names []string, trusted bool) {
	f.controls, f.trusted = names, trusted
	for len(f.kept) <= len(names) {
		f.kept = append(f.kept, nil)
	}
	for i := range f.kept {
		f.kept[i] = f.kept[i][:0]
	}
}

// Write implements io.Writer. Its errors are a *refusal or those of the Writer behind.
func (f *headerFilter) Write(p []byte) (int, error) {
	rest := p
	if !f.body && f.held > 0 && len(p) > 0 {
		if err := f.resume(p); err != nil {
			return 0, err
		}
	}
	if !f.body && f.held == 0 {
		n, err := f.header(p)
		if f.size += int64(n); err == nil && f.size > f.maxSize {
			err = longHeader
		}
		if err != nil {
			return 0, err
		}
		rest = p[n:]
	}
	if f.body && len(rest) > 0 {
		if _, err := f.w.Write(rest); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// resume goes on with a line whose beginning is held. When it returns with
// octets still held, p was not enough and is held too.
func (f *headerFilter) resume(p []byte) error {
	n := f.held
	joined := f.hold[:n+copy(f.hold[n:], p)]
	k := classify(joined, f.controls)
	if k == undecided {
		f.held = len(joined)
		return nil
	}
	f.held = 0
	if k == emptyLine || k == noField {
		if err := f.endHeader(k); err != nil {
			return err
		}
		return f.pass(joined[:n])
	}
	f.size += int64(n)
	if err := f.begin(k); err != nil {
		return err
	}
	if f.drop {
		return f.keep(joined[:n])
	}
	return f.pass(joined[:n])
}

// header takes octets of the header block and returns how many. Those behind
// them are held, or body.
func (f *headerFilter) header(p []byte) (int, error) {
	from, i := 0, 0 // p[from:i] is to be passed on
	for i < len(p) {
		if f.inLine {
			k := bytes.IndexByte(p[i:], '\n')
			if k < 0 {
				break // the line goes on in the next piece
			}
			if err := f.keep(p[i : i+k+1]); err != nil {
				return i, err
			}
			i += k + 1
			f.inLine = false
			if f.drop {
				from = i
			}
			continue
		}
		k := classify(p[i:], f.controls)
		if k == continuation && !f.field {
			k = noField // it would continue our own Received
		}
		switch {
		case k == undecided, k.dropped():
			if err := f.pass(p[from:i]); err != nil {
				return i, err
			}
			from = i
		case k == emptyLine, k == noField:
			if err := f.pass(p[from:i]); err != nil {
				return i, err
			}
			return i, f.endHeader(k)
		}
		if k == undecided {
			f.held = copy(f.hold[:], p[i:])
			return i, nil
		}
		if err := f.begin(k); err != nil {
			return i, err
		}
	}
	if f.drop && f.inLine {
		return len(p), f.keep(p[i:])
	}
	return len(p), f.pass(p[from:])
}

// endHeader ends the header block before a line of kind k.
func (f *headerFilter) endHeader(k lineKind) error {
	if err := f.judge(); err != nil {
		return err
	}
	f.body = true
	if err := f.pass(f.mend.missing()); err != nil {
		return err
	}
	if k == noField {
		return f.pass(headerBreak)
	}
	return nil
}

// finish passes on what is still held when the message ends. A beginning of a
// line that is all there is has no colon, so it is body.
func (f *headerFilter) finish() error {
	if f.held == 0 {
		if err := f.judge(); err != nil || f.body || !f.mend.on {
			return err
		}
		if f.inLine && !f.drop { // the message ends in the middle of a field
			if err := f.pass(headerBreak); err != nil {
				return err
			}
		}
		return f.pass(f.mend.missing())
	}
	held := f.hold[:f.held]
	f.held = 0
	if err := f.endHeader(noField); err != nil {
		return err
	}
	return f.pass(held)
}

// begin notes that a line of kind k begins.
func (f *headerFilter) begin(k lineKind) error {
	f.inLine = true
	if k == continuation {
		return nil // it shares the fate of its field
	}
	if err := f.judge(); err != nil {
		return err
	}
	f.field, f.drop = true, k.dropped()
	if f.mend.on {
		f.mend.saw(k)
	} else if k == blindCopy {
		f.drop = false
	}
	if k == authResults {
		f.drop = f.ours != ""
		f.judging, f.judged = f.drop, f.judged[:0]
	}
	if f.catch = k >= controlField && f.trusted; f.catch {
		f.at = int(k - controlField)
	}
	if k == received {
		if f.received++; f.received > f.maxReceived {
			return looping
		}
	}
	return nil
}

func (f *headerFilter) pass(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := f.w.Write(p)
	return err
}

// lineKind is what the beginning of a line tells about it.
type lineKind int

const (
	undecided    lineKind = iota // more octets are needed
	emptyLine                    // the end of the header block
	continuation                 // of a folded field
	otherField
	received
	returnPath
	authResults
	dateField
	messageID
	blindCopy
	noField      // no header line at all
	controlField // and those above it: one for each that is known, and one for strays
)

// dropped tells whether a field of this kind is, or may be, taken out of the message.
func (k lineKind) dropped() bool {
	return k == returnPath || k == authResults || k == blindCopy || k >= controlField
}

// classify looks at the beginning of a line; controls are the names of the control
// fields in lower case. Like the lenient half of RFC 5322 (§4.5.8) it lets blanks
// stand between name and colon.
func classify(b []byte, controls []string) lineKind {
	b = b[:min(len(b), longestName)]
	more := undecided
	if len(b) == longestName {
		more = noField
	}
	switch {
	case len(b) == 0:
		return undecided
	case b[0] == ' ', b[0] == '\t':
		return continuation
	case b[0] == '\n':
		return emptyLine
	case b[0] == '\r' && len(b) == 1:
		return undecided
	case b[0] == '\r' && b[1] == '\n':
		return emptyLine
	}
	n := 0
	for n < len(b) && b[n] > ' ' && b[n] < 0x7f && b[n] != ':' { // ftext, RFC 5322 §3.6.8
		n++
	}
	colon := n
	for colon < len(b) && (b[colon] == ' ' || b[colon] == '\t') {
		colon++
	}
	switch {
	case colon == len(b):
		return more
	case n == 0 || b[colon] != ':':
		return noField
	case n == len("Received") && equalFold(b[:n], "received"):
		return received
	case n == len("Return-Path") && equalFold(b[:n], "return-path"):
		return returnPath
	case n == len("Authentication-Results") && equalFold(b[:n], "authentication-results"):
		return authResults
	case n == len("Date") && equalFold(b[:n], "date"):
		return dateField
	case n == len("Message-ID") && equalFold(b[:n], "message-id"):
		return messageID
	case n == len("Bcc") && equalFold(b[:n], "bcc"), n == len("Resent-Bcc") && equalFold(b[:n], "resent-bcc"):
		return blindCopy
	}
	for i, name := range controls {
		if n == len(name) && equalFold(b[:n], name) {
			return controlField + lineKind(i)
		}
	}
	if n >= len(ownPrefix) && len(controls) > 0 && equalFold(b[:len(ownPrefix)], ownPrefix) {
		return controlField + lineKind(len(controls))
	}
	return otherField
}

// equalFold compares b with lower, which is in lower case, without regard to ASCII case.
func equalFold(b []byte, lower string) bool {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
