package api

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dop251/goja"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/smtp"
)

// mailbox is an address as address-rfc2821 takes it apart.
type mailbox struct {
	user, host   string // host: lower case, A-labels
	originalHost string // as written
	utf8         bool
}

// maxAddress bounds what is read as an address: a path has 256 octets (RFC 5321
// §4.5.3.1.3), and a source route may stand before.
const maxAddress = 1024

// parseAddress reads <path> or a mailbox without brackets. A source route is
// dropped, as RFC 5321 App. F.2 wants. The null path has no user.
func parseAddress(s string) (mailbox, error) {
	if len(s) > maxAddress {
		return mailbox{}, errors.New("longer than any path")
	}
	if s == "" || s == "<>" {
		return mailbox{}, nil
	}
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		if s, ok = strings.CutSuffix(inner, ">"); !ok {
			return mailbox{}, errors.New("missing >")
		}
		var err error
		if s, err = dropRoute(s); err != nil {
			return mailbox{}, err
		}
	}
	if strings.EqualFold(s, "postmaster") {
		return mailbox{user: "postmaster"}, nil
	}
	a, err := smtp.ParseMailbox(s)
	if err != nil {
		return mailbox{}, err
	}
	return takeApart(a), nil
}

// dropRoute drops the source route @a,@b: before a mailbox.
func dropRoute(s string) (string, error) {
	if !strings.HasPrefix(s, "@") {
		return s, nil
	}
	// An address literal may have colons; the route ends at the first one outside.
	end, literal := -1, false
	for i := 0; i < len(s) && end < 0; i++ {
		switch s[i] {
		case '[':
			literal = true
		case ']':
			literal = false
		case ':':
			if !literal {
				end = i
			}
		}
	}
	if end < 0 {
		return "", errors.New("no : behind the source route")
	}
	for _, hop := range strings.Split(s[:end], ",") {
		d, ok := strings.CutPrefix(hop, "@")
		if !ok {
			return "", errors.New("a hop of the source route does not begin with @")
		}
		if err := smtp.CheckDomain(d); err != nil {
			return "", err
		}
	}
	return s[end+1:], nil
}

func takeApart(a mail.Address) mailbox {
	m := mailbox{user: a.Local(), host: string(a.Domain), utf8: !a.IsASCII()}
	if i := strings.LastIndexByte(a.Raw, '@'); i >= 0 {
		m.originalHost = a.Raw[i+1:]
	}
	return m
}

// nativeAddress gives js/address-rfc2821.js the parser.
func nativeAddress(r *Runtime) any {
	o := r.vm.NewObject()
	o.Set("parse", func(s string) goja.Value {
		m, err := parseAddress(s)
		if err != nil {
			r.throw("", "Invalid address %q: %s", s, err)
		}
		x := r.vm.NewObject()
		m.put(r, x)
		return x
	})
	o.Set("canonical", func(s string) string { return string(mail.CanonicalDomain(s)) })
	o.Set("domain", func(original, host, originalHost string) string {
		return domainOf(formerDomain(original, originalHost), host, originalHost)
	})
	return o
}

// put sets the properties of an Address.
func (m mailbox) put(r *Runtime, x *goja.Object) {
	x.Set("user", asString(m.user))
	x.Set("host", asString(m.host))
	if m.originalHost != "" {
		x.Set("original_host", asString(m.originalHost))
	}
	if m.utf8 {
		x.Set("is_utf8", true)
	}
}

// Address makes an Address of a path without brackets, whose syntax has been checked;
// empty: the null path.
func (r *Runtime) Address(raw string) (*goja.Object, error) {
	if r.addressClass == nil {
		var class *goja.Object
		if ex := r.vm.Try(func() {
			class = r.modules.builtin("address-rfc2821").ToObject(r.vm).Get("Address").ToObject(r.vm).Get("prototype").ToObject(r.vm)
		}); ex != nil {
			return nil, ex
		}
		r.addressClass = class
	}
	var m mailbox
	switch {
	case raw == "":
	case strings.EqualFold(raw, "postmaster"):
		m.user = "postmaster"
	case strings.IndexByte(raw, '@') < 0:
		return nil, fmt.Errorf("%q is no address", raw)
	default:
		m = takeApart(mail.NewAddress(raw))
	}
	x := r.vm.CreateObject(r.addressClass)
	x.Set("original", asString("<"+raw+">"))
	m.put(r, x)
	return x, nil
}

// formerDomain is what the host of an Address was when it was made.
func formerDomain(original, originalHost string) string {
	if m, err := parseAddress(original); err == nil && m.host != "" {
		return m.host
	}
	return string(mail.CanonicalDomain(originalHost))
}

// domainOf is the domain that an Address stands for: its host as it was written, unless
// a script has set the host to something else.
func domainOf(was, host, originalHost string) string {
	if host == was && originalHost != "" {
		return originalHost
	}
	return host
}

// AddressText is the path without brackets that v means: an Address that a script may
// have changed, something that looks like one, or a string. It is checked.
func (r *Runtime) AddressText(v goja.Value) (string, bool) {
	var text string
	switch x := v.(type) {
	case goja.String:
		text = x.String()
	case *goja.Object:
		ex := r.vm.Try(func() {
			property := func(name string) string {
				p := x.Get(name)
				if p == nil || goja.IsUndefined(p) || goja.IsNull(p) {
					return ""
				}
				return p.String()
			}
			user, host := property("user"), property("host")
			was := formerDomain(property("original"), property("original_host"))
			switch {
			case user == "" && (host == "" || host == was): // the null path
			case host == "" && was == "": // postmaster
				text = user
			default: // without a domain it is no address any more
				text = user + "@" + domainOf(was, host, property("original_host"))
			}
		})
		if ex != nil {
			return "", false
		}
	default:
		return "", false
	}
	m, err := parseAddress(text)
	switch {
	case err != nil:
		return "", false
	case m.user == "":
		return "", true
	case m.originalHost == "":
		return "postmaster", true
	}
	return m.user + "@" + m.originalHost, true
}
