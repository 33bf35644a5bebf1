// Package aliases is the plugin of that name: who gets the mail for this address? It
// puts other recipients in an address's place, or none. It never looks at the message,
// and an alias never leads in a circle.
package aliases

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tarishi/tarishi/mail"
	"github.com/tarishi/tarishi/plugin"
	"github.com/tarishi/tarishi/plugins/lists"
)

// Kind is the plugin.
var Kind = plugin.Kind{
	Name:  "aliases",
	About: "Put other recipients in an address's place, or none, as the file aliases.json says.",
	New:   New,
}

type settings struct {
	File        string   `yaml:"file" doc:"File of aliases, an object in JSON. Default: aliases.json or, without that, aliases."`
	Domains     []string `yaml:"domains" doc:"Domains at which aliases that name none count; *.example.net is all below example.net. Default: those of domains_file and regex_file."`
	DomainsFile string   `yaml:"domains_file" default:"host_list" doc:"File of these domains, one a line, where domains is not set."`
	RegexFile   string   `yaml:"regex_file" default:"host_list_regex" doc:"File of regular expressions of further ones."`
	Separators  string   `yaml:"separators" default:"+-" doc:"Characters that part a user from his detail: with + mail for ann+news goes where ann's goes. Empty: none."`
	Chain       bool     `yaml:"chain" default:"false" doc:"Look an alias's targets up again. Who leads back to himself is delivered to as he is."`
}

type aliases struct {
	name string
	o    settings
	book map[string]alias // by key: ann@example.net, ann, @example.net, *
	// Where keys without a domain count.
	domains  lists.Domains
	patterns lists.Patterns
}

// New reads the aliases.
func New(s plugin.Setup) (plugin.Plugin, error) {
	a := &aliases{name: s.Name}
	if err := s.Settings(&a.o); err != nil {
		return nil, err
	}
	file, text, err := a.open(s.Read)
	if err != nil {
		return nil, err
	}
	book, bare, err := parse(lists.Place(file), text)
	if err != nil {
		return nil, err
	}
	a.book = book
	if bare == "" {
		return a, nil
	}
	if err := a.readDomains(s.Read); err != nil {
		return nil, err
	}
	if a.domains.Len()+a.patterns.Len() == 0 {
		return nil, fmt.Errorf("%s: the alias %q names no domain, and nothing says at which it counts: write %s@ and the domain, or set domains, or list them in %s", lists.Place(file), bare, strings.TrimPrefix(bare, "*"), lists.Place(a.o.DomainsFile))
	}
	return a, nil
}

func (a *aliases) open(read lists.ReadFunc) (name string, text []byte, err error) {
	names := []string{"aliases.json", "aliases"}
	if a.o.File != "" {
		names = []string{a.o.File}
	}
	for _, name := range names {
		if text, err = read(name); !errors.Is(err, fs.ErrNotExist) {
			return name, text, err
		}
	}
	return "", nil, fmt.Errorf("there is no file %s; without aliases, write {} into it", lists.Place(strings.Join(names, " or ")))
}

func (a *aliases) readDomains(read lists.ReadFunc) error {
	if len(a.o.Domains) == 0 {
		_, err := lists.Read(read, a.o.DomainsFile, func(line string) error { return a.domains.Add(lists.Plain(line)) })
		_, err2 := lists.Read(read, a.o.RegexFile, a.patterns.Add)
		return errors.Join(err, err2)
	}
	var faults []error
	for i, d := range a.o.Domains {
		if err := a.domains.Add(d); err != nil {
			faults = append(faults, fmt.Errorf("domains[%d]: %q %w", i, d, err))
		}
	}
	return errors.Join(faults...)
}

func (a *aliases) Name() string { return a.name }

func (a *aliases) Register(r *plugin.Registrar) error {
	if len(a.book) > 0 {
		r.Hook(plugin.Rcpt, 0, "aliases", a.rcpt)
		r.Hook(plugin.Data, 0, "aliases_drop", a.data)
	}
	return nil
}

// rcpt accepts an address that is an alias, and has others in its place.
func (a *aliases) rcpt(_ context.Context, e *plugin.Event) plugin.Verdict {
	t, to := e.Transaction, *e.Recipient
	key, x, found := a.find(to.Address)
	if !found || !e.Connection.Relaying() && lists.Routes(to.Address) {
		return plugin.Verdict{}
	}
	t.DropRecipient()
	if x.drop {
		t.Results.Add(a.name, plugin.Pass, "drop("+key+")")
		return plugin.Verdict{Code: plugin.OK}
	}
	t.Results.Add(a.name, plugin.Pass, "alias("+key+")")
	if to.ORcpt == "" {
		to.ORcpt = originalRecipient(to.Address)
	}
	for _, target := range a.targets(to.Address, x) {
		to.Address = target
		t.AddRecipient(to)
	}
	return plugin.Verdict{Code: plugin.OK}
}

// data has a message that all its recipients drop stored nowhere.
func (a *aliases) data(_ context.Context, e *plugin.Event) plugin.Verdict {
	if len(e.Transaction.Recipients()) == 0 {
		e.Transaction.Discard()
	}
	return plugin.Verdict{}
}

// find looks an address up: first as it stands, then its user, then both without the
// detail, then its domain, then everybody.
func (a *aliases) find(to mail.Address) (key string, x alias, found bool) {
	local, domain := lists.Local(to), string(to.Domain)
	if domain == "" {
		return "", alias{}, false
	}
	user := local
	// A user's name does not begin with a separator.
	if i := strings.IndexAny(local, a.o.Separators); i > 0 {
		user = local[:i]
	}
	ours := a.domains.HasDomain(to.Domain) || a.patterns.Has(domain)
	for _, k := range [...]struct {
		key  string
		bare bool
	}{{local + "@" + domain, false}, {local, true}, {user + "@" + domain, false}, {user, true}, {"@" + domain, false}, {"*", true}} {
		if k.bare && !ours {
			continue
		}
		if x, found := a.book[k.key]; found {
			return k.key, x, true
		}
	}
	return "", alias{}, false
}

// targets are who gets the mail for an address. With chain they are looked up again,
// each once: the second time an address is who it is.
func (a *aliases) targets(to mail.Address, x alias) []mail.Address {
	if !a.o.Chain {
		return x.at(to.Domain)
	}
	var out []mail.Address
	const under, done = 1, 2
	state := map[string]int{lists.Key(to): under}
	added := map[string]bool{}
	var follow func(ts []mail.Address)
	follow = func(ts []mail.Address) {
		for _, t := range ts {
			k := lists.Key(t)
			_, next, found := a.find(t)
			switch {
			case state[k] == done:
			case state[k] == under || !found:
				if !added[k] {
					added[k] = true
					out = append(out, t)
				}
			default:
				state[k] = under
				follow(next.at(t.Domain)) // none, if it drops
				state[k] = done
			}
		}
	}
	follow(x.at(to.Domain))
	return out
}

// originalRecipient is the ORCPT of an address (RFC 3461 §4.2): its sender wrote to it,
// and is told of it if the mail cannot be delivered. Empty where it cannot be written.
func originalRecipient(a mail.Address) string {
	if !a.IsASCII() {
		return ""
	}
	var b strings.Builder
	b.WriteString("rfc822;")
	for i := range len(a.Raw) {
		if c := a.Raw[i]; c <= ' ' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
