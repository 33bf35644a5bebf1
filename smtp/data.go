package smtp

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/tarishi/tarishi/mail"
)

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
			if reply = faultReply[b.scan.fault]; b.scan.fault == overSize {
				reply = c.exceeded(b.scan.size)
			}
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
