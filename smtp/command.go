package smtp

import (
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/tarishi/tarishi/mail"
)

// MailOptions are the parameters of MAIL, in the words of go-smtp, so that its
// users find what they know.
type MailOptions struct {
	gosmtp.MailOptions
	// HOLDFOR or HOLDUNTIL (RFC 4865): when the message is to be sent, and what was
	// asked for as notices repeat it. Zero and empty: at once.
	HoldUntil   time.Time
	HoldRequest string
	// Envid is ENVID as the client wrote it, xtext (RFC 3461 §4.4); empty when it did not.
	Envid string
}

// splitVerb takes a command line apart. The verb is everything before the first
// space (STARTTLSX is not STARTTLS); trailing white space is nobody's
// (RFC 5321 §4.1.1: SHOULD be tolerated).
func splitVerb(line []byte) (verb, args []byte) {
	for i, c := range line {
		if c == ' ' {
			verb, args = line[:i], line[i+1:]
			for len(args) > 0 && (args[len(args)-1] == ' ' || args[len(args)-1] == '\t') {
				args = args[:len(args)-1]
			}
			return verb, args
		}
	}
	return line, nil
}

// params walks over the parameters behind a path: *(SP keyword ["=" value]),
// RFC 5321 §4.1.2.
type params struct{ rest string }

// next returns the next parameter; more is false behind the last one, ok is
// false when it is malformed.
func (p *params) next() (key, value string, hasValue, more, ok bool) {
	p.rest = strings.TrimLeft(p.rest, " ")
	if p.rest == "" {
		return "", "", false, false, true
	}
	word, rest, _ := strings.Cut(p.rest, " ")
	p.rest = rest
	key, value, hasValue = strings.Cut(word, "=")
	if !isKeyword(key) || hasValue && !isParamValue(value) {
		return "", "", false, true, false
	}
	return upper(key), value, hasValue, true, true
}

// isKeyword checks esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-").
func isKeyword(s string) bool {
	if s == "" || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || !isLetDig(c) && c != '-' {
			return false
		}
	}
	return true
}

// isParamValue checks esmtp-value = 1*(%d33-60 / %d62-126 / UTF8-non-ascii).
func isParamValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '=' || c == 0x7f {
			return false
		}
	}
	return s != ""
}

// upper is strings.ToUpper for ASCII; it does not allocate for what is in upper case.
func upper(s string) string {
	for i := range len(s) {
		if 'a' <= s[i] && s[i] <= 'z' {
			return strings.ToUpper(s)
		}
	}
	return s
}

var (
	badParam     = mail.R(501, "5.5.4", "Malformed parameter")
	twiceParam   = mail.R(501, "5.5.4", "Parameter given twice")
	unknownParam = mail.R(555, "5.5.4", "Parameter not recognized or not offered") // RFC 5321 §4.1.1.11
	tooBig       = mail.R(552, "5.3.4", "Message size exceeds the limit")
	needUTF8     = mail.R(553, "5.6.7", "Non-ASCII address needs SMTPUTF8") // RFC 6531 §3.5
)

