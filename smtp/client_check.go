package smtp

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/tarishi/tarishi/mail"
)

// Replies of our own, for what must not be sent to this host. They are decisions
// about this host: another MX of the destination may offer what this one lacks.
var (
	replyTooLarge    = mail.R(552, "5.3.4", "Message is larger than the host takes")
	replyBareLine    = mail.R(554, "5.6.0", "Message contains a bare CR or LF")
	replyNo8Bit      = mail.R(554, "5.6.3", "Message has 8-bit content and the host does not take it")
	replyNoUTF8      = mail.R(553, "5.6.7", "Message needs SMTPUTF8 and the host does not offer it")
	replyNoTLS       = mail.R(550, "5.7.30", "Message requires TLS and the host does not offer REQUIRETLS")
	replyBadSender   = mail.R(553, "5.1.7", "Sender address cannot be sent")
	replyBadRcpt     = mail.R(553, "5.1.3", "Recipient address cannot be sent")
	replyBadArgument = mail.R(501, "5.5.4", "Delivery status option cannot be sent")
)

// check settles what cannot go to this host before anything is sent: results of
// StageLocal. An error means that t.Data failed.
func (c *Client) check(t *Transaction, res *Result, body *bodyFacts) error {
	refuse := func(r mail.Reply) error {
		res.settle(StageLocal, r)
		return nil
	}
	ascii := t.Sender.IsASCII()
	switch {
	case !pathSendable(t.Sender.Raw, true):
		return refuse(replyBadSender)
	case !argSendable(t.EnvelopeID) || !argSendable(t.Ret):
		return refuse(replyBadArgument)
	case !ascii && !c.ext.SMTPUTF8:
		return refuse(replyNoUTF8)
	case t.RequireTLS && (!c.ext.RequireTLS || !c.encrypted()):
		return refuse(replyNoTLS)
	}
	for i := range t.Recipients {
		r := &t.Recipients[i]
		switch rcptASCII := r.IsASCII(); {
		case !pathSendable(r.Raw, false):
			res.Recipients[i] = RcptResult{Reply: replyBadRcpt, Stage: StageLocal}
		case !argSendable(r.Notify) || !argSendable(r.ORcpt):
			res.Recipients[i] = RcptResult{Reply: replyBadArgument, Stage: StageLocal}
		case !rcptASCII && !c.ext.SMTPUTF8:
			res.Recipients[i] = RcptResult{Reply: replyNoUTF8, Stage: StageLocal}
		case !rcptASCII:
			ascii = false
		}
	}
	body.utf8 = t.SMTPUTF8 || !ascii
	body.eightBit = t.BodyType == mail.Body8BitMIME
	body.size = t.Size
	if t.Bytes != nil || t.Data == nil {
		body.size = int64(len(t.Bytes))
		lines, ok := scanLines(t.Bytes)
		if !ok {
			return refuse(replyBareLine)
		}
		// RFC 6152 §2: 8-bit content is declared, even where the client that submitted it did not.
		body.eightBit = body.eightBit || has8Bit(t.Bytes)
		body.dots = lines.dots
		body.endsInCRLF = lines.endsInCRLF
	}
	// RFC 1870 §6.1: a message the host will not take need not be tried.
	if c.ext.Size > 0 && body.size > c.ext.Size {
		return refuse(replyTooLarge)
	}
	if c.ext.EightBitMIME && (c.ext.SMTPUTF8 || !t.SMTPUTF8) {
		return nil
	}
	// Rare: the host lacks what the message may need, so look what it does need.
	head8, body8, err := t.find8Bit()
	switch {
	case err != nil:
		return err
	case t.SMTPUTF8 && head8 && !c.ext.SMTPUTF8:
		return refuse(replyNoUTF8)
	case (head8 || body8) && !c.ext.EightBitMIME:
		// RFC 6152 §3 leaves two ways: convert, or return as undeliverable. Converting
		// breaks every signature the message has; we return it.
		return refuse(replyNo8Bit)
	}
	return nil
}

// bodyFacts is what check found out about the message.
type bodyFacts struct {
	size       int64 // octets as stored, for SIZE=; 0: not known
	utf8       bool  // MAIL needs SMTPUTF8
	eightBit   bool  // MAIL needs BODY=8BITMIME
	dots       bool  // Bytes only: a line begins with a dot
	endsInCRLF bool  // Bytes only
}

// find8Bit tells whether header and body hold octets above 127.
func (t *Transaction) find8Bit() (head, body bool, err error) {
	state := eightBitFinder{tail: [3]byte{0, '\r', '\n'}} // an empty header is one too
	if t.Bytes != nil || t.Data == nil {
		state.look(t.Bytes)
		return state.head, state.body, nil
	}
	r, err := t.open()
	if err != nil {
		return false, false, err
	}
	defer closeReader(r)
	piece := getBlock()
	defer putBlock(piece)
	for !state.body {
		n, err := r.Read(piece[:pieceSize])
		state.look(piece[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, false, err
		}
	}
	return state.head, state.body, nil
}

// eightBitFinder sees a message in pieces.
type eightBitFinder struct {
	head, body bool
	inBody     bool
	tail       [3]byte // the last octets of the header so far: the empty line may lie across pieces
}

func (f *eightBitFinder) look(p []byte) {
	if !f.inBody {
		joined := append(f.tail[:len(f.tail):len(f.tail)], p...)
		end := bytes.Index(joined, []byte("\r\n\r\n"))
		if end < 0 {
			f.head = f.head || has8Bit(p)
			copy(f.tail[:], joined[len(joined)-len(f.tail):])
			return
		}
		f.head = f.head || has8Bit(joined[:end])
		f.inBody = true
		p = joined[end:]
	}
	f.body = f.body || has8Bit(p)
}

// has8Bit looks at eight octets at a time: it sees every message kept in memory.
func has8Bit(p []byte) bool {
	for len(p) >= 8 {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return true
		}
		p = p[8:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// argSendable tells whether s can stand as the value of a parameter: it cannot
// end the command nor begin another parameter (RFC 5321 §4.1.2, esmtp-value).
func argSendable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// pathSendable tells whether raw can stand between < and > as one address. The
// octets go out as they are, so what ends a path or begins another address may
// stand only inside a quoted local part (RFC 5321 §4.1.2).
func pathSendable(raw string, null bool) bool {
	if raw == "" {
		return null
	}
	i := 0
	if raw[0] == '"' {
		for i = 1; i < len(raw) && raw[i] != '"'; i++ {
			if raw[i] == '\\' {
				i++
			}
			if i == len(raw) || raw[i] < ' ' || raw[i] == 0x7f {
				return false
			}
		}
		if i++; i > len(raw) || i < len(raw) && raw[i] != '@' {
			return false
		}
	} else {
		for ; i < len(raw) && raw[i] != '@'; i++ {
			switch c := raw[i]; {
			case c <= ' ', c == 0x7f:
				return false
			case c == '(', c == ')', c == '<', c == '>', c == '[', c == ']', c == ':', c == ';', c == ',', c == '\\', c == '"':
				return false
			}
		}
		if i == 0 {
			return false
		}
	}
	if i == len(raw) {
		return true // <postmaster>, or a mailbox of an LMTP host
	}
	for _, c := range []byte(raw[i+1:]) {
		switch {
		case c >= 0x80, '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case c == '.', c == '-', c == '_', c == '[', c == ']', c == ':':
		default:
			return false
		}
	}
	return i+1 < len(raw)
}
