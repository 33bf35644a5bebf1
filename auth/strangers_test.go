package auth_test

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
	"golang.org/x/crypto/argon2"

	"github.com/tarishi/tarishi/auth"
)

// F5: what a login costs does not tell whether there is such a user. An argon2id
// hash of 4 MiB takes these from the heap, so that is what is measured, and not
// the time.
func TestF5_unknownUserCostsTheSame(t *testing.T) {
	const memory = 4 << 10 // KiB
	key := base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte("pencil"), []byte("saltsaltsaltsalt"), 1, memory, 1, 32))
	line := fmt.Sprintf("ann:$argon2id$v=19$m=%d,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$%s\n", memory, key)
	u, err := auth.ParseUsers("users", []byte("bob:"+bcrypt4+"\n"+line))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, password string }{{"ann", "pencil"}, {"ann", "wrong"}, {"nobody", "pencil"}, {"", ""}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := u.Check(t.Context(), c.name, c.password)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got < memory<<10 || got > memory<<10+1<<20 {
			t.Errorf("%s with %q: %d octets, %v", c.name, c.password, got, err)
		}
		if (err == nil) != (c.name == "ann" && c.password == "pencil") {
			t.Errorf("%s with %q: %v", c.name, c.password, err)
		}
	}
}

// F5: the challenge of a user there is none of looks like everybody's, and is the
// same at each try.
func TestF5_challengeOfNobody(t *testing.T) {
	c, _ := scram.SHA256.NewClient("ann", "pencil", "")
	salt := strings.Repeat("s", 20)
	k, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: salt, Iters: 5000})
	if err != nil {
		t.Fatal(err)
	}
	u, err := auth.ParseUsers("users", []byte("ann:SCRAM-SHA-256$5000:"+b64(salt)+"$"+b64(string(k.StoredKey))+":"+b64(string(k.ServerKey))+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	challenge := func(name string) (salt string, iterations string) {
		d, _ := u.Begin(auth.Scram)
		asked, _, err := talk(d, []byte("n,,n="+name+",r=abcdefghijklmnop"))
		if err != nil || len(asked) != 1 {
			t.Fatalf("%s: %q, %v", name, asked, err)
		}
		for field := range strings.SplitSeq(asked[0], ",") {
			switch field[:2] {
			case "s=":
				salt = field[2:]
			case "i=":
				iterations = field[2:]
			}
		}
		return salt, iterations
	}
	of, times := challenge("ann")
	first, times1 := challenge("nobody")
	again, times2 := challenge("nobody")
	other, _ := challenge("somebody")
	if times != "5000" || times1 != times || times2 != times || len(first) != len(of) || first != again || first == other || first == of {
		t.Errorf("ann %s %s, nobody %s %s, again %s %s, somebody %s", of, times, first, times1, again, times2, other)
	}
}
