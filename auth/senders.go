package auth

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"strings"

	"github.com/tarishi/tarishi/mail"
)

// Senders say what users may send as (RFC 6409 §6.1). They do not change: a file that is
// read anew makes others.
type Senders struct{ m map[string]*owned }

// owned is what one user may send as.
type owned struct {
	all       bool
	addresses map[string]bool // local part and domain as key makes them
	domains   map[mail.Domain]bool
}

// key is an address as it is compared: local parts that differ by case alone are unheard of.
func key(a mail.Address) string { return strings.ToLower(a.Local()) + "@" + string(a.Domain) }

// ParseSenders reads a file of senders:
//
//	# comment
//	name: ann@example.net @lists.example.net
//	name: *
//
// Whatever stands in several lines of one name is his. Errors name the line.
func ParseSenders(file string, text []byte) (*Senders, error) {
	s := &Senders{m: map[string]*owned{}}
	in := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		fault := func(what string) error { return fmt.Errorf("%s:%d: %s", file, n, what) }
		who, rest, ok := strings.Cut(line, ":")
		words := strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
		if who = strings.TrimSpace(who); !ok || who == "" || len(words) == 0 {
			return nil, fault("write name: address @domain ..., or name: *")
		}
		o := s.m[who]
		if o == nil {
			o = &owned{addresses: map[string]bool{}, domains: map[mail.Domain]bool{}}
			s.m[who] = o
		}
		for _, w := range words {
			switch at := strings.LastIndexByte(w, '@'); {
			case w == "*":
				o.all = true
			case at < 0 || at == len(w)-1:
				return nil, fault(fmt.Sprintf("%q is no address, no @domain and no *", w))
			case at == 0:
				o.domains[mail.CanonicalDomain(w[1:])] = true
			default:
				o.addresses[key(mail.NewAddress(w))] = true
			}
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// Owns tells whether the user may send as from. Everybody may send as nobody (<>), as
// replies to MAIL FROM:<> are no mail of anyone's; and whoever's name is an address, as that.
func (s *Senders) Owns(user string, from mail.Address) bool {
	if from.IsNull() || key(mail.NewAddress(user)) == key(from) {
		return true
	}
	o := s.m[user]
	return o != nil && (o.all || o.addresses[key(from)] || o.domains[from.Domain])
}

// Len is how many users are listed.
func (s *Senders) Len() int { return len(s.m) }

// SendersFile is a file of senders that may change while the node runs, as File is.
type SendersFile struct{ watched[*Senders] }

// OpenSenders reads the file. It is an error if it cannot be read, or says nothing that is understood.
func OpenSenders(path string, log *slog.Logger) (*SendersFile, error) {
	f := &SendersFile{watched[*Senders]{path: path, log: log, what: "senders", parse: ParseSenders}}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// Owns asks the file as it was at most a second ago.
func (f *SendersFile) Owns(user string, from mail.Address) bool { return f.now().Owns(user, from) }
