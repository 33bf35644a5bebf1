package smtp

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// errTakenBack ends a message sent in chunks when the client resets the
// transaction, or leaves, between two of them.
var errTakenBack error = &BodyError{Err: errors.New("transaction reset between chunks")}

var (
	badChunk   = mail.R(501, "5.5.4", "Syntax: BDAT octets [LAST]")
	errBadBdat = errors.New("malformed BDAT")
	errClosing = errors.New("connection closed between chunks")
)

// parseBdat reads what follows "BDAT " (RFC 3030 §2). When sized is false nobody
// can tell where the next command begins; when only ok is false, it is n octets on.
func parseBdat(args string) (n int64, last, sized, ok bool) {
	size, rest, _ := strings.Cut(args, " ")
	n, sized = decimal(size, 20)
	rest = strings.TrimLeft(rest, " ")
	last = strings.EqualFold(rest, "LAST")
	return n, last, sized, sized && (rest == "" || last)
}

// doBdat takes the first chunk of a message, or refuses one.
func (c *Conn) doBdat(args string) {
	n, last, sized, ok := parseBdat(args)
	switch {
	case !sized:
		c.mistake(badChunk)
		c.closing, c.lingering = true, true
		return
	case !ok:
		c.skipChunk(n, badChunk)
		return
	case !c.tx.open:
		c.skipChunk(n, mailFirst)
		return
	case c.tx.rcpt == 0:
		c.skipChunk(n, noRcpt)
		return
	case n > c.srv.limits.MessageSize:
		c.skipChunk(n, c.exceeded(n))
		c.endTransaction()
		return
	}
	if r := c.session.Data(c.ctx); r != nil && r.Code >= 400 {
		c.skipChunk(n, *r)
		return
	}
	b := c.newBody()
	b.chunked, b.scan.dots = true, false
	b.left, b.last = n, last
	c.receive(b)
}

// skipChunk throws exactly n octets away and gives the reply; a chunk that is too
// long for that ends the connection.
func (c *Conn) skipChunk(n int64, r mail.Reply) {
	b := c.newBody()
	b.chunked, b.scan.dots = true, false
	b.left, b.last = n, true
	found := b.findEnd(true)
	if be, ok := b.lost.(*BodyError); ok {
		c.closing = true
		if be.Reply.Code != 0 {
			c.say(be.Reply)
		}
		return
	}
	c.refuseOr(&r)
	if !found {
		c.closing, c.lingering = true, true
	}
}

// nextChunk answers for the chunk that has been read and finds the next one of
// the message. It runs inside Message, so only commands that do not concern the
// Session are run; those that end the transaction are left in c.pending.
func (c *Conn) nextChunk(b *Body) error {
	c.say(mail.R(250, "2.0.0", strconv.FormatInt(b.scan.size, 10)+" octets received"))
	for !c.closing {
		if time.Now().After(b.deadline) {
			return b.timedOut(errTooSlow)
		}
		line, err := c.readCommand()
		if err != nil {
			if c.lineFault(err) {
				continue
			}
			return &BodyError{Err: err}
		}
		verb, args := splitVerb(line)
		switch strings.ToUpper(string(verb)) {
		case "BDAT":
			n, last, sized, ok := parseBdat(string(args))
			switch {
			case !sized:
				c.mistake(badChunk)
				c.lingering = true
				return &BodyError{Err: errBadBdat}
			case !ok:
				c.skipChunk(n, badChunk)
				continue
			case n == 0 && !last && !c.idleChatter():
				continue
			case n > c.srv.limits.MessageSize-b.scan.size:
				b.scan.spoil(overSize)
			}
			b.left, b.last = n, last
			return nil
		case "RSET", "EHLO", "HELO", "QUIT":
			c.pending = line
			return errTakenBack
		default:
			c.dispatch(line)
		}
	}
	return &BodyError{Err: errClosing}
}