// parseMail reads what follows "MAIL ". On failure it returns the reply to give.
// maxSize is the largest message taken, in octets; postpones how far off it may be
// sent, 0: that is not offered.
func parseMail(args string, lax, esmtp bool, maxSize int64, postpones time.Duration) (from mail.Address, o *MailOptions, bad *mail.Reply) {
	rest, ok := cutFold(args, "FROM:")
	if !ok {
		return from, nil, &mail.Reply{Code: 501, Enhanced: mail.EnhancedCode{5, 5, 4}, Text: "Syntax: MAIL FROM:<address>"}
	}
	from, rest, err := ParsePath(rest, lax)
	if err == nil && from.Domain == "" && from.Raw != "" {
		err = badBox("no @ and domain") // the bare postmaster is a recipient only
	}
	if err != nil {
		return from, nil, pathReply(err, "5.1.7")
	}
	o = &MailOptions{}
	var size, body bool
	for p := (params{rest}); ; {
		key, value, hasValue, more, ok := p.next()
		if !more {
			break
		}
		switch {
		case !ok:
			return from, nil, &badParam
		case !esmtp:
			return from, nil, &unknownParam // HELO offers no extensions
		case key == "SIZE":
			if size {
				return from, nil, &twiceParam
			}
			if size, o.Size, ok = true, 0, false; hasValue {
				o.Size, ok = decimal(value, 20) // RFC 1870 §6.1: 1*20DIGIT
			}
			if !ok {
				return from, nil, &badParam
			}
			if o.Size > maxSize {
				return from, nil, &tooBig
			}
		case key == "BODY":
			if body {
				return from, nil, &twiceParam
			}
			body = true
			switch o.Body = gosmtp.BodyType(upper(value)); o.Body {
			case gosmtp.Body7Bit, gosmtp.Body8BitMIME:
			case gosmtp.BodyBinaryMIME:
				return from, nil, &unknownParam // RFC 3030 §3: we do not offer it
			default:
				return from, nil, &badParam
			}
		case key == "SMTPUTF8":
			if o.UTF8 {
				return from, nil, &twiceParam
			}
			if hasValue {
				return from, nil, &badParam // RFC 6531 §3.4: takes no value
			}
			o.UTF8 = true
		case (key == "HOLDFOR" || key == "HOLDUNTIL") && postpones > 0:
			if bad := o.hold(key, value, postpones, time.Now()); bad != nil {
				return from, nil, bad
			}
		default:
			mine, bad := o.dsn(key, value)
			if !mine {
				bad = &unknownParam
			}
			if bad != nil {
				return from, nil, bad
			}
		}
	}
	if !o.UTF8 && !from.IsASCII() {
		return from, nil, &needUTF8
	}
	return from, o, nil
}

// parseRcpt reads what follows "RCPT ". On failure it returns the reply to give.
func parseRcpt(args string, lax, esmtp, utf8 bool) (to mail.Address, o *RcptOptions, bad *mail.Reply) {
	rest, ok := cutFold(args, "TO:")
	if !ok {
		return to, nil, &mail.Reply{Code: 501, Enhanced: mail.EnhancedCode{5, 5, 4}, Text: "Syntax: RCPT TO:<address>"}
	}
	to, rest, err := ParsePath(rest, lax)
	if err == nil && to.IsNull() {
		err = badBox("<> is no recipient")
	}
	if err != nil {
		return to, nil, pathReply(err, "5.1.3")
	}
	o = &RcptOptions{}
	for p := (params{rest}); ; {
		key, value, _, more, ok := p.next()
		switch {
		case !more:
			if !utf8 && !to.IsASCII() {
				return to, nil, &needUTF8
			}
			return to, o, nil
		case !ok:
			return to, nil, &badParam
		case !esmtp:
			return to, nil, &unknownParam
		}
		if bad := o.dsn(key, value, utf8); bad != nil {
			return to, nil, bad
		}
	}
}

// pathReply makes the reply to a bad path; status replaces the code of a bad mailbox.
func pathReply(err error, status string) *mail.Reply {
	e := err.(*PathError)
	if e.Status == "5.1.3" {
		r := mail.R(e.Code, status, "Bad address: "+e.Reason)
		return &r
	}
	r := mail.R(e.Code, e.Status, "Bad address: "+e.Reason)
	return &r
}

// cutFold removes a prefix, whatever its case.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// decimal reads 1 to digits decimal digits. A number that does not fit is the
// largest there is: it is too big for whatever it is compared with.
func decimal(s string, digits int) (n int64, ok bool) {
	if s == "" || len(s) > digits {
		return 0, false
	}
	const most = int64(^uint64(0) >> 1)
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if d := int64(c - '0'); n > (most-d)/10 {
			n = most
		} else {
			n = n*10 + d
		}
	}
	return n, true
}
