package smtp

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// fault is what makes a message unacceptable by its octets.
type fault uint8

const (
	noFault fault = iota
	bareLF
	bareCR
	nulOctet
	longLine
	overSize
)

var faultReply = [...]mail.Reply{
	bareLF:   mail.R(550, "5.5.2", "Message refused: bare <LF>, lines must end in <CR><LF>"), // RFC 5321 §2.3.8
	bareCR:   mail.R(550, "5.5.2", "Message refused: bare <CR>, lines must end in <CR><LF>"),
	nulOctet: mail.R(550, "5.6.0", "Message refused: NUL octet"), // RFC 5322 §4 (obs-NO-WS-CTL)
	longLine: mail.R(554, "5.6.0", "Message refused: line too long"),
	overSize: tooBig,
}

// scanner undoes dot-stuffing and finds the end of a message. It is pure: octets
// in, octets out, whatever pieces they come in. The zero value with limits set is
// at the start of a message.
type scanner struct {
	dots    bool  // DATA: CR LF . CR LF ends the message; else (BDAT) nothing does
	maxLine int   // octets of a line with CRLF; negative: no limit
	maxSize int64 // octets of the message

	at    place
	line  int   // octets of the current line so far
	size  int64 // octets of the message so far
	fault fault // the first one; from then on nothing is delivered
}

type place uint8

const (
	lineStart place = iota // the last two octets were CRLF, or there were none
	inLine
	afterCR
)

func (s *scanner) spoil(f fault) {
	if s.fault == noFault {
		s.fault = f
	}
}

// scan looks at p and uses n octets of it. out is the part of p that belongs to
// the message (nothing once there is a fault); end says that the message ends
// behind the n octets. n < len(p) without end means either call again at once, or,
// when n is 0, with more octets: only up to two octets that may begin the end are
// ever left so.
func (s *scanner) scan(p []byte) (out []byte, n int, end bool) {
	i, start := 0, 0
loop:
	for i < len(p) {
		switch s.at {
		case afterCR:
			if p[i] == '\n' {
				s.newline(1)
				i++
				continue
			}
			s.spoil(bareCR)
			s.at = inLine
		case lineStart:
			if s.dots && p[i] == '.' {
				rest := p[i:]
				switch {
				case len(rest) == 1 || len(rest) == 2 && rest[1] == '\r':
					n = i
					break loop // cannot tell yet
				case rest[1] == '\r' && rest[2] == '\n':
					n, end = i+3, true
					break loop
				case i > start:
					n = i
					break loop // deliver what stands before the dot
				}
				i++ // RFC 5321 §4.5.2: the first period of a longer line is dropped
				start = i
			}
			s.at = inLine
		default:
			lf := bytes.IndexByte(p[i:], '\n')
			if lf < 0 {
				if cr := bytes.IndexByte(p[i:], '\r'); cr >= 0 {
					if i+cr < len(p)-1 {
						s.spoil(bareCR)
					}
					if p[len(p)-1] == '\r' {
						s.at = afterCR
					}
				}
				s.longer(len(p) - i)
				i = len(p)
				continue
			}
			if lf == 0 || p[i+lf-1] != '\r' {
				s.spoil(bareLF) // and no line ends here: B . CR LF behind it ends nothing
				if bytes.IndexByte(p[i:i+lf], '\r') >= 0 {
					s.spoil(bareCR)
				}
				s.longer(lf + 1)
			} else {
				if bytes.IndexByte(p[i:i+lf-1], '\r') >= 0 {
					s.spoil(bareCR)
				}
				s.newline(lf + 1)
			}
			i += lf + 1
		}
	}
	if n == 0 && !end {
		n = i
	}
	out = p[start:min(i, n)]
	s.size += int64(len(out))
	if s.fault == noFault && bytes.IndexByte(out, 0) >= 0 {
		s.fault = nulOctet
	}
	if s.size > s.maxSize {
		s.spoil(overSize)
	}
	if s.fault != noFault {
		out = nil
	}
	return out, n, end
}

// longer adds n octets to the current line.
func (s *scanner) longer(n int) {
	if s.line += n; s.maxLine >= 0 && s.line > s.maxLine {
		s.spoil(longLine)
	}
}

// newline ends the current line, whose last n octets have not been counted.
func (s *scanner) newline(n int) {
	s.longer(n)
	s.line, s.at = 0, lineStart
}

// finish is called at the end of a message that no dot ends: a CR still waits for its LF.
func (s *scanner) finish() {
	if s.at == afterCR {
		s.spoil(bareCR)
	}
}

// BodyError is why a message cannot be read to its end. The engine sends Reply
// whatever Message returns; a zero Reply is not sent (there is nobody to send it to).
type BodyError struct {
	Reply mail.Reply
	Err   error // the cause, when the connection failed; else nil
}

func (e *BodyError) Error() string {
	if e.Err == nil {
		return "smtp: " + e.Reply.String()
	}
	return "smtp: reading the message: " + e.Err.Error()
}

func (e *BodyError) Unwrap() error { return e.Err }

// Body is the message on its way in: its octets with CRLF line ends and without
// dot-stuffing. io.EOF comes at the true end only; any other error is a
// *BodyError. It is for the goroutine that runs Session.Message, and dead
// when Message returns.
type Body struct {
	c    *Conn
	scan scanner

	chunked bool  // BDAT
	left    int64 // octets of the current chunk not yet scanned
	last    bool  // the current chunk is the last one

	out   []byte // delivered by the scanner, not yet by Read
	err   error  // what Read returns from now on
	ended bool   // the true end has been scanned
	lost  error  // a *BodyError when the connection failed, or errTakenBack; ends everything

	read     int64 // octets taken from the wire
	deadline time.Time
	waited   time.Duration // for the client, in the current rate window
	inWindow int64         // b.read at its start
}

