package ingress

import (
	"net/netip"
	"time"

	"github.com/tarishi/tarishi/mail"
)

// trace is what a Received field tells (RFC 5321 §4.4).
type trace struct {
	Helo     string     // as the client said it
	Name     string     // the client's reverse DNS name, or empty
	IP       netip.Addr // not valid: unknown
	By       string     // our name
	Protocol string     // ESMTP, ESMTPS, ... (RFC 3848)
	ID       string
	For      string // the only recipient as it stood on the wire; empty when there are several (others are nobody's business)
	Time     time.Time
}

// same tells whether there is one recipient only, however often he was named.
func same(rcpts []mail.Recipient) bool {
	for i := range rcpts {
		if !rcpts[i].Same(rcpts[0].Address) {
			return false
		}
	}
	return len(rcpts) > 0
}

const (
	foldAt  = 78  // RFC 5322 §2.1.1: lines SHOULD be no longer
	maxName = 255 // RFC 5321 §4.5.3.1.2
)

// append adds the whole field with its CRLF to b, folded between its clauses:
//
//	Received: from helo (name [ip]) by us with ESMTP id Q for <r>; date
func (t *trace) append(b []byte) []byte {
	b = append(b, "Received:"...)
	col := len("Received:")
	var clause [64]byte
	put := func(c []byte) {
		// Never directly behind the colon: some readers take the empty line for the value.
		if col+1+len(c) > foldAt && col > len("Received:") {
			b = append(b, "\r\n\t"...)
			col = 8
		} else {
			b = append(b, ' ')
			col++
		}
		b = append(b, c...)
		col += len(c)
	}

	put(appendName(append(clause[:0], "from "...), t.Helo))
	c := append(clause[:0], '(')
	if t.Name == "" {
		c = append(c, "unknown"...)
	} else {
		c = appendName(c, t.Name)
	}
	if t.IP.IsValid() {
		c = append(c, " ["...)
		if t.IP.Is6() {
			c = append(c, "IPv6:"...) // RFC 5321 §4.1.3
		}
		c = append(t.IP.AppendTo(c), ']')
	}
	put(append(c, ')'))
	put(append(append(clause[:0], "by "...), t.By...))
	c = append(append(clause[:0], "with "...), t.Protocol...)
	c = append(append(c, " id "...), t.ID...)
	if t.For == "" {
		put(append(c, ';'))
	} else {
		put(c)
		c = append(append(clause[:0], "for <"...), t.For...)
		put(append(c, '>', ';'))
	}
	put(t.Time.AppendFormat(clause[:0], "Mon, 2 Jan 2006 15:04:05 -0700"))
	return append(b, '\r', '\n')
}

const hexDigits = "0123456789ABCDEF"

// appendName adds a stranger's name. What no host name or address literal has
// (blanks, parentheses, controls, 8-bit octets, +) is written as xtext (RFC 3461
// §4: + and two hexadecimal digits), so that the name cannot end its clause, open
// a comment or begin another header line.
func appendName(b []byte, s string) []byte {
	if s == "" {
		return append(b, "unknown"...)
	}
	s = s[:min(len(s), maxName)]
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
			b = append(b, c)
		default:
			b = append(b, '+', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}
