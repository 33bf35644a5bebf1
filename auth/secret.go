package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// secret is what the file knows of a user's password.
type secret interface {
	matches(password string) bool
	scram() *scram.StoredCredentials // nil: cannot be used by SCRAM
	clear() string                   // empty: the password itself is not known
	kind() kind
}

// kind orders secrets by what a check costs, the dearest first.
type kind int

const (
	kindArgon kind = iota
	kindBcrypt
	kindScram
	kindClear
)

const (
	argonPrefix = "$argon2id$"
	scramPrefix = "SCRAM-SHA-256$"
	clearPrefix = "{CLEAR}"
)

// Bounds of what a check may cost: a file from elsewhere must not stop the node.
const (
	maxArgonMemory = 1 << 20 // KiB
	maxArgonTime   = 64
	maxBcryptCost  = 16
	maxIterations  = 10_000_000
)

func parseSecret(s string) (secret, error) {
	switch {
	case strings.HasPrefix(s, argonPrefix):
		return parseArgon(s)
	case strings.HasPrefix(s, scramPrefix):
		return parseScram(s)
	case strings.HasPrefix(s, clearPrefix):
		if s == clearPrefix {
			return nil, errors.New("the password is empty")
		}
		return clearText(s[len(clearPrefix):]), nil
	case strings.HasPrefix(s, "$2"):
		cost, err := bcrypt.Cost([]byte(s))
		if err != nil {
			return nil, errors.New("this is no bcrypt hash")
		}
		if cost > maxBcryptCost {
			return nil, fmt.Errorf("bcrypt cost %d; at most %d", cost, maxBcryptCost)
		}
		return bcrypted(s), nil
	}
	return nil, errors.New("the secret is of no kind that is known: write an argon2id or bcrypt hash, SCRAM-SHA-256$..., or {CLEAR}password; `tarishi auth hash` makes them")
}

type clearText string

func (c clearText) kind() kind { return kindClear }
func (c clearText) matches(p string) bool {
	return subtle.ConstantTimeCompare([]byte(c), []byte(p)) == 1
}
func (c clearText) clear() string                   { return string(c) }
func (c clearText) scram() *scram.StoredCredentials { return nil }

type bcrypted string

func (b bcrypted) kind() kind { return kindBcrypt }
func (b bcrypted) matches(p string) bool {
	return bcrypt.CompareHashAndPassword([]byte(b), []byte(p)) == nil
}
func (b bcrypted) clear() string                   { return "" }
func (b bcrypted) scram() *scram.StoredCredentials { return nil }

// argon is $argon2id$v=19$m=65536,t=3,p=4$salt$key.
type argon struct {
	time, memory uint32
	threads      uint8
	salt, key    []byte
}

func parseArgon(s string) (secret, error) {
	bad := errors.New("this is no argon2id hash: $argon2id$v=19$m=65536,t=3,p=1$salt$hash")
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, bad
	}
	a := &argon{}
	for _, p := range strings.Split(parts[3], ",") {
		k, v, _ := strings.Cut(p, "=")
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return nil, bad
		}
		switch k {
		case "m":
			a.memory = uint32(n)
		case "t":
			a.time = uint32(n)
		case "p":
			if n > 255 {
				return nil, bad
			}
			a.threads = uint8(n)
		default:
			return nil, bad
		}
	}
	var err1, err2 error
	a.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	a.key, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(a.salt) < 8 || len(a.key) < 16 || a.time == 0 || a.threads == 0 || a.memory < 8*uint32(a.threads) {
		return nil, bad
	}
	if a.memory > maxArgonMemory || a.time > maxArgonTime {
		return nil, fmt.Errorf("argon2id with m=%d,t=%d; at most m=%d,t=%d", a.memory, a.time, maxArgonMemory, maxArgonTime)
	}
	return a, nil
}

func (a *argon) kind() kind { return kindArgon }
func (a *argon) matches(p string) bool {
	key := argon2.IDKey([]byte(p), a.salt, a.time, a.memory, a.threads, uint32(len(a.key)))
	return subtle.ConstantTimeCompare(key, a.key) == 1
}
func (a *argon) clear() string                   { return "" }
func (a *argon) scram() *scram.StoredCredentials { return nil }

// scrammed is SCRAM-SHA-256$4096:salt$StoredKey:ServerKey.
type scrammed struct{ scram.StoredCredentials }

func parseScram(s string) (secret, error) {
	bad := errors.New("this is no SCRAM secret: SCRAM-SHA-256$4096:salt$StoredKey:ServerKey, in base64")
	head, keys, ok := strings.Cut(s[len(scramPrefix):], "$")
	if !ok {
		return nil, bad
	}
	count, salt64, ok1 := strings.Cut(head, ":")
	stored64, server64, ok2 := strings.Cut(keys, ":")
	iters, err := strconv.Atoi(count)
	if !ok1 || !ok2 || err != nil || iters < 4096 || iters > maxIterations { // RFC 7677 §4
		return nil, bad
	}
	salt, err1 := base64.StdEncoding.DecodeString(salt64)
	stored, err2 := base64.StdEncoding.DecodeString(stored64)
	server, err3 := base64.StdEncoding.DecodeString(server64)
	if errors.Join(err1, err2, err3) != nil || len(salt) == 0 || len(stored) != 32 || len(server) != 32 {
		return nil, bad
	}
	return &scrammed{scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(salt), Iters: iters}, StoredKey: stored, ServerKey: server}}, nil
}

func (s *scrammed) kind() kind                      { return kindScram }
func (s *scrammed) clear() string                   { return "" }
func (s *scrammed) scram() *scram.StoredCredentials { return &s.StoredCredentials }

// matches has a client's side of SCRAM make the keys: PLAIN works for its users, too.
func (s *scrammed) matches(p string) bool {
	c, err := scram.SHA256.NewClient("user", p, "")
	if err != nil {
		return false
	}
	made, err := c.GetStoredCredentialsWithError(s.KeyFactors)
	return err == nil && subtle.ConstantTimeCompare(made.StoredKey, s.StoredKey) == 1
}

// Hash makes a secret of a password, of the kind named: "argon2id", "bcrypt" or
// "scram-sha-256".
func Hash(kind, password string) (string, error) {
	if password == "" {
		return "", errors.New("the password is empty")
	}
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	switch kind {
	case "argon2id":
		a := argon{time: 3, memory: 64 << 10, threads: 1}
		key := argon2.IDKey([]byte(password), salt, a.time, a.memory, a.threads, 32)
		enc := base64.RawStdEncoding
		return fmt.Sprintf("%sv=19$m=%d,t=%d,p=%d$%s$%s", argonPrefix, a.memory, a.time, a.threads, enc.EncodeToString(salt), enc.EncodeToString(key)), nil
	case "bcrypt":
		b, err := bcrypt.GenerateFromPassword([]byte(password), 12)
		return string(b), err
	case "scram-sha-256":
		c, err := scram.SHA256.NewClient("user", password, "")
		if err != nil {
			return "", errors.New("the password has characters that SCRAM cannot use (RFC 4013)")
		}
		k, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: 4096})
		if err != nil {
			return "", err
		}
		enc := base64.StdEncoding
		return fmt.Sprintf("%s%d:%s$%s:%s", scramPrefix, k.Iters, enc.EncodeToString(salt), enc.EncodeToString(k.StoredKey), enc.EncodeToString(k.ServerKey)), nil
	}
	return "", fmt.Errorf("there is no kind %q; write argon2id, bcrypt or scram-sha-256", kind)
}