func (c *Conn) newBody() *Body {
	l := &c.srv.limits
	return &Body{
		c:        c,
		scan:     scanner{dots: true, maxLine: l.BodyLine, maxSize: l.MessageSize},
		deadline: time.Now().Add(c.srv.timeouts.Message),
	}
}

// Size is the number of octets scanned so far: that of the message once Read has returned io.EOF.
func (b *Body) Size() int64 { return b.scan.size }

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		var err error
		if b.out, err = b.Next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: each piece goes to w as it lies in the read buffer.
func (b *Body) WriteTo(w io.Writer) (n int64, err error) {
	for {
		p := b.out
		b.out = nil
		if len(p) == 0 {
			if p, err = b.Next(); err == io.EOF {
				return n, nil
			} else if err != nil {
				return n, err
			}
		}
		m, err := w.Write(p)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
}

// Next returns the next piece of the message, valid until the next call.
func (b *Body) Next() ([]byte, error) {
	for b.err == nil {
		out, err := b.step()
		switch {
		case err != nil:
			b.err = err
		case b.scan.fault != noFault:
			b.err = &BodyError{Reply: faultReply[b.scan.fault]}
		case b.ended:
			b.err = io.EOF
		}
		if len(out) > 0 {
			return out, nil
		}
	}
	return nil, b.err
}

// step scans what has been read, or reads. It goes on past faults: they concern
// the one who wants the octets, not the search for the end.
func (b *Body) step() ([]byte, error) {
	if b.lost != nil {
		return nil, b.lost
	}
	w := &b.c.wire
	if b.chunked && b.left == 0 {
		if b.last {
			b.scan.finish()
			b.ended = true
			return nil, nil
		}
		b.lost = b.c.nextChunk(b)
		return nil, b.lost
	}
	p := w.buffered()
	if b.chunked && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	if len(p) > 0 {
		out, n, end := b.scan.scan(p)
		w.r += n
		b.read += int64(n)
		if b.chunked {
			b.left -= int64(n)
		}
		b.ended = end
		if n > 0 {
			return out, nil
		}
	}
	if err := b.fill(); err != nil {
		b.lost = err
	}
	return nil, b.lost
}

var errTooSlow = errors.New("message comes too slowly")

// fill reads from the connection, within all deadlines.
func (b *Body) fill() error {
	w, t := &b.c.wire, &b.c.srv.timeouts
	if err := w.flush(); err != nil {
		return &BodyError{Err: err}
	}
	w.useBody()
	if b.waited >= t.RateWindow {
		// A client may be slow; one that is this slow keeps a place from others.
		// Only waiting counts: a slow disk of ours is no fault of the client.
		if float64(b.read-b.inWindow)/b.waited.Seconds() < float64(t.MinRate) {
			return b.timedOut(errTooSlow)
		}
		b.waited, b.inWindow = 0, b.read
	}
	now := time.Now()
	until := now.Add(t.Block)
	if b.deadline.Before(until) {
		until = b.deadline
	}
	_ = w.nc.SetReadDeadline(until) // if it fails, so does the read
	err := w.fill()
	b.waited += time.Since(now)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return b.timedOut(err)
	case err == io.EOF:
		return &BodyError{Err: io.ErrUnexpectedEOF}
	default:
		return &BodyError{Err: err}
	}
}

func (b *Body) timedOut(err error) error {
	return &BodyError{Reply: mail.R(421, "4.4.2", b.c.srv.Hostname+" timeout exceeded in the message, closing connection"), Err: err}
}

var errBodyOver = errors.New("smtp: Body used after Message returned")

// receive runs Session.Message on b, finds the end of the message whatever
// Message did, and sends the one reply.
func (c *Conn) receive(b *Body) {
	c.body = b
	reply := c.session.Message(c.ctx, b)
	seen := b.scan.fault != noFault
	b.err, b.out = errBodyOver, nil
	found := b.findEnd(seen || !reply.Positive())
	c.body = nil
	switch {
	case b.lost == errTakenBack: // the command that did it waits in c.pending and is answered instead
	case b.lost != nil:
		c.closing = true
		if be := b.lost.(*BodyError); be.Reply.Code != 0 {
			c.say(be.Reply)
		} else {
			c.srv.log.Debug("smtp: message cut off", "conn", c.id, "client", c.remote, "error", be.Err)
		}
	default:
		// A refusal from before the fault stands; nothing else outlives one.
		if b.scan.fault != noFault && (seen || reply.Code < 400) {
			reply = faultReply[b.scan.fault]
		}
		if class := reply.Code / 100; class != 2 && class != 4 && class != 5 {
			// RFC 5321 §4.3.2 has no other answer to a message; a doubtful one must not lose it.
			c.srv.log.Error("smtp: Session.Message gave no proper reply", "conn", c.id, "reply", reply.String())
			reply = mail.R(451, "4.3.0", "Local error, try again later")
		}
		if !found {
			c.closing, c.lingering = true, true
		}
		if reply.Positive() {
			c.errors, c.junk = 0, 0
		}
		c.say(reply)
	}
	c.endTransaction()
}

// findEnd discards octets up to where the next command begins: the end of the
// message, or of the current chunk when the message is refused (RFC 3030 §2: a
// refused chunk is read and thrown away). It gives up, false, after Limits.Discard.
func (b *Body) findEnd(refused bool) bool {
	limit := b.read + b.c.srv.limits.Discard
	for !b.ended && b.lost == nil {
		if b.chunked && (refused || b.scan.fault != noFault) {
			if b.left == 0 {
				break
			}
			if b.read+b.left > limit {
				return false
			}
		}
		if b.read > limit {
			return false
		}
		_, _ = b.step() // the error is in b.lost
	}
	return true
}
