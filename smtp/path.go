package smtp

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/tarishi/tarishi/mail"
)

// Lengths of RFC 5321 §4.5.3.1.1 to .3, in octets.
const (
	maxLocal  = 64
	maxDomain = 255
	maxPath   = 256 // with the angle brackets
	maxLabel  = 63  // RFC 1035 §2.3.4
)

// PathError says why a path is not one. Its Reply is what the client is told; the
// subject of the enhanced code fits a recipient and is x.1.7 for a sender.
type PathError struct {
	Code   int    // 501: not in the form <path>; 553: the mailbox inside is wrong
	Status string // of a recipient
	Reason string
}

func (e *PathError) Error() string { return e.Reason }

func badPath(reason string) error { return &PathError{501, "5.5.4", reason} }
func badBox(reason string) error  { return &PathError{553, "5.1.3", reason} }

// ParsePath reads the path at the start of s, angle brackets included, and
// returns the address and what follows it. The octets of the address are kept as
// they stand (a quoted local part stays quoted). Source routes are refused
// (RFC 5321 §3.3 and App. C allow it). "<>" gives the null address, "<postmaster>"
// an address without Domain (§4.1.1.3); whether these are welcome is for the
// caller to say. With lax, spaces may precede the path and the brackets may be
// missing. Non-ASCII octets are accepted if they are UTF-8 (RFC 6531 §3.3).
func ParsePath(s string, lax bool) (a mail.Address, rest string, err error) {
	if lax {
		s = strings.TrimLeft(s, " ")
		if s != "" && s[0] != '<' {
			n := mailboxEnd(s, ' ')
			a, err = ParseMailbox(s[:n])
			return a, s[n:], err
		}
	}
	if s == "" || s[0] != '<' {
		return a, s, badPath("the address must stand in angle brackets directly behind the colon")
	}
	s = s[1:]
	n := mailboxEnd(s, '>')
	if n == len(s) {
		return a, s, badPath("missing >")
	}
	box, rest := s[:n], s[n+1:]
	if rest != "" && rest[0] != ' ' {
		return a, rest, badPath("text behind >")
	}
	switch {
	case box == "":
		return mail.Address{}, rest, nil
	case box[0] == '@':
		return a, rest, &PathError{553, "5.7.1", "source routes are not accepted"}
	case strings.EqualFold(box, "postmaster"):
		return mail.Address{Raw: box}, rest, nil
	}
	a, err = ParseMailbox(box)
	return a, rest, err
}

// mailboxEnd returns the place of the first end octet outside quotes, or len(s).
func mailboxEnd(s string, end byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == end && !quoted:
			return i
		}
	}
	return len(s)
}

// ParseMailbox checks local@domain against RFC 5321 §4.1.2 and §4.5.3.1, with
// the UTF-8 of RFC 6531 §3.3. An underscore in a domain is let through: it is
// not a host name, but it is in use.
func ParseMailbox(s string) (mail.Address, error) {
	if len(s) > maxPath-2 {
		return mail.Address{}, badBox("path longer than 256 octets")
	}
	n, err := localPart(s)
	if err != nil {
		return mail.Address{}, err
	}
	switch {
	case n == len(s):
		return mail.Address{}, badBox("no @ and domain")
	case s[n] != '@':
		return mail.Address{}, badBox("character that needs quotes in the local part")
	case n > maxLocal:
		return mail.Address{}, badBox("local part longer than 64 octets")
	}
	if err := CheckDomain(s[n+1:]); err != nil {
		return mail.Address{}, err
	}
	if !utf8.ValidString(s) {
		return mail.Address{}, badBox("octets that are not UTF-8")
	}
	return mail.NewAddress(s), nil
}

// localPart returns the length of the Local-part at the start of s.
func localPart(s string) (int, error) {
	if s != "" && s[0] == '"' {
		return quotedString(s)
	}
	atom := 0 // octets since the last dot
	for i := 0; i <= len(s); i++ {
		if i < len(s) && isAtext(s[i]) {
			atom++
			continue
		}
		if atom == 0 {
			return 0, badBox("empty local part, or empty part between dots")
		}
		if i == len(s) || s[i] != '.' {
			return i, nil
		}
		atom = 0
	}
	return len(s), nil
}

// quotedString returns the length of the Quoted-string at the start of s.
func quotedString(s string) (int, error) {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] > '~' { // quoted-pairSMTP = %d92 %d32-126
				return 0, badBox("bad quoted pair in the local part")
			}
		case c < ' ' || c == 0x7f: // qtextSMTP has no controls
			return 0, badBox("control character in the local part")
		}
	}
	return 0, badBox("quoted local part does not end")
}

// isAtext tells whether c may stand in an Atom: RFC 5322 §3.2.3, and UTF8-non-ascii.
func isAtext(c byte) bool {
	return c >= 0x80 || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// CheckDomain checks a Domain or an address-literal of RFC 5321 §4.1.2 and .3.
// Of the literals only IPv4 and IPv6 are known.
func CheckDomain(s string) error {
	if strings.HasPrefix(s, "[") {
		return checkLiteral(s)
	}
	if len(s) > maxDomain {
		return badBox("domain longer than 255 octets")
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if c := s[i]; !isLetDig(c) && c != '-' && c != '_' {
				return badBox("character that no domain has")
			}
			continue
		}
		switch label := s[start:i]; {
		case label == "":
			return badBox("empty label in the domain")
		case len(label) > maxLabel:
			return badBox("label longer than 63 octets in the domain")
		case label[0] == '-' || label[len(label)-1] == '-':
			return badBox("hyphen at the edge of a label in the domain")
		}
		start = i + 1
	}
	return nil
}

func isLetDig(c byte) bool {
	return c >= 0x80 || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func checkLiteral(s string) error {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return badBox("address literal does not end in ]")
	}
	v6 := false
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		inner, v6 = inner[5:], true
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Zone() != "" || ip.Is6() != v6 {
		return badBox("bad address literal")
	}
	return nil
}
