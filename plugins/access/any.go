package access

import (
	"context"
	"errors"
	netmail "net/mail"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/lists"
)

const anyFile = "access.domains"

// domains is access.domains. Who is refused is listed by organizational domain: the
// public suffix (co.uk) and one label more. Exceptions begin with !, and are names or
// addresses as they stand.
type domains struct {
	black     map[mail.Domain]struct{}
	white     map[mail.Domain]struct{}
	mailboxes lists.Mailboxes // exceptions
	refused   lists.Mailboxes // listed by address
}

func (d *domains) empty() bool { return len(d.black) == 0 && d.refused.Len() == 0 }

func (d *domains) read(read lists.ReadFunc) error {
	d.black, d.white = map[mail.Domain]struct{}{}, map[mail.Domain]struct{}{}
	_, err := lists.Read(read, anyFile, func(line string) error {
		line = lists.Plain(line)
		entry, except := strings.CutPrefix(line, "!")
		switch {
		case strings.Contains(entry, "@") && except:
			return d.mailboxes.Add(entry)
		case strings.Contains(entry, "@"):
			return d.refused.Add(entry)
		case strings.HasPrefix(entry, "*."):
			return errors.New("has a *, which needs not be there: an entry counts for all names of its organizational domain")
		}
		name, err := lists.ParseDomain(entry)
		if err != nil {
			return err
		}
		if except {
			d.white[name] = struct{}{}
			return nil
		}
		org, ok := organizational(name)
		if !ok {
			return errors.New("is a public suffix, or below none: it belongs to nobody who could be refused; write a domain below it")
		}
		d.black[org] = struct{}{}
		return nil
	})
	return err
}

// organizational is the part of a name that somebody has registered.
func organizational(name mail.Domain) (mail.Domain, bool) {
	org, err := publicsuffix.EffectiveTLDPlusOne(string(name))
	return mail.Domain(org), err == nil
}

// excepts tells whether a name is an exception.
func (d *domains) excepts(name, org mail.Domain) bool {
	_, byName := d.white[name]
	_, byOrg := d.white[org]
	return byName || byOrg
}

// anyAccess looks at whatever name the hook has to offer.
func (a *access) anyAccess(_ context.Context, e *plugin.Event) plugin.Verdict {
	r, hook := &e.Connection.Results, string(e.Hook)
	name, address := subject(e)
	if name == "" {
		return plugin.Verdict{}
	}
	if !address.IsNull() {
		switch {
		case a.any.mailboxes.Has(address):
			r.Add(a.name, plugin.Pass, hook+":"+anyFile)
			r.Set(a.name, "whitelist", true)
			return plugin.Verdict{}
		case a.any.refused.Has(address):
			return a.unwelcome(r, lists.Key(address))
		}
	}
	if !strings.Contains(string(name), ".") {
		r.Add(a.name, plugin.Fail, "invalid domain: "+string(name))
		return plugin.Verdict{}
	}
	org, ok := organizational(name)
	if !ok {
		return plugin.Verdict{}
	}
	if a.any.excepts(name, org) {
		r.Add(a.name, plugin.Pass, hook+":"+anyFile)
		r.Set(a.name, "whitelist", true)
		return plugin.Verdict{}
	}
	if _, black := a.any.black[org]; black {
		v := a.unwelcome(r, string(org))
		if e.Hook == plugin.Connect {
			v.Reply.Code = 554 // RFC 5321 §4.3.2: what a greeting can be
		}
		return v
	}
	r.Add(a.name, plugin.Msg, "unlisted("+hook+":any)")
	return plugin.Verdict{}
}

func (a *access) unwelcome(r *plugin.Results, who string) plugin.Verdict {
	r.Add(a.name, plugin.Fail, anyFile+"("+who+")")
	r.Set(a.name, "blacklist", true)
	return denied("5.7.1", "You are not welcome here.")
}

// subject is the name that a hook is about, and the address it is part of.
func subject(e *plugin.Event) (mail.Domain, mail.Address) {
	switch e.Hook {
	case plugin.Connect:
		return mail.CanonicalDomain(e.Connection.Host()), mail.Address{}
	case plugin.Helo, plugin.Ehlo:
		if strings.HasPrefix(e.Name, "[") {
			return "", mail.Address{}
		}
		return mail.CanonicalDomain(e.Name), mail.Address{}
	case plugin.Mail:
		return withoutLiteral(e.Address), e.Address
	case plugin.Rcpt:
		return withoutLiteral(e.Recipient.Address), e.Recipient.Address
	}
	return "", mail.Address{}
}

func withoutLiteral(a mail.Address) mail.Domain {
	if strings.HasPrefix(string(a.Domain), "[") {
		return ""
	}
	return a.Domain
}

// maxFrom bounds what is read of a From field, in octets.
const maxFrom = 64 << 10

// dataAny looks at the authors that the message names, all of them: which one a
// reader is shown is for his program to choose.
func (a *access) dataAny(_ context.Context, e *plugin.Event) plugin.Verdict {
	r := &e.Transaction.Results
	m := e.Transaction.Message()
	if m == nil {
		return plugin.Verdict{}
	}
	fields := m.Header().All("From")
	if len(fields) == 0 {
		r.Add(a.name, plugin.Fail, "data(missing_from)")
		return plugin.Verdict{}
	}
	listed := false
	for _, field := range fields {
		authors, err := netmail.ParseAddressList(field[:min(len(field), maxFrom)])
		if err != nil {
			r.Add(a.name, plugin.Fail, "data(unparsable_from)")
			continue
		}
		for _, author := range authors {
			address := mail.NewAddress(author.Address)
			org, ok := organizational(address.Domain)
			switch {
			case a.any.mailboxes.Has(address), ok && a.any.excepts(address.Domain, org):
				r.Add(a.name, plugin.Pass, anyFile)
				listed = true
				continue
			case a.any.refused.Has(address):
				org = mail.Domain(lists.Key(address))
			case !ok:
				r.Add(a.name, plugin.Fail, "data(no_od_from)")
				continue
			default:
				if _, black := a.any.black[org]; !black {
					continue
				}
			}
			a.unwelcome(r, string(org))
			return denied("5.7.1", "Email from that domain is not accepted here.")
		}
	}
	if !listed {
		r.Add(a.name, plugin.Msg, "unlisted(any)")
	}
	return plugin.Verdict{}
}
