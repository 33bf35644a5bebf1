package mail

import (
	"strings"

	"golang.org/x/net/idna"
)

// Domain is a domain name in canonical form: lower-case A-labels, no trailing dot.
type Domain string

// Address is a reverse-path or forward-path without its angle brackets.
//
// Raw keeps the octets the client sent and is what goes on the next wire, so that
// a quoted local part ("a b"@d) survives every hop unchanged. Domain is the
// canonical form of what stands behind the last @, for routing and comparing only.
// The zero Address is the null reverse-path <>.
type Address struct {
	Raw    string
	Domain Domain
}

// NewAddress makes an Address of a mailbox whose syntax has been checked.
// The domain is canonicalised; one that cannot be (a malformed IDN) is kept in
// lower case as it is, so that it fails in DNS and not here.
func NewAddress(raw string) Address {
	i := strings.LastIndexByte(raw, '@')
	if i < 0 {
		return Address{Raw: raw}
	}
	return Address{Raw: raw, Domain: CanonicalDomain(raw[i+1:])}
}

// CanonicalDomain returns the canonical form of a domain name or address literal.
func CanonicalDomain(s string) Domain {
	if strings.HasPrefix(s, "[") {
		return Domain(strings.ToLower(s))
	}
	s = strings.TrimSuffix(s, ".")
	if isLowerASCII(s) {
		return Domain(s)
	}
	if a, err := idna.Lookup.ToASCII(s); err == nil {
		return Domain(a)
	}
	return Domain(strings.ToLower(s))
}

func isLowerASCII(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	// Labels with -- in third place may be A-labels that still need checking; they are already in form.
	return true
}

// IsNull tells whether a is the null reverse-path <>.
func (a Address) IsNull() bool { return a.Raw == "" }

// String returns the address as it stood on the wire, without angle brackets.
func (a Address) String() string { return a.Raw }

// Local returns the local part as it stood on the wire, quotes included.
func (a Address) Local() string {
	if i := strings.LastIndexByte(a.Raw, '@'); i >= 0 {
		return a.Raw[:i]
	}
	return a.Raw
}

// IsASCII tells whether the address can go to a host without SMTPUTF8 (RFC 6531 §3.2).
func (a Address) IsASCII() bool {
	for i := range len(a.Raw) {
		if a.Raw[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Same tells whether a and b name the same mailbox: local parts octet for octet
// (RFC 5321 §2.4: they may be case-sensitive), domains canonically.
func (a Address) Same(b Address) bool {
	return a.Domain == b.Domain && a.Local() == b.Local()
}
