package bench

import (
	"bytes"
	"errors"
	"time"
)

// send carries out one transaction. An error means that the connection is of no more
// use, and the fate tells whether the server may have the message all the same.
func (c *client) send(n uint64) (fate, error) {
	c.patience()
	begin := time.Now()
	if c.w.firstMail.Load() == 0 {
		c.w.firstMail.CompareAndSwap(0, begin.UnixNano())
	}
	var ready bool
	var err error
	if c.pipelining {
		ready, err = c.openPiped(n)
	} else {
		ready, err = c.openStepwise(n)
	}
	if err != nil {
		return unsent, err
	}
	if !ready {
		// RFC 5321 §4.1.4: after a refused recipient the transaction is still open.
		return refused, c.want(atRset, "RSET", 250)
	}
	c.sent++
	if err := c.writeMessage(n); err != nil {
		return unsent, err // the dot was not written whole: the server cannot have it
	}
	if err := c.out.Flush(); err != nil {
		return unknown, err // part of it may have gone, with the dot perhaps
	}
	r, err := c.read(atDot, nil)
	switch {
	case errors.Is(err, errClosing):
		return unsent, err // 421 is a refusal: RFC 5321 §4.2.1 class 4
	case err != nil:
		return unknown, err
	case r.code/100 != 2:
		return refused, nil
	}
	now := time.Now()
	c.w.latency.add(now.Sub(begin))
	c.w.lastAck.Store(now.UnixNano())
	c.keep(n, now, r.text)
	return acknowledged, nil
}

// openPiped sends MAIL, all RCPT and DATA in one write (RFC 2920 §3.1) and reads the
// replies. ready tells whether the text may follow.
func (c *client) openPiped(n uint64) (ready bool, err error) {
	c.mail()
	for i := range c.w.cfg.Recipients {
		c.rcpt(n, i)
	}
	c.command("DATA")
	if err := c.out.Flush(); err != nil {
		return false, err
	}
	mail, err := c.read(atMail, nil)
	if err != nil {
		return false, err
	}
	accepted := 0
	c.rcpts = c.rcpts[:0]
	for i := range c.w.cfg.Recipients {
		ok, err := c.rcptReply(n, i)
		if err != nil {
			return false, err
		}
		if ok {
			accepted++
		}
	}
	data, err := c.read(atData, nil)
	if err != nil {
		return false, err
	}
	if data.code != 354 {
		return false, nil
	}
	if mail.code/100 == 2 && accepted > 0 {
		return true, nil
	}
	// RFC 2920 §3.1: 354 though nobody was accepted: an empty text, whose reply is awaited.
	c.command(".")
	if err := c.out.Flush(); err != nil {
		return false, err
	}
	_, err = c.read(atDot, nil)
	return false, err
}

// openStepwise waits for each reply before the next command.
func (c *client) openStepwise(n uint64) (ready bool, err error) {
	c.mail()
	if err := c.out.Flush(); err != nil {
		return false, err
	}
	if r, err := c.read(atMail, nil); err != nil || r.code/100 != 2 {
		return false, err
	}
	accepted := 0
	c.rcpts = c.rcpts[:0]
	for i := range c.w.cfg.Recipients {
		c.rcpt(n, i)
		if err := c.out.Flush(); err != nil {
			return false, err
		}
		ok, err := c.rcptReply(n, i)
		if err != nil {
			return false, err
		}
		if ok {
			accepted++
		}
	}
	if accepted == 0 {
		return false, nil
	}
	c.command("DATA")
	if err := c.out.Flush(); err != nil {
		return false, err
	}
	r, err := c.read(atData, nil)
	return err == nil && r.code == 354, err
}

func (c *client) mail() { c.command("MAIL FROM:<", c.w.cfg.Sender, ">") }

func (c *client) rcpt(n uint64, i int) {
	c.scratch = append(c.scratch[:0], "RCPT TO:<"...)
	c.scratch = c.w.text.appendRecipient(c.scratch, n, i)
	c.scratch = append(c.scratch, ">\r\n"...)
	_, _ = c.out.Write(c.scratch)
}

// rcptReply reads the reply to recipient i and remembers whom the server took.
func (c *client) rcptReply(n uint64, i int) (bool, error) {
	r, err := c.read(atRcpt, nil)
	if err != nil {
		return false, err
	}
	if r.code/100 != 2 {
		c.w.rcptRefused++
		return false, nil
	}
	if c.w.keep != nil {
		c.rcpts = append(c.w.text.appendRecipient(c.rcpts, n, i), '\n')
	}
	return true, nil
}

// writeMessage writes header, body and the final dot. When it fails, the dot has not
// been written.
func (c *client) writeMessage(n uint64) error {
	var body int
	c.scratch, body = c.w.text.appendHeader(c.scratch[:0], n)
	if _, err := c.out.Write(c.scratch); err != nil {
		return err
	}
	if err := c.w.text.body(n, body, func(p []byte) error { return writeStuffed(c.out, p) }); err != nil {
		return err
	}
	_, err := c.out.WriteString(".\r\n")
	return err
}

// keep writes the evidence of an acknowledged message, a line for each recipient, with
// the reply's text, which often names the message as the server knows it.
func (c *client) keep(n uint64, at time.Time, reply string) {
	if c.w.keep == nil {
		return
	}
	for rest := c.rcpts; len(rest) > 0; {
		rcpt, tail, _ := bytes.Cut(rest, []byte("\n"))
		rest = tail
		c.w.keep.add(func(dst []byte) []byte {
			c.scratch = c.w.text.appendID(c.scratch[:0], n)
			dst = append(appendEvidence(dst, c.scratch, at, rcpt), '\t')
			return appendField(dst, []byte(reply))
		})
	}
}
