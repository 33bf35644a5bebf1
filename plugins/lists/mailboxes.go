package lists

import (
	"errors"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// Mailboxes is a set of addresses: ann@example.net, or with @example.net all of a
// domain and with @*.example.net all of the domains below it. Letter case does not
// matter, and nor does it whether a local part is quoted. The zero Mailboxes is empty;
// once it is built any number of goroutines may ask.
type Mailboxes struct {
	of      map[string]struct{} // by Key
	domains Domains
}

// Add puts in an address or a domain's.
func (m *Mailboxes) Add(text string) error {
	if domain, all := strings.CutPrefix(text, "@"); all {
		return m.domains.Add(domain)
	}
	a, err := ParseMailbox(text)
	if err != nil {
		return err
	}
	if m.of == nil {
		m.of = map[string]struct{}{}
	}
	m.of[Key(a)] = struct{}{}
	return nil
}

// Has tells whether an address is in the set.
func (m *Mailboxes) Has(a mail.Address) bool {
	if len(m.of) > 0 {
		if _, in := m.of[Key(a)]; in {
			return true
		}
	}
	return a.Domain != "" && m.domains.HasDomain(a.Domain)
}

// Len is how many entries there are.
func (m *Mailboxes) Len() int { return len(m.of) + m.domains.Len() }

// ParseMailbox reads local@domain.
func ParseMailbox(text string) (mail.Address, error) {
	i := strings.LastIndexByte(text, '@')
	switch {
	case i < 0:
		return mail.Address{}, errors.New("has no @; write ann@example.net, or @example.net for everybody there")
	case i == 0:
		return mail.Address{}, errors.New("names nobody before its @")
	case strings.ContainsAny(text, "<>"):
		return mail.Address{}, errors.New("has angle brackets; write ann@example.net")
	case strings.ContainsAny(text, " \t") && text[0] != '"':
		return mail.Address{}, errors.New("has a blank in it; write one address a line")
	case strings.ContainsRune(text[:i], '*') && text[:i] == "*":
		return mail.Address{}, errors.New("has a * for everybody; write " + text[1:])
	}
	if _, err := ParseDomain(text[i+1:]); err != nil {
		return mail.Address{}, errors.New("has no good domain behind its @; write ann@example.net")
	}
	return mail.NewAddress(text), nil
}

// Key is an address as it is compared: "Ann"@Example.net is ann@example.net. The
// standard lets a local part depend on case (RFC 5321 §2.4), but who lists an address
// means its owner, however he writes it.
func Key(a mail.Address) string {
	local := Local(a)
	if a.Domain == "" {
		return local
	}
	return local + "@" + string(a.Domain)
}

// Local is an address's local part as it is compared: in lower case, and without
// quotes, which are not part of it (RFC 5321 §4.1.2).
func Local(a mail.Address) string {
	local := a.Local()
	if len(local) >= 2 && local[0] == '"' && local[len(local)-1] == '"' {
		local = unquote(local[1 : len(local)-1])
	}
	return strings.ToLower(local)
}

func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Routes tells whether some mail system would read a route out of a local part:
// user%other, other!user, "user@other". Nobody vouches for such a recipient by his
// domain alone: the host behind us may be one that follows it (RFC 5321 App. F.2).
func Routes(a mail.Address) bool { return strings.ContainsAny(a.Local(), "%!@") }

// BarePostmaster tells whether a recipient was given as <postmaster>, without a domain.
// He is always somebody here (RFC 5321 §4.5.1), and on no list. given is the path as
// the client wrote it, since whoever he is stands in the recipient by then.
func BarePostmaster(given mail.Address) bool { return strings.EqualFold(given.Raw, "postmaster") }
