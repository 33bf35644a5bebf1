package mail

import (
	"fmt"
	"strconv"
	"strings"
)

// EnhancedCode is the status code of RFC 3463. The zero value means that none was given.
type EnhancedCode [3]uint16

func (e EnhancedCode) String() string {
	if e == (EnhancedCode{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2])
}

// Reply is what one side of an SMTP dialogue says to a command (RFC 5321 §4.2).
// Text has one line per \n and holds no code. A 4yz or 5yz Reply of a remote is
// not a Go error; it is what we came for.
type Reply struct {
	Code     int
	Enhanced EnhancedCode
	Text     string
}

// R makes a Reply. enhanced is "5.1.1" or "".
func R(code int, enhanced, text string) Reply {
	e, _ := ParseEnhancedCode(enhanced)
	return Reply{Code: code, Enhanced: e, Text: text}
}

// ParseEnhancedCode reads class.subject.detail (RFC 3463 §2).
func ParseEnhancedCode(s string) (EnhancedCode, bool) {
	var e EnhancedCode
	for i := range 3 {
		part, rest, more := strings.Cut(s, ".")
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || n > 999 || more != (i < 2) || len(part) > 3 {
			return EnhancedCode{}, false
		}
		e[i], s = uint16(n), rest
	}
	if e[0] != 2 && e[0] != 4 && e[0] != 5 {
		return EnhancedCode{}, false
	}
	return e, true
}

// Positive, Transient and Permanent tell the class of the reply.
func (r Reply) Positive() bool  { return r.Code/100 == 2 }
func (r Reply) Transient() bool { return r.Code/100 == 4 }
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// IsZero tells whether nothing was said.
func (r Reply) IsZero() bool { return r.Code == 0 }

// String is the reply on one line, as logs and notices show it.
func (r Reply) String() string {
	if r.Code == 0 {
		return r.Text
	}
	b := strconv.Itoa(r.Code)
	if e := r.Enhanced.String(); e != "" {
		b += " " + e
	}
	if r.Text != "" {
		b += " " + strings.ReplaceAll(r.Text, "\n", " / ")
	}
	return b
}

// Status returns the RFC 3463 code of the reply, made from its class when none was given.
func (r Reply) Status() EnhancedCode {
	if r.Enhanced != (EnhancedCode{}) {
		return r.Enhanced
	}
	switch {
	case r.Positive():
		return EnhancedCode{2, 0, 0}
	case r.Permanent():
		return EnhancedCode{5, 0, 0}
	default:
		return EnhancedCode{4, 0, 0}
	}
}
