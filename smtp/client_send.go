package smtp

import (
	"context"
	"errors"
	"io"

	"github.com/tarishi/tarishi/mail"
)

// Transaction is one message for recipients at one host. The caller keeps to the
// host's limits on recipients (Extensions.RcptMax, RcptDomainMax).
type Transaction struct {
	Sender     mail.Address
	Recipients []mail.Recipient

	// The message: Bytes, or else what Data opens. Its lines end in CRLF; one that is
	// missing at the very end is added, any other bare CR or LF refuses the message.
	Bytes []byte
	// Data opens the message from its first octet. It may be called twice: a host
	// without 8BITMIME has the message looked at first. A Reader that is an io.Closer
	// is closed.
	Data func() (io.Reader, error)
	Size int64 // octets of what Data opens, for SIZE= (RFC 1870); 0: not known

	// BodyType is what the client declared. 8-bit content in Bytes is declared to the
	// host in any case; in a stream only when BodyType says so.
	BodyType mail.BodyType
	SMTPUTF8 bool // the message was submitted with SMTPUTF8 (RFC 6531)

	// DSN options of RFC 3461, as received; sent to hosts that offer DSN.
	Ret        string
	EnvelopeID string

	RequireTLS bool // RFC 8689: only over TLS, to hosts that offer REQUIRETLS

	// BeforeMail, when set, is called immediately before the write that carries MAIL
	// FROM, after all that may take its time: the connection is in step, what was said
	// on it before is answered. On an error nothing of that write leaves and Send
	// returns a *NotStartedError. It must not block.
	BeforeMail func() error
	// AfterMail, when set, is called once that write has returned; also when it
	// failed, since the octets may have left.
	AfterMail func()
	// BeforeDot, when set, is called at most once, when at least one recipient is
	// accepted and before the octets that complete the message (the final dot, the end
	// of BDAT LAST) can leave. On an error they never do; Send returns a
	// *NotCompletedError. If the order were swapped a crash could not tell which
	// messages may have arrived.
	BeforeDot func(ctx context.Context) error
}

// Result says what became of a transaction.
type Result struct {
	Recipients []RcptResult // in the order of Transaction.Recipients
	// DotSent: the octets that complete the message may have left. With recipients
	// whose Reply is zero, the host may have taken responsibility or not.
	DotSent bool
	// Reusable: the connection is good for another transaction. Otherwise it is closed.
	Reusable bool
	// Stale: the connection had carried a transaction before, and was found dead or
	// dying (EOF, reset, 421) before the host answered anything else. Nothing was tried:
	// send again on a new connection, without counting an attempt.
	Stale bool
}

// RcptResult is what the host said for one recipient.
type RcptResult struct {
	Reply mail.Reply // of MAIL, RCPT, DATA or the final dot; zero: nothing was said
	Stage Stage      // what Reply answers, or where the connection broke
}

// Delivered tells whether the host took responsibility for the recipient.
func (r RcptResult) Delivered() bool { return r.Stage == StageDot && r.Reply.Positive() }

// open: asked for and accepted, or not asked yet; no final word either way.
func (r *RcptResult) open() bool { return r.Stage == StageNone || r.accepted() }

func (r *RcptResult) accepted() bool { return r.Stage == StageRcpt && r.Reply.Positive() }

// settle gives every recipient without a final word this one.
func (res *Result) settle(stage Stage, r mail.Reply) {
	for i := range res.Recipients {
		if res.Recipients[i].open() {
			res.Recipients[i] = RcptResult{Reply: r, Stage: stage}
		}
	}
}

// settleUnasked does so for those who were not asked.
func (res *Result) settleUnasked(stage Stage, r mail.Reply) {
	for i := range res.Recipients {
		if res.Recipients[i].Stage == StageNone {
			res.Recipients[i] = RcptResult{Reply: r, Stage: stage}
		}
	}
}

func (res *Result) anyOpen() bool {
	for i := range res.Recipients {
		if res.Recipients[i].open() {
			return true
		}
	}
	return false
}

// Send carries out one transaction. What the host says is in the Result, never in
// the error. The error is a *StageError when the connection broke, was cut by a
// deadline of ours or by ctx, or the host left the protocol; a *SourceError,
// *NotStartedError or *NotCompletedError when the caller's side failed. Then
// recipients without a reply are those of which nothing is known. Result.Reusable tells in every case
// whether the connection is still open.
func (c *Client) Send(ctx context.Context, t *Transaction) (Result, error) {
	res := Result{Recipients: make([]RcptResult, len(t.Recipients))}
	if c.closed {
		return res, &StageError{Stage: StageMail, Err: ErrClientClosed}
	}
	var body bodyFacts
	if err := c.check(t, &res, &body); err != nil {
		res.Reusable = true // nothing was sent
		return res, &SourceError{Err: err}
	}
	if !res.anyOpen() {
		res.Reusable = true
		return res, nil
	}
	c.transactions++
	x := clientExchange{c: c, t: t, res: &res, body: &body}
	end := c.begin(ctx)
	err := x.run()
	switch {
	case err == nil:
	case isNotStarted(err):
		c.transactions-- // the host has seen nothing of it
		res.Reusable = end()
		if !res.Reusable {
			c.Close()
		}
		return res, err
	case errors.Is(err, errBareLine):
		res.settle(StageLocal, replyBareLine)
		err = nil
		x.ending = true // in the middle of a body
	case !res.anyOpen():
		// Everybody has an answer; that the host then hung up changes nothing.
		err = nil
		x.ending = true
	default:
		// Stale is about hosts, not about our caller who lost patience.
		if !x.answered && c.transactions > 1 && ctx.Err() == nil && wasCut(err) {
			res.Stale = true
		}
		res.settle(x.stage, mail.Reply{})
	}
	// Octets beyond the last reply: the host is out of step, or about to leave.
	res.Reusable = end() && err == nil && !x.ending && c.r.buffered() == 0
	if !res.Reusable {
		c.Close()
	}
	return res, err
}
