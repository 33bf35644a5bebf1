package smtp

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// Login is how a Client proves who we are (RFC 4954). Its secrets are in no log line
// and in no error.
type Login struct {
	User string
	// Password is asked for when it is needed, so that a file of it may change.
	Password func() (string, error)
	// Mechanism is PLAIN, LOGIN or CRAM-MD5; empty: what the host offers. Over TLS that
	// is the first of these; in clear text CRAM-MD5 goes first, which keeps the password.
	Mechanism string
	// Insecure has it done without TLS, too, or where nobody has looked at the host's
	// certificate: whoever stands in between may then have the password.
	Insecure bool
}

// Mechanisms are what Login.Mechanism may be.
var Mechanisms = []string{"PLAIN", "LOGIN", "CRAM-MD5"}

// AuthError says that we did not try to prove who we are, and why. Nothing of the
// secret was sent, and the connection is closed. A host that refuses us is a
// *RefusedError at StageAuth.
type AuthError struct{ Err error }

func (e *AuthError) Error() string { return "auth: " + e.Err.Error() }
func (e *AuthError) Unwrap() error { return e.Err }

var (
	// ErrAuthUnsafe means that the password would have gone where others can read it.
	ErrAuthUnsafe = errors.New("AUTH wants TLS with a certificate that proves the host; it is not sent otherwise unless that is allowed")
	// ErrNoAuth means that the host offers no AUTH.
	ErrNoAuth = errors.New("the host offers no AUTH")
)

// authenticate does RFC 4954, after TLS.
func (c *Client) authenticate() error {
	l := c.o.Login
	if l == nil {
		return nil
	}
	if proved := c.encrypted() && (c.o.TLS == TLSRequired || c.o.TLS == TLSImplicit); !proved && !l.Insecure {
		return &AuthError{ErrAuthUnsafe}
	}
	mechanism, err := l.choose(c.ext.Auth, c.encrypted())
	if err != nil {
		return &AuthError{err}
	}
	password, err := l.Password()
	if err != nil {
		return &AuthError{err}
	}
	switch mechanism {
	case "PLAIN": // RFC 4616
		return c.sayAuth("AUTH PLAIN ", "\x00"+l.User+"\x00"+password)
	case "LOGIN": // draft-murchison-sasl-login: whatever it asks, first the name, then the password
		return c.sayAuth("AUTH LOGIN", "", func([]byte) string { return l.User }, func([]byte) string { return password })
	default: // RFC 2195
		return c.sayAuth("AUTH CRAM-MD5", "", func(challenge []byte) string {
			mac := hmac.New(md5.New, []byte(password))
			mac.Write(challenge)
			return l.User + " " + hex.EncodeToString(mac.Sum(nil))
		})
	}
}

// choose takes a mechanism that the host offers.
func (l *Login) choose(offered []string, encrypted bool) (string, error) {
	if len(offered) == 0 {
		return "", ErrNoAuth
	}
	want := Mechanisms
	switch {
	case l.Mechanism != "":
		want = []string{strings.ToUpper(l.Mechanism)}
	case !encrypted:
		want = []string{"CRAM-MD5", "PLAIN", "LOGIN"}
	}
	for _, m := range want {
		if slices.Contains(offered, m) {
			return m, nil
		}
	}
	return "", errors.New("the host offers AUTH " + strings.Join(offered, " ") + ", and we want " + strings.Join(want, ", "))
}

// authLine is how long a command may be (RFC 5321 §4.5.3.1.4) for an answer to stand in it.
const authLine = 512

// sayAuth says command, with first behind it, and gives the answers to what the host
// asks then. Of what is said the debug lines show the command alone.
func (c *Client) sayAuth(command, first string, answers ...func(challenge []byte) string) error {
	line := command
	if first != "" {
		if coded := base64.StdEncoding.EncodeToString([]byte(first)); len(command)+len(coded)+2 <= authLine {
			line += coded
		} else {
			line = strings.TrimSuffix(command, " ")
			answers = append(answers, func([]byte) string { return first })
		}
	}
	if c.o.Debug != nil {
		c.o.Debug("C", strings.TrimSuffix(command, " ")+" (secret)")
	}
	for {
		if err := c.writeSecret(line); err != nil {
			return err
		}
		raw, err := c.readReply(StageAuth, c.t.Auth)
		switch {
		case err != nil:
			return err
		case raw.code/100 == 2:
			return nil
		case raw.code != 334:
			return c.refused(StageAuth, raw)
		case len(answers) == 0:
			return c.unexpected(StageAuth, raw)
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(raw.reply().Text))
		if err != nil {
			return c.unexpected(StageAuth, raw)
		}
		line = base64.StdEncoding.EncodeToString([]byte(answers[0](challenge)))
		answers = answers[1:]
	}
}

// writeSecret writes one line that nobody is shown.
func (c *Client) writeSecret(line string) error {
	b := append([]byte(line), "\r\n"...)
	defer clear(b)
	return c.write(StageAuth, c.t.Auth, b)
}

// LoginWith is a Login with a password that is at hand.
func LoginWith(user, password string) *Login {
	return &Login{User: user, Password: func() (string, error) { return password, nil }}
}
