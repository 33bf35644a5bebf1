package auth_test

import (
	"encoding/base64"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// Secrets that are cheap to check.
var (
	argon   = base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte("pencil"), []byte("saltsaltsalt"), 1, 64, 1, 32))
	bcrypt4 = func() string {
		b, err := bcrypt.GenerateFromPassword([]byte("hunter2"), bcrypt.MinCost)
		if err != nil {
			panic(err)
		}
		return string(b)
	}()
)
