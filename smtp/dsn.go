package smtp

import (
	"fmt"
	"strings"
	"unicode/utf8"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/tarishi/tarishi/mail"
)

// RcptOptions are the parameters of RCPT: go-smtp's, and how ORCPT was written.
type RcptOptions struct {
	gosmtp.RcptOptions
	// Orcpt is the value of ORCPT as the next host is to have it (RFC 3461 §4.2):
	// type, semicolon and xtext; empty when the client gave none.
	Orcpt string
}

// NotifyList is the value of NOTIFY as the next host is to have it (RFC 3461
// §4.1); empty when the client gave none.
func (o *RcptOptions) NotifyList() string {
	if len(o.Notify) == 0 {
		return ""
	}
	words := make([]string, len(o.Notify))
	for i, n := range o.Notify {
		words[i] = string(n)
	}
	return strings.Join(words, ",")
}

const (
	maxEnvid = 100 // octets, RFC 3461 §4.4
	maxOrcpt = 500 // octets, RFC 3461 §4.2
)

// dsn reads the parameters of MAIL that RFC 3461 adds; mine is false when key is
// none of them.
func (o *MailOptions) dsn(key, value string) (mine bool, bad *mail.Reply) {
	switch key {
	case "RET":
		if o.Return != "" {
			return true, &twiceParam
		}
		switch o.Return = gosmtp.DSNReturn(upper(value)); o.Return {
		case gosmtp.DSNReturnFull, gosmtp.DSNReturnHeaders:
			return true, nil
		}
	case "ENVID":
		if o.Envid != "" {
			return true, &twiceParam
		}
		plain, ok := readXtext(value)
		// §4.4: printable, since a notice has to repeat it.
		if ok && len(value) <= maxEnvid && isPrintable(plain) {
			o.EnvelopeID, o.Envid = plain, value
			return true, nil
		}
	default:
		return false, nil
	}
	return true, &badParam
}

// dsn reads one parameter of RCPT; any other than those of RFC 3461 is unknown.
func (o *RcptOptions) dsn(key, value string, utf8 bool) *mail.Reply {
	switch key {
	case "NOTIFY":
		if o.Notify != nil {
			return &twiceParam
		}
		for word := range strings.SplitSeq(upper(value), ",") {
			switch n := gosmtp.DSNNotify(word); n {
			case gosmtp.DSNNotifySuccess, gosmtp.DSNNotifyFailure, gosmtp.DSNNotifyDelayed, gosmtp.DSNNotifyNever:
				o.Notify = append(o.Notify, n)
			default:
				return &badParam
			}
		}
		for _, n := range o.Notify {
			if n == gosmtp.DSNNotifyNever && len(o.Notify) > 1 {
				return &badParam // §4.1: NEVER stands alone
			}
		}
	case "ORCPT":
		if o.Orcpt != "" {
			return &twiceParam
		}
		kind, address, ok := strings.Cut(value, ";")
		if !ok || !isAddrType(kind) {
			return &badParam
		}
		if utf8 && strings.EqualFold(kind, "utf-8") {
			address = asciiOrcpt(address)
		}
		plain, ok := readXtext(address)
		if !ok || !isPrintable(plain) || len(kind)+1+len(address) > maxOrcpt {
			return &badParam
		}
		o.OriginalRecipientType, o.OriginalRecipient = gosmtp.DSNAddressType(upper(kind)), plain
		o.Orcpt = kind + ";" + address
	default:
		return &unknownParam
	}
	return nil
}

// isAddrType checks the atom in front of an original recipient.
func isAddrType(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 || !isAtext(s[i]) {
			return false
		}
	}
	return s != ""
}

// asciiOrcpt writes the characters of a UTF-8 address that are not ASCII as
// \x{HEX}, so that it passes hosts without SMTPUTF8, too (RFC 6533 §3).
func asciiOrcpt(s string) string {
	if !utf8.ValidString(s) {
		return s // readXtext refuses it
	}
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}

// readXtext decodes xtext (RFC 3461 §4): printable ASCII without + and =, which
// are written +2B and +3D, as any octet may be. Empty is no xtext here: every
// value that has one means something.
func readXtext(s string) (plain string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < '!' || c > '~' || c == '=':
			return "", false
		case c != '+':
			b.WriteByte(c)
		case i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
		default:
			return "", false
		}
	}
	return b.String(), s != ""
}

// isHex knows capitals only, as the grammar does.
func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'A' + 10
}

// isPrintable tells whether s is of graphic ASCII and spaces.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
