package smtp

import (
	"strconv"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// commandBatch bounds the commands of one write, in octets. RFC 2920 §3.1: the
// client must not block on a host that blocks on us; the replies to a batch of
// this size fit every socket buffer.
const commandBatch = 4 << 10

// lastWordsPatience is how long we listen, after a write failed, for a host that
// said why before it hung up.
const lastWordsPatience = time.Second

// clientExchange is one transaction under way.
type clientExchange struct {
	c    *Client
	t    *Transaction
	res  *Result
	body *bodyFacts

	stage    Stage // waiting for this
	answered bool  // the host has answered MAIL, and not with 421
	mailOK   bool
	accepted int  // recipients
	full     bool // the transaction takes no more recipients
	fullWord mail.Reply
	ending   bool // the connection ends with this transaction: 421, or no way back
}

// run speaks the transaction. Its error means that the connection is broken.
func (x *clientExchange) run() error {
	chunking := x.c.ext.Chunking && x.t.Data == nil && !x.c.o.LMTP && !x.c.o.NoChunking
	dataSent, err := x.envelope(!chunking)
	if err != nil || x.ending {
		return err
	}
	if x.full {
		x.res.settleUnasked(StageTooMany, x.fullWord)
	}
	switch {
	case x.accepted == 0 && !dataSent:
		return nil
	case chunking:
		x.stage = StageData
		if err := x.inStep(); err != nil || x.ending {
			return err
		}
		if err := x.c.writeBDAT(x.t, x.body, x.res); err != nil {
			return x.lastWords(err)
		}
		return x.readFinal()
	case !dataSent:
		x.stage = StageData
		if err := x.c.writeCommand(StageData, x.c.t.Block, "DATA\r\n"); err != nil {
			return x.lastWords(err)
		}
	}
	return x.data()
}

// envelope sends RSET (where a transaction is still open), MAIL and every RCPT,
// and reads the replies. Where PIPELINING is offered they leave in as few writes
// as commandBatch allows, DATA with the last of them (RFC 2920 §3.1) if withData.
func (x *clientExchange) envelope(withData bool) (dataSent bool, err error) {
	c := x.c
	next := 0 // recipient to ask
	for {
		first := next
		reset, mailFirst := false, false
		c.cmd = c.cmd[:0]
		x.stage = StageRcpt
		if !x.mailOK {
			if reset = c.needReset; reset {
				c.cmd = append(c.cmd, "RSET\r\n"...)
			}
			if mailFirst = !reset || c.ext.Pipelining; mailFirst {
				c.cmd = x.appendMail(c.cmd)
			}
			x.stage = StageMail
		}
		for x.mailOK || c.ext.Pipelining {
			for next < len(x.t.Recipients) && x.res.Recipients[next].Stage != StageNone {
				next++ // settled by check
			}
			if next == len(x.t.Recipients) || len(c.cmd) >= commandBatch || len(c.cmd) > 0 && !c.ext.Pipelining {
				break
			}
			c.cmd = x.appendRcpt(c.cmd, &x.t.Recipients[next])
			next++
		}
		if len(c.cmd) == 0 {
			return false, nil // everybody was asked
		}
		if withData && c.ext.Pipelining && next == len(x.t.Recipients) {
			c.cmd = append(c.cmd, "DATA\r\n"...)
			dataSent = true
		}
		if err := x.inStep(); err != nil || x.ending {
			return false, err
		}
		c.debugCommands(c.cmd)
		if mailFirst && x.t.BeforeMail != nil {
			if err := x.t.BeforeMail(); err != nil {
				return false, &NotStartedError{Err: err}
			}
		}
		err := c.write(x.stage, c.t.Block, c.cmd)
		if mailFirst && x.t.AfterMail != nil {
			x.t.AfterMail()
		}
		if err != nil {
			return dataSent, x.lastWords(err)
		}
		if err := x.readReplies(reset, mailFirst, first, next); err != nil || x.ending {
			return dataSent, err
		}
		if dataSent || x.full || !x.mailOK && mailFirst {
			return dataSent, nil
		}
	}
}

// readReplies reads the replies to one batch.
func (x *clientExchange) readReplies(reset, mailFirst bool, first, next int) error {
	if reset {
		if err := x.readReset(); err != nil || x.ending {
			return err
		}
	}
	if mailFirst {
		if err := x.readMail(); err != nil || x.ending {
			return err
		}
	}
	for i := first; i < next; i++ {
		r := &x.res.Recipients[i]
		if r.Stage == StageLocal {
			continue // settled by check, never asked
		}
		if err := x.readRcpt(r); err != nil || x.ending {
			return err
		}
	}
	return nil
}

func (x *clientExchange) readReset() error {
	x.stage = StageReset
	raw, err := x.c.readReply(StageReset, x.c.t.Mail)
	if err != nil {
		return err
	}
	if raw.code == 421 {
		x.goodbye(raw)
		return nil
	}
	if raw.code/100 != 2 {
		x.res.Stale = true // RSET cannot fail (RFC 5321 §4.1.1.5); this connection is of no use
		return x.c.unexpected(StageReset, raw)
	}
	x.c.needReset = false
	return nil
}

func (x *clientExchange) readMail() error {
	x.stage = StageMail
	raw, err := x.c.readReply(StageMail, x.c.t.Mail)
	if err != nil {
		return err
	}
	if raw.code == 421 {
		x.goodbye(raw)
		return nil
	}
	x.answered = true
	switch raw.code / 100 {
	case 2:
		x.mailOK = true
		x.c.needReset = true // until the end of the data
	case 3:
		return x.c.unexpected(StageMail, raw)
	default:
		x.res.settle(StageMail, raw.reply())
	}
	return nil
}

func (x *clientExchange) readRcpt(r *RcptResult) error {
	x.stage = StageRcpt
	raw, err := x.c.readReply(StageRcpt, x.c.t.Rcpt)
	switch {
	case err != nil:
		return err
	case raw.code == 421:
		x.goodbye(raw)
	case !x.mailOK: // settled by the reply to MAIL
	case raw.code/100 == 2:
		x.accepted++
		*r = RcptResult{Reply: mail.Reply{Code: raw.code}, Stage: StageRcpt} // the words come with the dot
	case raw.code/100 == 3:
		return x.c.unexpected(StageRcpt, raw)
	default:
		*r = RcptResult{Reply: raw.reply(), Stage: StageRcpt}
		if x.accepted > 0 && tooManyRecipients(r.Reply) {
			r.Stage = StageTooMany
			x.full, x.fullWord = true, r.Reply
		}
	}
	return nil
}

// tooManyRecipients: RFC 5321 §4.5.3.1.10 says 452, and that 552 was said once.
// Both have other meanings too, which an enhanced code tells apart. Only meant
// where an earlier recipient was accepted, so that each transaction gets on.
func tooManyRecipients(r mail.Reply) bool {
	none := r.Enhanced == mail.EnhancedCode{}
	full := r.Enhanced[1] == 5 && r.Enhanced[2] == 3 // x.5.3
	return r.Code == 452 && (none || full) || r.Transient() && full || r.Code == 552 && full
}

// data reads the reply to DATA, sends the body and reads the outcome.
func (x *clientExchange) data() error {
	c := x.c
	x.stage = StageData
	raw, err := c.readReply(StageData, c.t.Data)
	if err != nil {
		return err
	}
	switch {
	case raw.code == 421:
		x.goodbye(raw)
		return nil
	case raw.code/100 >= 4:
		x.res.settle(StageData, raw.reply())
		return nil
	case raw.code/100 != 3:
		return c.unexpected(StageData, raw)
	case x.accepted == 0 && c.o.LMTP:
		x.ending = true // no recipients, no replies: the dialogue has no end
		return nil
	case x.accepted == 0:
		// RFC 2920 §3.1: everybody was refused and DATA was taken nevertheless. The empty
		// message that gets us out of it is for nobody.
		if err := c.write(StageData, c.t.Block, []byte(".\r\n")); err != nil {
			return err
		}
		raw, err := c.readReply(StageDot, c.t.Dot)
		if err == nil && raw.code == 421 {
			x.ending = true
		}
		return err
	}
	if err := x.inStep(); err != nil || x.ending {
		return err
	}
	if err := c.writeData(x.t, x.body, x.res); err != nil {
		return x.lastWords(err)
	}
	return x.readFinal()
}

// readFinal reads the reply to the complete message; with LMTP one for every
// accepted recipient (RFC 2033 §4.2).
func (x *clientExchange) readFinal() error {
	c := x.c
	x.stage = StageDot
	if !c.o.LMTP {
		r, err := x.readOutcome()
		if err == nil {
			x.res.settle(StageDot, r)
		}
		return err
	}
	for i := range x.res.Recipients {
		if !x.res.Recipients[i].accepted() {
			continue
		}
		r, err := x.readOutcome()
		if err != nil {
			return err
		}
		x.res.Recipients[i] = RcptResult{Reply: r, Stage: StageDot}
		if x.ending {
			x.res.settle(StageDot, r)
		}
	}
	return nil
}

func (x *clientExchange) readOutcome() (mail.Reply, error) {
	raw, err := x.c.readReply(StageDot, x.c.t.Dot)
	if err != nil {
		return mail.Reply{}, err
	}
	if raw.code/100 == 3 {
		return mail.Reply{}, x.c.unexpected(StageDot, raw)
	}
	x.c.needReset = raw.code/100 != 2 // RFC 3030 §2: after a refused chunk the transaction is in limbo
	x.ending = x.ending || raw.code == 421
	return raw.reply(), nil
}

// inStep is called before we say anything: what the host has said beyond the last
// reply answers nothing. A refusal (421 mostly) is taken as a goodbye; taking
// anything else for the answer to what we say next would be to believe that a
// message was delivered before it was sent.
func (x *clientExchange) inStep() error {
	if x.c.r.buffered() == 0 {
		return nil
	}
	raw, err := x.c.readReply(x.stage, lastWordsPatience)
	if err != nil {
		return err
	}
	if raw.code < 400 {
		return x.c.unexpected(x.stage, raw)
	}
	x.goodbye(raw)
	return nil
}

// goodbye takes a 421: it answers everything that is open, and nothing follows.
func (x *clientExchange) goodbye(raw rawReply) {
	x.ending = true
	x.res.settle(x.stage, raw.reply())
	x.res.Stale = !x.answered && x.c.transactions > 1
}

// lastWords is called when a write failed with err. A host that refuses in the
// middle of something (552, 421) hangs up behind its reply; the reply is worth
// more than the error.
func (x *clientExchange) lastWords(err error) error {
	if x.c.ctx.Err() != nil || !isStageError(err) {
		return err
	}
	raw, readErr := x.c.readReply(x.stage, lastWordsPatience)
	if readErr != nil || raw.code < 400 {
		return err
	}
	x.goodbye(raw)
	return nil
}

func isStageError(err error) bool {
	_, ok := err.(*StageError)
	return ok
}

func isNotStarted(err error) bool {
	_, ok := err.(*NotStartedError)
	return ok
}

// appendMail writes MAIL FROM with the parameters the host understands.
func (x *clientExchange) appendMail(b []byte) []byte {
	t, ext := x.t, &x.c.ext
	b = append(b, "MAIL FROM:<"...)
	b = append(b, t.Sender.Raw...)
	b = append(b, '>')
	if ext.SizeOffered && x.body.size > 0 {
		b = append(b, " SIZE="...)
		b = strconv.AppendInt(b, x.body.size, 10)
	}
	if x.body.eightBit && ext.EightBitMIME {
		b = append(b, " BODY=8BITMIME"...)
	}
	if x.body.utf8 && ext.SMTPUTF8 {
		b = append(b, " SMTPUTF8"...)
	}
	if t.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if ext.DSN {
		b = appendParam(b, " RET=", t.Ret)
		b = appendParam(b, " ENVID=", t.EnvelopeID)
	}
	return append(b, "\r\n"...)
}

func (x *clientExchange) appendRcpt(b []byte, r *mail.Recipient) []byte {
	b = append(b, "RCPT TO:<"...)
	b = append(b, r.Raw...)
	b = append(b, '>')
	if x.c.ext.DSN {
		b = appendParam(b, " NOTIFY=", r.Notify)
		b = appendParam(b, " ORCPT=", r.ORcpt)
	}
	return append(b, "\r\n"...)
}

func appendParam(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return append(append(b, name...), value...)
}

// encrypted tells whether the connection is in TLS.
func (c *Client) encrypted() bool { return c.conn != c.raw }
