package access

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/lists"
)

// list is a list of entries of one sort.
type list interface {
	Add(entry string) error
	Len() int
}

// clients is a list of addresses, networks and host names.
type clients struct {
	networks lists.Networks
	hosts    lists.Domains
}

// Add takes what has the form of an address or of a network for one, so that one with
// a slip in it is no host name.
func (c *clients) Add(entry string) error {
	entry = lists.Plain(entry)
	if strings.ContainsAny(entry, ":/") || strings.Trim(entry, "0123456789.") == "" {
		return c.networks.Add(entry)
	}
	return c.hosts.Add(entry)
}

func (c *clients) Len() int { return c.networks.Len() + c.hosts.Len() }

// names is a list of names in HELO, address literals among them.
type names struct {
	hosts    lists.Domains
	literals map[string]struct{}
}

func (n *names) Add(entry string) error {
	entry = lists.Plain(entry)
	if !strings.HasPrefix(entry, "[") {
		return n.hosts.Add(entry)
	}
	ip, ok := literal(entry)
	if !ok {
		return errors.New("is no address literal; write [192.0.2.7] or [IPv6:2001:db8::7]")
	}
	if n.literals == nil {
		n.literals = map[string]struct{}{}
	}
	n.literals[ip.String()] = struct{}{}
	return nil
}

func (n *names) has(name string) bool {
	if ip, ok := literal(name); ok {
		_, in := n.literals[ip.String()]
		return in
	}
	return n.hosts.Has(name)
}

func (n *names) Len() int { return n.hosts.Len() + len(n.literals) }

// literal reads [192.0.2.7] and [IPv6:2001:db8::7].
func literal(s string) (netip.Addr, bool) {
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return netip.Addr{}, false
	}
	s = s[1 : len(s)-1]
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	return ip.Unmap(), err == nil
}

// mailboxes is a list of addresses and their domains.
type mailboxes struct{ lists.Mailboxes }

func (m *mailboxes) Add(entry string) error {
	if !strings.HasPrefix(entry, `"`) {
		entry = lists.Plain(entry)
	}
	return m.Mailboxes.Add(entry)
}

// lists4 are the four lists of a phase.
type lists4 struct {
	phase        string // what their files' names begin with
	white, black colour
}

type colour struct {
	file     string
	entries  list
	patterns lists.Patterns
}

func (l *lists4) read(read lists.ReadFunc, phase string, newList func() list) error {
	l.phase = phase
	var faults []error
	for name, c := range map[string]*colour{"whitelist": &l.white, "blacklist": &l.black} {
		c.file, c.entries = phase+"."+name, newList()
		_, err := lists.Read(read, c.file, c.entries.Add)
		_, err2 := lists.Read(read, c.file+"_regex", c.patterns.Add)
		faults = append(faults, err, err2)
	}
	return errors.Join(faults...)
}

func (l *lists4) empty() bool { return l.white.len() == 0 && l.black.len() == 0 }

func (c *colour) len() int {
	if c.entries == nil {
		return 0
	}
	return c.entries.Len() + c.patterns.Len()
}

// look asks the lists in their order. has looks into a list of entries, texts are what
// expressions are held against. It returns the file that knows, empty: none does.
func (l *lists4) look(has func(list) bool, texts ...string) (file string, black bool) {
	for _, c := range []*colour{&l.white, &l.black} {
		black = c == &l.black
		if c.len() == 0 {
			continue
		}
		if has(c.entries) {
			return c.file, black
		}
		for _, t := range texts {
			if t != "" && c.patterns.Has(t) {
				return c.file + "_regex", black
			}
		}
	}
	return "", false
}

// found notes in the results what came of a look.
func (a *access) found(r *plugin.Results, file string, black bool, phase string) {
	switch {
	case file == "":
		r.Add(a.name, plugin.Msg, "unlisted("+phase+")")
	case black:
		r.Add(a.name, plugin.Fail, file)
	default:
		r.Add(a.name, plugin.Pass, file)
	}
}

func (a *access) rdnsAccess(_ context.Context, e *plugin.Event) plugin.Verdict {
	c := e.Connection
	ip, host := c.Remote.Addr().Unmap(), c.Host()
	file, black := a.conn.look(func(l list) bool {
		x := l.(*clients)
		return x.networks.Has(ip) || host != "" && x.hosts.Has(host)
	}, ip.String(), strings.TrimSuffix(host, "."))
	a.found(&c.Results, file, black, "conn")
	if !black {
		if file != "" {
			c.Results.Set(a.name, "whitelist", true)
		}
		return plugin.Verdict{}
	}
	who := "[" + ip.String() + "]"
	if host != "" {
		who = host + " " + who
	}
	return plugin.Verdict{Code: plugin.RefuseDisconnect, Reply: mail.R(554, "5.7.1", who+" "+a.o.DenyMsg.Conn)}
}

func (a *access) heloAccess(_ context.Context, e *plugin.Event) plugin.Verdict {
	file, black := a.helo.look(func(l list) bool { return l.(*names).has(e.Name) }, strings.TrimSuffix(e.Name, "."))
	a.found(&e.Connection.Results, file, black, "helo")
	if black {
		return denied("5.7.1", says(e.Name, a.o.DenyMsg.Helo))
	}
	return plugin.Verdict{}
}

func (a *access) mailFromAccess(_ context.Context, e *plugin.Event) plugin.Verdict {
	r := &e.Transaction.Results
	if e.Address.IsNull() {
		// A notice has no sender that could be on a list.
		r.Add(a.name, plugin.Skip, "null sender")
		return plugin.Verdict{}
	}
	file, black := a.mail.lookAddress(e.Address)
	a.found(r, file, black, "mail")
	if black {
		return denied("5.7.1", says(e.Address.Raw, a.o.DenyMsg.Mail))
	}
	return plugin.Verdict{}
}

func (a *access) rcptToAccess(_ context.Context, e *plugin.Event) plugin.Verdict {
	to := e.Recipient.Address
	if lists.BarePostmaster(e.Address) {
		e.Transaction.Results.Add(a.name, plugin.Skip, "postmaster")
		return plugin.Verdict{}
	}
	file, black := a.rcpt.lookAddress(to)
	a.found(&e.Transaction.Results, file, black, "rcpt")
	switch {
	case black:
		return denied("5.7.1", says(to.Raw, a.o.DenyMsg.Rcpt))
	case file != "" && a.o.Rcpt.Accept && (e.Connection.Relaying() || !lists.Routes(to)):
		return plugin.Verdict{Code: plugin.OK}
	}
	return plugin.Verdict{}
}

func (l *lists4) lookAddress(a mail.Address) (file string, black bool) {
	return l.look(func(x list) bool { return x.(*mailboxes).Has(a) }, lists.Key(a))
}
