package ingress

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tarishi/tarishi/auth"
	"github.com/tarishi/tarishi/mail"
)

// Auth lets clients prove who they are (RFC 4954). Who has done so may send to any
// domain.
type Auth struct {
	Users      func() *auth.Users
	Mechanisms []auth.Mechanism // offered where a user can use them, in this order
	Insecure   bool             // offered without TLS, too
}

// authDelay is how long a wrong password is thought about: guessing costs time.
const authDelay = time.Second

var (
	authAgain     = mail.R(503, "5.5.1", "You are authenticated already")
	authInMail    = mail.R(503, "5.5.1", "Not while a transaction is open")
	authHello     = mail.R(503, "5.5.1", "Say EHLO first")
	authNoTLS     = mail.R(538, "5.7.11", "Say STARTTLS first: a password must not go over the wire in clear")
	authUnknown   = mail.R(504, "5.5.4", "There is no such mechanism here")
	authSyntax    = mail.R(501, "5.5.4", "Syntax: AUTH mechanism [initial response]")
	authBase64    = mail.R(501, "5.5.2", "That is no base64")
	authCancelled = mail.R(501, "5.7.0", "Authentication cancelled")
	authDenied    = mail.R(535, "5.7.8", "Authentication failed")
	authBusy      = mail.R(454, "4.7.0", "Too many logins at a time, try again later")
	authTooLong   = mail.R(500, "5.5.6", "The answer is too long")
	authDone      = mail.R(235, "2.7.0", "Authentication succeeded")
)

// offers lists the mechanisms a client may use now.
func (s *session) offers() []auth.Mechanism {
	a := s.h.p.Auth
	if a == nil || s.conn.TLS() == nil && !a.Insecure {
		return nil
	}
	u := a.Users()
	return slices.DeleteFunc(slices.Clone(a.Mechanisms), func(m auth.Mechanism) bool { return !u.Offers(m) })
}

// Keywords adds AUTH where it can be used.
func (s *session) Keywords() []string {
	var words []string
	if ms := s.offers(); len(ms) > 0 {
		word := "AUTH"
		for _, m := range ms {
			word += " " + string(m)
		}
		words = append(words, word)
	}
	return append(words, s.capabilities()...)
}

// Command knows AUTH; plugins may know other verbs.
func (s *session) Command(ctx context.Context, verb, args string) *mail.Reply {
	if verb != "AUTH" || s.h.p.Auth == nil {
		return s.unknown(ctx, verb, args)
	}
	r := s.authenticate(ctx, args)
	return &r
}

func (s *session) authenticate(ctx context.Context, args string) mail.Reply {
	name, first, given := strings.Cut(args, " ")
	m := auth.Mechanism(strings.ToUpper(name))
	switch {
	case !s.conn.ESMTP():
		return authHello
	case s.conn.Identity() != "":
		return authAgain
	case s.conn.InTransaction():
		return authInMail
	case s.conn.TLS() == nil && !s.h.p.Auth.Insecure:
		return authNoTLS
	case name == "" || strings.Contains(first, " "):
		return authSyntax
	case !slices.Contains(s.offers(), m):
		return authUnknown
	}
	d, clientFirst := s.h.p.Auth.Users().Begin(m)
	if d == nil {
		return authUnknown
	}
	var said []byte
	if given {
		var ok bool
		if said, ok = decode(first); !ok || !clientFirst && m != auth.Login {
			return authBase64
		}
	}
	who, refused := s.prove(ctx, d, said)
	if refused != nil {
		return *refused
	}
	s.login = who
	s.conn.SetIdentity(who.User)
	s.trust()
	s.h.stats.logins.Add(1)
	s.h.p.Log.LogAttrs(ctx, slog.LevelInfo, "authenticated",
		slog.String("user", who.User), slog.String("mechanism", string(m)), slog.String("client", s.clientText()), slog.Bool("tls", s.conn.TLS() != nil))
	return authDone
}

// prove runs the dialogue to its end.
func (s *session) prove(ctx context.Context, d auth.Dialogue, said []byte) (auth.Identity, *mail.Reply) {
	for {
		ask, done, err := d.Next(ctx, said)
		var syntax *auth.SyntaxError
		switch {
		case err == nil && done:
			return d.Identity(), nil
		case err == nil:
		case errors.As(err, &syntax):
			r := mail.R(501, "5.5.2", syntax.What)
			return auth.Identity{}, &r
		case errors.Is(err, auth.ErrBusy):
			return auth.Identity{}, &authBusy
		default:
			s.h.stats.loginsDenied.Add(1)
			s.h.p.Log.LogAttrs(ctx, slog.LevelInfo, "authentication failed", slog.String("client", s.clientText()))
			select {
			case <-time.After(authDelay):
			case <-ctx.Done():
			}
			return auth.Identity{}, &authDenied
		}
		line, err := s.conn.Challenge(base64.StdEncoding.EncodeToString(ask))
		switch {
		case err != nil:
			return auth.Identity{}, &authTooLong
		case line == "*":
			return auth.Identity{}, &authCancelled
		}
		var ok bool
		if said, ok = decode(line); !ok {
			return auth.Identity{}, &authBase64
		}
	}
}

// decode reads one answer; "=" is an empty one (RFC 4954 §4).
func decode(s string) ([]byte, bool) {
	if s == "=" {
		return []byte{}, true
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return append([]byte{}, b...), err == nil && !strings.ContainsAny(s, "\r\n")
}

// trust decides anew whether the client may send anywhere: by its address, or since
// it has proved a name. The engine forgets both with STARTTLS.
func (s *session) trust() {
	if s.conn.Identity() == "" {
		s.login = auth.Identity{}
	}
	own := s.login.User != "" || s.h.relay.trusts(s.ip)
	if c := s.asked.conn; c != nil {
		if own == s.own {
			return // and what plugins have said stands
		}
		c.SetRelaying(own)
	}
	s.own, s.trusted = own, own
	s.conn.SetTrusted(own)
}
