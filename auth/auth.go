// Package auth answers one question: does this client know that user's secret? It
// reads a file of users, and speaks the SASL mechanisms of RFC 4954's AUTH: PLAIN,
// LOGIN, SCRAM-SHA-256 and, for old clients, CRAM-MD5.
//
// It never speaks SMTP, never decides what a user may do, and never keeps or logs a
// secret that it was told.
package auth

import (
	"context"
	"errors"
)

// Identity is who has proved to be whom.
type Identity struct {
	User   string // as the file spells it
	Tenant string // whose mail a user's is; empty: nobody's in particular
	// Password is what it was proved with, where the mechanism shows it (PLAIN, LOGIN).
	Password Secret
}

// Secret is a password in clear. It shows itself to nobody who prints or logs it.
type Secret string

func (Secret) String() string               { return "(secret)" }
func (Secret) GoString() string             { return "(secret)" }
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// ErrDenied is all that a client is told about a wrong user or password: which of
// them was wrong is nobody's business.
var ErrDenied = errors.New("authentication failed")

// ErrBusy means that too many secrets are being checked just now.
var ErrBusy = errors.New("too many logins at a time")

// SyntaxError is a client's answer that the mechanism does not allow.
type SyntaxError struct{ What string }

func (e *SyntaxError) Error() string { return e.What }

// Dialogue is one try of one client, from its first answer to the last. One
// goroutine uses it.
type Dialogue interface {
	// Next takes what the client said (nil: nothing yet) and returns what to ask next.
	// done tells that there is nothing to ask: the identity is proved. Any error ends
	// the dialogue: ErrDenied, ErrBusy, a SyntaxError.
	Next(ctx context.Context, said []byte) (ask []byte, done bool, err error)
	// Identity is who it was, after done.
	Identity() Identity
}

// Mechanism is the name of a SASL mechanism.
type Mechanism string

// The mechanisms.
const (
	Plain   Mechanism = "PLAIN"         // RFC 4616
	Login   Mechanism = "LOGIN"         // draft-murchison-sasl-login
	Scram   Mechanism = "SCRAM-SHA-256" // RFC 7677
	CramMD5 Mechanism = "CRAM-MD5"      // RFC 2195
)

// Begin opens a dialogue. first tells whether the client speaks first: an answer
// may then stand in the AUTH command itself (RFC 4954 §4). nil: there is no such
// mechanism, or no user who could use it.
func (u *Users) Begin(m Mechanism) (d Dialogue, first bool) {
	if !u.Offers(m) {
		return nil, false
	}
	switch m {
	case Plain:
		return &plain{users: u}, true
	case Login:
		return &login{users: u}, false
	case Scram:
		return newScram(u), true
	case CramMD5:
		return newCram(u), false
	}
	return nil, false
}
