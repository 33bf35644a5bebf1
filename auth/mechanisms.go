package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5" // RFC 2195 knows no other
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xdg-go/scram"
)

// plain is PLAIN: [authzid] NUL authcid NUL passwd (RFC 4616).
type plain struct {
	users *Users
	who   Identity
}

func (p *plain) Identity() Identity { return p.who }

func (p *plain) Next(ctx context.Context, said []byte) ([]byte, bool, error) {
	if said == nil {
		return []byte{}, false, nil
	}
	parts := bytes.Split(said, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 || !utf8.Valid(said) {
		return nil, false, &SyntaxError{"PLAIN is [authorize-id] NUL user NUL password"}
	}
	// Acting for somebody else is nothing we know (RFC 4616 §2).
	if len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
		return nil, false, ErrDenied
	}
	var err error
	p.who, err = p.users.Check(ctx, string(parts[1]), string(parts[2]))
	return nil, err == nil, err
}

// login is LOGIN: two questions.
type login struct {
	users *Users
	name  string
	asked int
	who   Identity
}

func (l *login) Identity() Identity { return l.who }

func (l *login) Next(ctx context.Context, said []byte) ([]byte, bool, error) {
	switch l.asked {
	case 0:
		l.asked = 1
		if said == nil {
			return []byte("Username:"), false, nil
		}
		fallthrough // some clients send the name with the command
	case 1:
		if len(said) == 0 || len(said) > maxName || !utf8.Valid(said) {
			return nil, false, &SyntaxError{"LOGIN needs a user's name"}
		}
		l.name, l.asked = string(said), 2
		return []byte("Password:"), false, nil
	default:
		var err error
		l.who, err = l.users.Check(ctx, l.name, string(said))
		return nil, err == nil, err
	}
}

// challenge is SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
type challenge struct {
	users *Users
	conv  *scram.ServerConversation
	last  bool
	who   Identity
}

func newScram(u *Users) *challenge {
	c := &challenge{users: u}
	// Whoever there is not gets a challenge, too, always the same for the same name, and
	// fails at the end like a wrong password.
	s, err := scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
		if k, ok := u.scramFor(name); ok {
			return k, nil
		}
		return nobody(name, u.shape), nil
	})
	if err != nil {
		panic("auth: " + err.Error()) // only without a function
	}
	c.conv = s.NewConversation()
	return c
}

// secretOfRun makes the salts of users there are none of.
var secretOfRun = func() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return b
}()

// nobody makes credentials that nothing matches. What a client sees of them has the
// shape of a real user's.
func nobody(name string, shape scram.KeyFactors) scram.StoredCredentials {
	h := hmac.New(sha512.New, secretOfRun)
	h.Write([]byte(name))
	salt := h.Sum(nil)
	salt = salt[:min(len(salt), len(shape.Salt))]
	key := make([]byte, 32)
	_, _ = rand.Read(key) // nobody knows it
	return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(salt), Iters: shape.Iters}, StoredKey: key, ServerKey: key}
}

func (c *challenge) Identity() Identity { return c.who }

func (c *challenge) Next(_ context.Context, said []byte) ([]byte, bool, error) {
	switch {
	case said == nil:
		return []byte{}, false, nil
	case c.last: // the client has seen our proof and says nothing more
		if len(said) > 0 {
			return nil, false, &SyntaxError{"SCRAM is over; an empty answer was expected"}
		}
		return nil, true, nil
	}
	ask, err := c.conv.Step(string(said))
	if err != nil {
		if strings.HasPrefix(ask, scram.ErrInvalidProof) || strings.HasPrefix(ask, scram.ErrUnknownUser) || strings.Contains(err.Error(), "challenge proof invalid") {
			return nil, false, ErrDenied
		}
		return nil, false, &SyntaxError{"SCRAM: " + err.Error()}
	}
	if c.conv.Done() {
		if !c.conv.Valid() || c.conv.AuthzID() != "" && c.conv.AuthzID() != c.conv.Username() {
			return nil, false, ErrDenied
		}
		x := c.users.m[c.conv.Username()]
		if x == nil {
			return nil, false, ErrDenied
		}
		c.who, c.last = x.Identity, true
	}
	return []byte(ask), false, nil
}

// cram is CRAM-MD5 (RFC 2195): HMAC-MD5 of a challenge under the password.
type cram struct {
	users     *Users
	challenge string
	who       Identity
}

func newCram(u *Users) *cram {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return &cram{users: u, challenge: fmt.Sprintf("<%s.%d@tarishi>", hex.EncodeToString(b), time.Now().Unix())}
}

func (c *cram) Identity() Identity { return c.who }

func (c *cram) Next(_ context.Context, said []byte) ([]byte, bool, error) {
	if said == nil {
		return []byte(c.challenge), false, nil
	}
	at := bytes.LastIndexByte(said, ' ')
	if at <= 0 || !utf8.Valid(said) {
		return nil, false, &SyntaxError{"CRAM-MD5 is user, blank, digest"}
	}
	got, err := hex.DecodeString(string(said[at+1:]))
	if err != nil || len(got) != md5.Size {
		return nil, false, &SyntaxError{"CRAM-MD5: the digest has 32 hexadecimal digits"}
	}
	name := string(said[:at])
	password, known := c.users.clearOf(name)
	h := hmac.New(md5.New, []byte(password))
	h.Write([]byte(c.challenge))
	if !hmac.Equal(h.Sum(nil), got) || !known {
		return nil, false, ErrDenied
	}
	c.who = c.users.m[name].Identity
	return nil, true, nil
}
