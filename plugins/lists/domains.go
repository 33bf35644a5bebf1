package lists

import (
	"errors"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// Domains is a set of host and domain names: a name itself, or with *.example.net
// everything below it. Letter case and the notation of an IDN do not matter. The zero
// Domains is empty; once it is built any number of goroutines may ask.
type Domains struct {
	exact map[mail.Domain]struct{}
	below map[mail.Domain]struct{} // *.example.net under example.net
}

// Add puts in a name or a pattern.
func (d *Domains) Add(text string) error {
	name, pattern := strings.CutPrefix(text, "*.")
	c, err := ParseDomain(name)
	if err != nil {
		return err
	}
	into := &d.exact
	if pattern {
		into = &d.below
	}
	if *into == nil {
		*into = map[mail.Domain]struct{}{}
	}
	(*into)[c] = struct{}{}
	return nil
}

// Has tells whether a name is in the set; it may come as a client wrote it.
func (d *Domains) Has(name string) bool { return d.HasDomain(mail.CanonicalDomain(name)) }

// HasDomain is Has for a name in canonical form.
func (d *Domains) HasDomain(name mail.Domain) bool {
	if _, in := d.exact[name]; in {
		return true
	}
	if len(d.below) == 0 {
		return false
	}
	for tail := string(name); ; {
		i := strings.IndexByte(tail, '.')
		if i < 0 {
			return false
		}
		tail = tail[i+1:]
		if _, in := d.below[mail.Domain(tail)]; in {
			return true
		}
	}
}

// Len is how many names and patterns there are.
func (d *Domains) Len() int { return len(d.exact) + len(d.below) }

// ParseDomain reads a name as people write it, and returns its canonical form.
func ParseDomain(text string) (mail.Domain, error) {
	switch {
	case strings.Contains(text, "@"):
		return "", errors.New("is an address where a domain is wanted; write example.net")
	case strings.Contains(text, "*"):
		return "", errors.New("has a * where none can stand; write example.net, or *.example.net for all names below it")
	case strings.ContainsAny(text, "/\\:()|^$?+[]{}, \t\"<>!%"), text == "", strings.HasPrefix(text, "."), strings.Contains(text, ".."):
		return "", errors.New("is no domain; write example.net, or *.example.net for all names below it")
	}
	c := mail.CanonicalDomain(text)
	for i := range len(c) {
		if c[i] >= 0x80 || c[i] < '!' {
			return "", errors.New("is no domain: its name cannot be written as an A-label (RFC 5890)")
		}
	}
	if i := strings.LastIndexByte(string(c), '.'); i >= 0 && i+1 < len(c) && c[i+1] >= '0' && c[i+1] <= '9' {
		return "", errors.New("is no domain: its last label begins with a digit, as in an address; a network is written 192.0.2.0/24")
	}
	if len(c) > 253 {
		return "", errors.New("is longer than a domain can be")
	}
	return c, nil
}
