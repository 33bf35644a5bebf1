package auth

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"

	"github.com/tarishi/tarishi/mail"
)

// Users are those of one file. They do not change: a file that is read anew makes
// others. Safe for concurrent use.
type Users struct {
	m     map[string]*user
	cost  chan struct{} // bounds the checks under way: each takes memory and a core
	dummy secret        // checked for users there are none of, so that it takes as long
	// shape is what the challenge of a user there is none of looks like: as the
	// file's first SCRAM secret does.
	shape scram.KeyFactors
}

type user struct {
	Identity
	secrets []secret
}

// Checks is how many secrets are checked at a time.
const Checks = 4

// ParseUsers reads a file of users:
//
//	# comment
//	name:secret[:tenant]
//
// secret is an argon2id or bcrypt hash as their tools write it, or
// SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey as PostgreSQL writes it, or
// {CLEAR}password, the only one that CRAM-MD5 can use. A user may stand there more
// than once, with different kinds. Errors name the line, never the secret.
func ParseUsers(name string, text []byte) (*Users, error) {
	u := &Users{m: map[string]*user{}, cost: make(chan struct{}, Checks)}
	in := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		fault := func(what string) error { return fmt.Errorf("%s:%d: %s", name, n, what) }
		who, rest, ok := strings.Cut(line, ":")
		if !ok || who == "" {
			return nil, fault("write name:secret or name:secret:tenant")
		}
		if !utf8.ValidString(who) || len(who) > maxName || strings.ContainsAny(who, " \t\x00") {
			return nil, fault(fmt.Sprintf("a user's name has at most %d octets and no blanks", maxName))
		}
		word, tenant := splitTenant(rest)
		if tenant != "" && !mail.ValidTenant(tenant) {
			return nil, fault(fmt.Sprintf("%q is no tenant; a name has at most %d letters, digits and . _ - @ +", tenant, mail.MaxTenant))
		}
		s, err := parseSecret(word)
		if err != nil {
			return nil, fault(err.Error())
		}
		x := u.m[who]
		if x == nil {
			x = &user{Identity: Identity{User: who, Tenant: tenant}}
			u.m[who] = x
		} else if x.Tenant != tenant {
			return nil, fault(fmt.Sprintf("user %s has another tenant further up", who))
		}
		for _, o := range x.secrets {
			if o.kind() == s.kind() {
				return nil, fault(fmt.Sprintf("user %s has a secret of this kind already", who))
			}
		}
		x.secrets = append(x.secrets, s)
		if u.dummy == nil || s.kind() < u.dummy.kind() {
			u.dummy = s
		}
		if c := s.scram(); c != nil && u.shape.Iters == 0 {
			u.shape = c.KeyFactors
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return u, nil
}

const maxName = 255

// splitTenant takes the tenant off the end: a SCRAM secret has colons of its own.
func splitTenant(rest string) (secret, tenant string) {
	at := 0
	if strings.HasPrefix(rest, scramPrefix) {
		// iterations:salt$StoredKey:ServerKey
		if i := strings.LastIndexByte(rest, '$'); i >= 0 {
			if j := strings.IndexByte(rest[i:], ':'); j >= 0 {
				at = i + j + 1
			}
		}
	}
	if strings.HasPrefix(rest, clearPrefix) {
		return rest, "" // a password may have any octet; its user's tenant stands with another secret, or nowhere
	}
	if i := strings.IndexByte(rest[at:], ':'); i >= 0 {
		return rest[:at+i], rest[at+i+1:]
	}
	return rest, ""
}

// Len is how many users there are.
func (u *Users) Len() int { return len(u.m) }

// Offers tells whether any user can use the mechanism.
func (u *Users) Offers(m Mechanism) bool {
	if u == nil || len(u.m) == 0 {
		return false
	}
	for _, x := range u.m {
		for _, s := range x.secrets {
			switch m {
			case Plain, Login:
				return true
			case Scram:
				if s.scram() != nil {
					return true
				}
			case CramMD5:
				if s.clear() != "" {
					return true
				}
			}
		}
	}
	return false
}

// Check tells whether password is the user's. It takes as long for a user there is
// none of.
func (u *Users) Check(ctx context.Context, name, password string) (Identity, error) {
	select {
	case u.cost <- struct{}{}:
		defer func() { <-u.cost }()
	case <-ctx.Done():
		return Identity{}, ErrBusy
	}
	x := u.m[name]
	if x == nil {
		u.dummy.matches(password)
		return Identity{}, ErrDenied
	}
	for _, s := range x.secrets {
		if s.matches(password) {
			who := x.Identity
			who.Password = Secret(password)
			return who, nil
		}
	}
	return Identity{}, ErrDenied
}

// scramFor gives what SCRAM needs of a user.
func (u *Users) scramFor(name string) (scram.StoredCredentials, bool) {
	if x := u.m[name]; x != nil {
		for _, s := range x.secrets {
			if c := s.scram(); c != nil {
				return *c, true
			}
		}
	}
	return scram.StoredCredentials{}, false
}

// clearOf gives a user's password where the file has it.
func (u *Users) clearOf(name string) (string, bool) {
	if x := u.m[name]; x != nil {
		for _, s := range x.secrets {
			if c := s.clear(); c != "" {
				return c, true
			}
		}
	}
	return "", false
}

// Who is the user of that name, on the word of somebody who is believed; one who is not
// in the file has no tenant.
func (u *Users) Who(name string) Identity {
	if u != nil {
		if x := u.m[name]; x != nil {
			return x.Identity
		}
	}
	return Identity{User: name}
}
